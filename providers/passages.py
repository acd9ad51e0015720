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
import unicodedata
from collections.abc import Iterable, Iterator

_BEGIN, _END = "<knowledge>", "</knowledge>"
_HEAD = re.compile(r"^\[(\d{1,6})\] source: (.*)$", re.MULTILINE)

# What else ends a line, for a model or on a screen.
_LINE_BREAK = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# Characters that nobody sees go, except those that join letters and emoji and choose their form;
# but these hide no mark.
_INVISIBLE = frozenset({"Cc", "Cf"})
_KEPT = frozenset("\n\t\u200c\u200d")
_HIDDEN = (
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c\u200d\u3164\ufe00-\ufe0f\uffa0"
    r"\U000e0100-\U000e01ef]"
)
_GAP = rf"(?:\s|{_HIDDEN})*+"
_GAP_IN_LINE = rf"(?:[^\S\n]|{_HIDDEN})*+"


def _spelt(word: str) -> str:
    """A pattern of the word, also in full-width letters."""
    return rf"{_HIDDEN}*+".join(f"[{letter}{chr(ord(letter) + 0xFEE0)}]" for letter in word)


def like_tag(word: str) -> re.Pattern[str]:
    """Whatever a reader may take for this mark, with spaces or attributes, closed or not.

    Its group 1 is all of that but the bracket, without which it is no mark.
    """
    return re.compile(rf"[<＜﹤]({_GAP}(?:[/／]{_GAP})?{_spelt(word)})", re.IGNORECASE)


_LIKE_TAG = like_tag("knowledge")
_LIKE_HEAD = re.compile(
    rf"^{_GAP_IN_LINE}[\[［【]{_GAP_IN_LINE}(\d++){_GAP_IN_LINE}[\]］】]"
    rf"{_GAP_IN_LINE}{_spelt('source')}{_GAP_IN_LINE}[:：]",
    re.IGNORECASE | re.MULTILINE,
)


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
        + _LIKE_HEAD.sub(r"(\1) source:", _defused(passage.text).strip())
        for passage in passages
    ]
    return f"{_BEGIN}\n" + "\n\n".join(entries) + f"\n{_END}" if entries else ""


def visible(text: str) -> str:
    """The text without characters that nobody sees, with plain line breaks."""
    lines = _LINE_BREAK.sub("\n", text)
    seen = (char for char in lines if char in _KEPT or unicodedata.category(char) not in _INVISIBLE)
    return "".join(seen)


def _defused(text: str) -> str:
    return _LIKE_TAG.sub(r"‹\1", visible(text))


def find_passages(text: str) -> tuple[Passage, ...]:
    """The passages of every section in a message."""
    found: list[Passage] = []
    for section in _sections(text):
        heads = list(_HEAD.finditer(section))
        ends = [*(head.start() for head in heads), len(section)][1:]
        found += [
            Passage(int(head[1]), head[2].strip(), section[head.end() : end].strip())
            for head, end in zip(heads, ends, strict=True)
        ]
    return tuple(found)


def _sections(text: str) -> Iterator[str]:
    """What stands between the marks; line by line, so that a mark never closed costs nothing."""
    inside: list[str] | None = None
    for line in text.split("\n"):
        if inside is None:
            inside = [] if line == _BEGIN else None
        elif line == _END:
            yield "\n".join(inside)
            inside = None
        else:
            inside.append(line)
