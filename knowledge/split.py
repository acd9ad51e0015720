"""Cuts a document that was read into the pieces that a search finds. Pure, and linear in its text.

A piece ends before a heading, else between blocks, sentences, clauses or words, in this order. A
heading stays with what comes below it; tables and code stay whole where they fit.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from knowledge.types import Block, Parsed, Piece

SEPARATOR = " > "

# A piece of less than this part of the size goes on below the next heading of its chapter.
_TINY = 1 / 4
# A piece of less than this part of the size takes some sentences of a block that does not fit.
_HALF_EMPTY = 1 / 2
_MAX_TITLE_CHARS = 100
_MAX_PATH_CHARS = 300

_CLOSERS = "\"'”’」』】）》〉)\\]"
_CJK = (
    "\u2e80-\u2fff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_SENTENCE_END = re.compile(
    rf"[。！？；｡…]+[{_CLOSERS}]*"
    rf"|(?<![.!?])[.!?]++[{_CLOSERS}]*+(?=\s|[{_CJK}]|\Z)"
    r"|\n\s*\n"
)
# A full stop after these ends no sentence, or none that matters: Dr. No, p. 5, J. Smith, 1. Rule.
_ABBREVIATION = re.compile(
    r"(?:\b(?:dr|mrs?|ms|mx|prof|st|mt|gen|sen|gov|rev|vs|viz|cf|al|e\.?g|i\.?e|nos?|figs?|vols?"
    r"|pp?|ch|sec|art|eq|approx|ca|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|inc|ltd|co|corp"
    r"|dept|est|etc|a\.m|p\.m|[a-z])|^\s*\(?\d{1,3})\.\Z",
    re.IGNORECASE | re.MULTILINE,
)
_LOOK_BACK = 12

# Where to cut what is too long: each finds the last place of a stretch, whose last character is the
# one after the cut. No line begins with what belongs to the text before it.
_GOES_ON = rf"(?=[^，、。；：？！…—～,.;:?!%\u3099\u309a{_CLOSERS}])"
_LINE = re.compile(rf".*\n{_GOES_ON}", re.DOTALL)
_CLAUSE = re.compile(
    rf".*(?:[，、：；。！？…][{_CLOSERS}]*{_GOES_ON}|[,;:.!?][{_CLOSERS}]*(?=\s))", re.DOTALL
)
_SPACE = re.compile(r".*\s(?=.)", re.DOTALL)
_CJK_EDGE = re.compile(rf".*(?:[{_CJK}]{_GOES_ON}|[^\s(\[{{“‘「『【（《〈](?=[{_CJK}]))", re.DOTALL)
_SPACES = re.compile(r"\s*")


@dataclasses.dataclass(frozen=True, slots=True)
class _Unit:
    """`text[start:end]`, which is not cut any more; no longer than a piece.

    A `remainder` is text that begins inside a sentence. `path` is of the headings above it.
    """

    start: int
    end: int
    kind: Literal["heading", "text", "remainder", "table"]
    path: str
    page: int | None


def split(parsed: Parsed, *, size: int, overlap: int) -> Iterator[Piece]:
    """The pieces in order, none longer than `size` characters, none empty.

    Every character that is no space is in the content of a piece, those of headings too;
    `Piece.heading` is the path of the headings above the first character. A piece repeats at most
    `overlap` characters of the one before: its last sentences, and nothing from before a heading.
    """
    if not 0 <= overlap < size:
        raise ValueError("the overlap must be less than the size")
    cutter = _Cutter(parsed.text, size, overlap)
    at = 0
    while at < len(parsed.blocks):
        block = parsed.blocks[at]
        at += 1
        if block.kind == "heading":
            yield from cutter.add_heading(block)
        elif block.kind in ("table_header", "table_row"):
            begin, at = at - 1, _end_of_table(parsed.blocks, at)
            yield from cutter.add_table(parsed.blocks[begin:at])
        else:
            yield from cutter.add_text(block)
    yield from cutter.finish()


def _end_of_table(blocks: Sequence[Block], at: int) -> int:
    while at < len(blocks) and blocks[at].kind == "table_row":
        at += 1
    return at


class _Cutter:
    """Fills one piece after the other with what is added in the order of the text."""

    def __init__(self, text: str, size: int, overlap: int) -> None:
        self._text = text
        self._size = size
        self._overlap = overlap
        self._headings: list[tuple[int, str]] = []
        self._path = ""
        self._ordinal = 0
        # The piece that is being filled: its units, and a table's header in front of them.
        self._units: list[_Unit] = []
        self._prefix = ""

    def add_heading(self, block: Block) -> Iterator[Piece]:
        """Begins a section."""
        level = max(block.level, 1)
        is_of_same_chapter = not self._headings or level >= self._headings[-1][0]
        if self._has_body() and not (is_of_same_chapter and self._is_below(_TINY)):
            yield from self.flush()
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._path = _path(self._headings)
        for start, end in self._parts(block.start, block.end, self._size):
            yield from self._add(_Unit(start, end, "heading", self._path, block.page))
        self._headings.append((level, _title(self._text[block.start : block.end])))
        self._path = _path(self._headings)

    def add_text(self, block: Block) -> Iterator[Piece]:
        """A paragraph, a list or code: whole where it fits, else by its sentences or lines."""
        if not self._text[block.start : block.end].strip():
            return
        is_code = block.kind == "code"
        if (
            self._has_body()
            and not self._fits(block.start, block.end)
            and block.end - block.start <= self._size
            and (is_code or not self._is_below(_HALF_EMPTY))
        ):
            yield from self.flush(before=block.end)
        spans = _lines if is_code else _sentences
        for start, end in spans(self._text, block.start, block.end):
            if self._is_below_heading() and self._has_body() and not self._fits(start, end):
                yield from self.flush()
            room = self._room_below_headings(start)
            for part in self._parts(start, end, self._size, first=room):
                kind: Literal["text", "remainder"] = "text" if part[0] == start else "remainder"
                yield from self._add(_Unit(*part, kind, self._path, block.page))

    def add_table(self, blocks: Sequence[Block]) -> Iterator[Piece]:
        """A table: whole where it fits, else by its rows, with the header before each lot."""
        first, start, end = blocks[0], blocks[0].start, blocks[-1].end
        if self._has_body() and not self._fits(start, end) and end - start <= self._size:
            yield from self.flush()
        repeated, room = "", self._size
        if first.kind == "table_header" and len(blocks) > 1:
            header = self._text[start : first.end] + "\n"
            lead = max(len(header), blocks[1].start - start)
            if lead <= self._size // 2:
                repeated, room = header, self._size - lead
                reach = min(blocks[1].end, blocks[1].start + room)
                if self._has_body() and not self._fits(start, reach):
                    yield from self.flush()
        for block in blocks:
            limit = room if block.kind == "table_row" else self._size
            for part in self._parts(block.start, block.end, limit):
                unit = _Unit(*part, "table", self._path, block.page)
                yield from self._add(unit, prefix=repeated if block is not first else "")

    def finish(self) -> Iterator[Piece]:
        """What is left."""
        while self._units:
            yield from self.flush()

    def flush(self, *, before: int | None = None) -> Iterator[Piece]:
        """Ends the piece. The next begins with the headings that ended this one, if any.

        Else with the sentences that are repeated, so that it can hold the text up to `before`.
        """
        units, prefix = self._units, self._prefix
        self._units, self._prefix = [], ""
        if not units:
            return
        body = len(units)
        while body and units[body - 1].kind == "heading":
            body -= 1
        if 0 < body < len(units):
            units, self._units = units[:body], units[body:]
        elif before is not None:
            self._units = self._repeated(units, before)
        first, end = units[0], units[-1].end
        yield Piece(
            ordinal=self._ordinal,
            content=prefix + self._text[first.start : end],
            heading=first.path,
            page=first.page,
            char_start=first.start,
            char_end=end,
        )
        self._ordinal += 1

    def _add(self, unit: _Unit, *, prefix: str = "") -> Iterator[Piece]:
        while self._units and not self._fits(unit.start, unit.end):
            is_text = unit.kind in ("text", "remainder")
            yield from self.flush(before=unit.end if is_text else None)
        if not self._units:
            self._prefix = prefix
        self._units.append(unit)

    def _repeated(self, units: Sequence[_Unit], before: int) -> list[_Unit]:
        begin = at = len(units)
        floor = max(units[-1].end - self._overlap, before - self._size)
        while at and units[at - 1].start >= floor:
            at -= 1
            if units[at].kind == "text":
                begin = at
            elif units[at].kind != "remainder":
                break
        return list(units[begin:])

    def _is_below_heading(self) -> bool:
        return bool(self._units) and self._units[-1].kind == "heading"

    def _has_body(self) -> bool:
        return any(unit.kind != "heading" for unit in self._units)

    def _is_below(self, share: float) -> bool:
        return self._units[-1].end - self._units[0].start < self._size * share

    def _fits(self, start: int, end: int) -> bool:
        first = self._units[0].start if self._units else start
        return len(self._prefix) + end - first <= self._size

    def _room_below_headings(self, start: int) -> int:
        """What fits below headings that nothing follows yet: alone they would be of no use."""
        if self._is_below_heading() and not self._has_body():
            room = self._size - (start - self._units[0].start)
            if room >= self._size // 2:
                return room
        return self._size

    def _parts(
        self, start: int, end: int, limit: int, *, first: int | None = None
    ) -> Iterator[tuple[int, int]]:
        """The stretch in parts of at most `limit` characters, without spaces around them.

        The first part has at most `first` characters.
        """
        room = limit if first is None else first
        while start < end:
            cut = end if end - start <= room else _place_to_cut(self._text, start, start + room)
            room = limit
            if part := self._text[start:cut].rstrip():
                yield start, start + len(part)
            start = _after_spaces(self._text, cut)


def _place_to_cut(text: str, start: int, end: int) -> int:
    """The best place in the second half of a stretch; between words, the last one of all of it."""
    middle = (start + end) // 2
    for pattern in (_LINE, _CLAUSE, _SPACE):
        if found := pattern.match(text, middle, end + 1):
            return found.end()
    found_edges = (pattern.match(text, start, end + 1) for pattern in (_SPACE, _CJK_EDGE))
    cut = max((found.end() for found in found_edges if found), default=end)
    while cut > start + 1 and _is_inside_character(text, cut):
        cut -= 1
    return cut if cut > start + 1 else end


def _is_inside_character(text: str, at: int) -> bool:
    """Whether what people see as one character has code points on both sides."""
    following = text[at]
    return (
        text[at - 1] == "\u200d"
        or following == "\u200d"
        or unicodedata.category(following) in ("Mn", "Mc", "Me")
        or "\U0001f3fb" <= following <= "\U0001f3ff"
        or "\U000e0020" <= following <= "\U000e007f"
    )


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for stop in _SENTENCE_END.finditer(text, start, end):
        if stop.group() == "." and _ABBREVIATION.search(
            text[max(start, stop.end() - _LOOK_BACK) : stop.end()]
        ):
            continue
        if stop.end() > start and text[start : stop.end()].strip():
            yield start, _before_spaces(text, start, stop.end())
        start = _after_spaces(text, stop.end())
    if start < end:
        yield start, end


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The lines that are not blank, with what indents them."""
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        if line := text[start:stop].rstrip():
            yield start, start + len(line)
        start = stop + 1


def _before_spaces(text: str, start: int, end: int) -> int:
    return start + len(text[start:end].rstrip())


def _after_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return found.end() if found else at


def _title(text: str) -> str:
    title = " ".join(text.split())
    return title if len(title) <= _MAX_TITLE_CHARS else f"{title[: _MAX_TITLE_CHARS - 1]}…"


def _path(headings: Iterable[tuple[int, str]]) -> str:
    """The titles from the outermost; the outer ones go when it grows long."""
    titles = [title for _, title in headings]
    while len(SEPARATOR.join(titles)) > _MAX_PATH_CHARS:
        del titles[0]
    return SEPARATOR.join(titles)
