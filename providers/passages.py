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
from collections.abc import Iterable, Iterator

_BEGIN, _END = "<knowledge>", "</knowledge>"
_HEAD = re.compile(r"^\[(\d{1,6})\] source: (.*)$", re.MULTILINE)
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
    return f"{_BEGIN}\n" + "\n\n".join(entries) + f"\n{_END}" if entries else ""


def _defused(text: str) -> str:
    return _TAG.sub(r"‹\1›", text)


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
