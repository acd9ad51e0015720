"""How what a tool returned is put before a model: between marks, as data.

    <tool_result>
    {"temperature": 21}
    </tool_result>

Every model reads this as text; the built-in demo model takes the marks off again. A result cannot
close or forge the marks, nor those of knowledge, nor speak as another part of the conversation.
"""

from __future__ import annotations

import re
from functools import lru_cache

from providers.passages import like_tag, visible

BEGIN, END = "<tool_result>", "</tool_result>"

_KEPT = 256
_BRACKETS = re.compile("[<＜﹤]")
_FORGED = (like_tag("tool_result"), like_tag("attached_file"), like_tag("knowledge"))
# Servers of open models take these for the beginning of somebody else's words, wherever they stand.
_CONTROL = re.compile(r"[<＜﹤]([|｜])")


@lru_cache(maxsize=_KEPT)
def framed(text: str) -> str:
    """The result between its marks. The same results are sent again with each step of a turn."""
    return f"{BEGIN}\n{defused(text)}\n{END}"


def unframed(text: str) -> str:
    """What stands between the marks, or the text as it is where there are none."""
    if text.startswith(BEGIN) and text.endswith(END):
        return text[len(BEGIN) : -len(END)].strip("\n")
    return text


def defused(text: str) -> str:
    """The text without anything that a model may take for one of our marks or a server's own."""
    if not _BRACKETS.search(text):
        return text
    seen = visible(text)
    for forged in _FORGED:
        seen = forged.sub(r"‹\1", seen)
    return _CONTROL.sub(r"‹\1", seen)
