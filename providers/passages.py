"""How knowledge is put before a model: one marked section in a system message.

    <knowledge>
    [1] source: Handbook.pdf
    The shop opens at nine.

    [2] source: Prices.xlsx
    A coffee is 3 euros.
    </knowledge>

Every model reads this as text; the built-in demo model parses it back with `find_passages`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

_SECTION = re.compile(r"^<knowledge>\n(.*?)\n</knowledge>$", re.DOTALL | re.MULTILINE)
_HEAD = re.compile(r"^\[(\d+)\] source: (.*)$", re.MULTILINE)
_TAG = re.compile(r"<(/?knowledge)>", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document; `index` is the number by which an answer may cite it."""

    index: int
    source: str
    text: str


def render_passages(passages: Iterable[Passage]) -> str:
    """The section, or "" for no passages. A document cannot close or forge the section."""
    entries = [
        f"[{passage.index}] source: {' '.join(_defused(passage.source).split())}\n"
        + _HEAD.sub(r"(\1) source: \2", _defused(passage.text).strip())
        for passage in passages
    ]
    return "<knowledge>\n" + "\n\n".join(entries) + "\n</knowledge>" if entries else ""


def _defused(text: str) -> str:
    return _TAG.sub(r"‹\1›", text)


def find_passages(text: str) -> tuple[Passage, ...]:
    """The passages of every section in a message."""
    found: list[Passage] = []
    for section in _SECTION.finditer(text):
        heads = list(_HEAD.finditer(section[1]))
        ends = [head.start() for head in heads[1:]] + [len(section[1])]
        found += [
            Passage(int(head[1]), head[2].strip(), section[1][head.end() : end].strip())
            for head, end in zip(heads, ends, strict=True)
        ]
    return tuple(found)
