"""From lines on a page to paragraphs, headings and tables. Pure; y grows upwards, as in PDF."""

from __future__ import annotations

import dataclasses
import itertools
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from knowledge.parse.prose import is_cjk, join_lines

if TYPE_CHECKING:
    from knowledge.types import BlockKind

# Of the body's size; bold letters of one size differ in height by less.
_HEADING_SIZE = 1.18
_MAX_HEADING = 150
_MAX_LEVEL = 6
# Of the pages of a document, at least so many, for a line in the margin to be furniture.
_FURNITURE_SHARE = 0.3
_FURNITURE_PAGES = 4
_MARGIN_LINES = 3
_MIN_COLUMN_LINES = 4
_MIN_COLUMN_SHARE = 0.4
_MIN_COLUMN_TEXT = 18
_MIN_TABLE_LINES = 3
_BULLET = re.compile(r"[•●▪■◦○◆►▶➢✓\uf0b7\uf0a7]\s*|[-–—*]\s+(?=\S)")
_NUMBERED = re.compile(
    r"(?:\d{1,3}[.)、．]|[(（]\d{1,3}[)）]|[一二三四五六七八九十]{1,3}[、．.])\s*\D"
)
_SENTENCE_END = tuple('.!?;:。！？；：…"”’」』)）】')
_DIGITS = re.compile(r"\d+|\b[ivxlc]{1,6}\b", re.I)


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """Text without a wide gap, and its box."""

    text: str
    left: float
    right: float
    bottom: float
    top: float

    @property
    def size(self) -> float:
        """The height of the type."""
        return self.top - self.bottom


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """What stands on one line, from left to right."""

    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)

    @property
    def left(self) -> float:
        return self.segments[0].left

    @property
    def right(self) -> float:
        return self.segments[-1].right

    @property
    def top(self) -> float:
        return max(segment.top for segment in self.segments)

    @property
    def bottom(self) -> float:
        return min(segment.bottom for segment in self.segments)

    @property
    def size(self) -> float:
        return max(segment.size for segment in self.segments)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A block of a page."""

    kind: BlockKind
    text: str
    level: int = 0


class Sizes:
    """The sizes of type in a document: the body's, and the larger ones as levels of headings."""

    def __init__(self, lines: Iterable[Line]) -> None:
        letters: Counter[float] = Counter()
        for line in lines:
            letters[_rounded(line.size)] += len(line.text)
        self.body = letters.most_common(1)[0][0] if letters else 0.0
        larger = sorted((s for s in letters if s >= self.body * _HEADING_SIZE), reverse=True)
        self._levels = {size: min(at, _MAX_LEVEL) for at, size in enumerate(larger, 1)}

    def level(self, line: Line) -> int:
        """The level of a line as a heading, 0 for text."""
        if len(line.text) > _MAX_HEADING or not any(map(str.isalpha, line.text)):
            return 0
        return self._levels.get(_rounded(line.size), 0)


def without_furniture(pages: Sequence[Sequence[Line]], sizes: Sizes) -> list[list[Line]]:
    """The pages without the lines that come back in their margins: titles, dates, page numbers."""
    margins = [_margin(page, sizes) for page in pages]
    counts = Counter(key for margin in margins for key in set(margin.values()))
    needed = max(_FURNITURE_PAGES, _FURNITURE_SHARE * len(pages))
    return [
        [line for at, line in enumerate(page) if at not in margin or counts[margin[at]] < needed]
        for page, margin in zip(pages, margins, strict=True)
    ]


def _margin(page: Sequence[Line], sizes: Sizes) -> dict[int, str]:
    """The outermost lines, by position, as what they have in common from page to page.

    A page of few lines has no margin to tell from its text.
    """
    if len(page) <= 2 * _MARGIN_LINES:
        return {}
    order = sorted(range(len(page)), key=lambda at: page[at].top)
    outer = {*order[:_MARGIN_LINES], *order[-_MARGIN_LINES:]}
    return {at: _common(page[at], sizes) for at in outer}


def _common(line: Line, sizes: Sizes) -> str:
    """The line without its numbers, by which alone headings may differ."""
    return line.text if sizes.level(line) else _DIGITS.sub("#", line.text)


def blocks(lines: Sequence[Line], sizes: Sizes) -> Iterator[Found]:
    """What a page says, in the order in which it is read."""
    ordered = _by_columns(lines)
    right_edges = _right_edges(ordered)
    pitch = _pitch(ordered)
    at = 0
    while at < len(ordered):
        rows = _table_at(ordered, at, sizes)
        if rows:
            yield from _table(ordered[at : at + rows])
            at += rows
            continue
        level = sizes.level(ordered[at])
        end = at + 1
        while end < len(ordered) and not _table_at(ordered, end, sizes):
            if sizes.level(ordered[end]) != level or _starts_new(
                ordered[end - 1], ordered[end], right_edges, pitch, is_heading=level > 0
            ):
                break
            end += 1
        yield _block(ordered[at:end], level)
        at = end


