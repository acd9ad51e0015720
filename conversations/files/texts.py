"""A text, a page at a time: as many lines as a model is given at once, and where to go on. Pure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a text. Lines and characters count from 1.

    `next_line` and `next_character` (of that line) are where to go on, None at the end.
    """

    text: str
    first_line: int
    last_line: int
    total_lines: int
    next_line: int | None = None
    next_character: int = 1


def page_of(
    text: str, *, first_line: int, first_character: int, max_lines: int, max_bytes: int
) -> Page:
    """The page from there on: whole lines, unless one alone has more bytes than there is room."""
    lines = text.split("\n")
    if lines[-1] == "" and len(lines) > 1:
        # What ends its last line has none behind it.
        lines.pop()
    total, start = len(lines), first_line - 1
    taken: list[str] = []
    room = max_bytes
    for number in range(start, min(total, start + max_lines)):
        from_here = first_character - 1 if number == start else 0
        line = lines[number][from_here:]
        room -= len(line.encode()) + 1
        if room < 0:
            if taken:
                break
            part = line.encode()[:max_bytes].decode(errors="ignore")
            following = from_here + len(part) + 1
            return Page(part, first_line, first_line, total, first_line, following)
        taken.append(line)
    last = start + len(taken)
    return Page("\n".join(taken), first_line, last, total, last + 1 if last < total else None)