def _block(lines: Sequence[Line], level: int) -> Found:
    text = lines[0].text
    for line in lines[1:]:
        text = join_lines(text, line.text)
    if level:
        return Found("heading", text, level)
    bullet = _BULLET.match(text)
    return Found("list", "- " + text[bullet.end() :]) if bullet else Found("paragraph", text)


def _starts_new(
    above: Line, line: Line, right_edges: dict[int, float], pitch: float, *, is_heading: bool
) -> bool:
    """Whether a line begins another paragraph than that of the line before it."""
    drop = above.top - line.top
    if is_heading:
        return not 0 < drop < 2 * line.size
    if _BULLET.match(line.text) or _NUMBERED.match(line.text):
        return True
    has_ended = above.text.endswith(_SENTENCE_END)
    if drop <= 0 or drop > 1.4 * max(pitch, line.size):
        # The next column goes on with a sentence; what stands far below does not.
        return has_ended or drop > 0
    if abs(above.size - line.size) > 0.25 * max(above.size, line.size):
        return True
    if line.left - above.left > 0.8 * line.size and has_ended:
        return True
    edge = right_edges.get(_column_key(above), above.right)
    return has_ended and above.right < edge - 3 * above.size


def _right_edges(lines: Iterable[Line]) -> dict[int, float]:
    """How far lines reach that begin in about the same place."""
    edges: dict[int, float] = {}
    for line in lines:
        key = _column_key(line)
        edges[key] = max(edges.get(key, line.right), line.right)
    return edges


def _column_key(line: Line) -> int:
    return int(line.left // 100)


def _pitch(lines: Sequence[Line]) -> float:
    """The usual distance of lines."""
    drops = [(above.top - line.top, line.size) for above, line in itertools.pairwise(lines)]
    close = [drop for drop, size in drops if 0 < drop < 2.2 * size]
    return statistics.median(close) if close else 0.0


def _by_columns(lines: Sequence[Line]) -> list[Line]:
    """The lines of two columns one after the other, where the file draws them side by side."""
    gutter = _gutter(lines)
    if gutter is None:
        return list(lines)
    ordered: list[Line] = []
    sides: dict[bool, list[Line]] = defaultdict(list)
    for line in lines:
        if len(line.segments) == 1 and line.left < gutter < line.right:
            ordered += [*sides.pop(False, []), *sides.pop(True, []), line]
            continue
        for is_right in (False, True):
            part = tuple(s for s in line.segments if (s.left > gutter) is is_right)
            if part:
                sides[is_right].append(Line(part))
    return [*ordered, *sides.get(False, []), *sides.get(True, [])]


def _gutter(lines: Sequence[Line]) -> float | None:
    """Where all that is left of it ends before all that is right of it begins.

    Both sides have to be running text: a table of two columns is read line by line.
    """
    pairs = [line.segments for line in lines if len(line.segments) == 2]
    if len(pairs) < _MIN_COLUMN_LINES or len(pairs) < _MIN_COLUMN_SHARE * len(lines):
        return None
    left_end = max(left.right for left, _right in pairs)
    right_start = min(right.left for _left, right in pairs)
    widths = [statistics.median(_weight(pair[side].text) for pair in pairs) for side in (0, 1)]
    if left_end >= right_start or min(widths) < _MIN_COLUMN_TEXT:
        return None
    return (left_end + right_start) / 2


def _weight(text: str) -> int:
    """The length in letters, of which a Chinese character is worth two."""
    return len(text) + sum(map(is_cjk, text))


def _table_at(lines: Sequence[Line], at: int, sizes: Sizes) -> int:
    """How many lines from here on are rows of one table; 0 where none begins."""
    width = len(lines[at].segments)
    if width < 2 or (at and len(lines[at - 1].segments) == width and _is_row(lines, at - 1, width)):
        return 0
    end = at
    while end < len(lines) and _is_row(lines, end, width):
        end += 1
    return end - at if end - at >= _MIN_TABLE_LINES else 0


def _is_row(lines: Sequence[Line], at: int, width: int) -> bool:
    return len(lines[at].segments) == width


def _table(lines: Sequence[Line]) -> Iterator[Found]:
    for at, line in enumerate(lines):
        text = " | ".join(segment.text for segment in line.segments)
        yield Found("table_row" if at else "table_header", text)


def _rounded(size: float) -> float:
    return round(size * 2) / 2
