"""Cuts a document that was read into the pieces that a search finds. Pure, and linear in its text.

A piece ends with its page and before a heading, else between blocks, sentences, clauses or words,
in this order. A heading stays with what comes below it; tables and code stay whole where they fit.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from knowledge.types import Block, Parsed, Piece

SEPARATOR = " > "

# A piece of less than this part of the size goes on below the next heading of its chapter; one that
# ends a section takes something from the piece before it.
_TINY = 1 / 4
# A piece of less than this part of the size takes some sentences of a block that does not fit.
_HALF_EMPTY = 1 / 2
# The parts of one sentence repeat at most this part of the size of each other, so that they stay
# long; to end at a good place, one may be longer than the others by this.
_REPEATED = 1 / 5
_UNEVEN = 1 / 4
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
# Before what is repeated of a sentence.
_BEGINNINGS = (
    re.compile(rf"[，、：；][{_CLOSERS}]*|[,;:][{_CLOSERS}]*\s+"),
    re.compile(r"\s+"),
    re.compile(rf"(?=[{_CJK}])"),
)


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
    `Piece.heading` is the path of the headings above the first character. A piece is of one page,
    but for headings at the foot of the page before. It repeats at most `overlap` characters of the
    one before: its last sentences, or the last words of a sentence that goes on; nothing from
    before a heading or of another page.
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
        # The piece before it, kept until the next is known not to be tiny, and the end of those
        # that were given out.
        self._full: list[_Unit] = []
        self._full_prefix = ""
        self._given_end = 0

    def add_heading(self, block: Block) -> Iterator[Piece]:
        """Begins a section."""
        yield from self._turn_page(block)
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
        yield from self._turn_page(block)
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
            for part in self._parts(start, end, self._size - self._repeatable(), first=room):
                kind: Literal["text", "remainder"] = "text" if part[0] == start else "remainder"
                yield from self._add(_Unit(*part, kind, self._path, block.page))

    def add_table(self, blocks: Sequence[Block]) -> Iterator[Piece]:
        """A table: whole where it fits, else by its rows, with the header before each lot."""
        yield from self._turn_page(blocks[0])
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
            yield from self._turn_page(block)
            limit = room if block.kind == "table_row" else self._size
            for part in self._parts(block.start, block.end, limit):
                unit = _Unit(*part, "table", self._path, block.page)
                yield from self._add(unit, prefix=repeated if block is not first else "")

    def finish(self) -> Iterator[Piece]:
        """What is left."""
        while self._units:
            yield from self.flush()
        yield from self._give()

    def flush(self, *, before: _Unit | int | None = None) -> Iterator[Piece]:
        """Ends the piece. The next begins with the headings that ended this one, if any.

        Else with what is repeated, so that it can hold the text up to the end of `before`.
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
        elif isinstance(before, _Unit):
            self._units = self._repeated(units, before.end)
            if before.kind == "remainder" and not self._units:
                self._units = self._last_words(units[-1], before.end)
        elif before is not None:
            self._units = self._repeated(units, before)
        if not prefix:
            units = self._evened(units)
        yield from self._give()
        self._full, self._full_prefix = units, prefix

    def _give(self) -> Iterator[Piece]:
        units, self._full = self._full, []
        if not units:
            return
        start, self._given_end = units[0].start, units[-1].end
        body = next((unit for unit in units if unit.kind != "heading"), units[0])
        yield Piece(
            ordinal=self._ordinal,
            content=self._full_prefix + self._text[start : self._given_end],
            heading=units[0].path,
            page=body.page,
            char_start=start,
            char_end=self._given_end,
        )
        self._ordinal += 1

    def _evened(self, units: list[_Unit]) -> list[_Unit]:
        """The units of a piece; a tiny one takes some from the end of the piece before it."""
        full = self._full
        if not full or self._full_prefix or full[-1].page != units[-1].page:
            return units
        own = [unit for unit in units if unit.start >= full[-1].end]
        start, end = full[0].start, units[-1].end
        is_tiny = end - full[-1].end < self._size * _TINY
        if not is_tiny or any(unit.kind not in ("text", "remainder") for unit in own):
            return units
        places = [
            at
            for at in range(1, len(full))
            if full[at].kind in ("text", "remainder")
            and full[at - 1].kind != "heading"
            and full[at - 1].end > self._given_end
            and end - full[at].start <= self._size
        ]
        if not places:
            return units
        middle = (start + end) / 2
        at = min(places, key=lambda at: abs(full[at].start - middle))
        self._full = full[:at]
        return self._repeated(full[:at], end) + full[at:] + own

    def _turn_page(self, block: Block) -> Iterator[Piece]:
        """Ends a piece of another page, however short: by its page a hit is cited and looked up."""
        body = next((unit for unit in self._units if unit.kind != "heading"), None)
        if body is not None and body.page != block.page:
            yield from self.flush()

    def _add(self, unit: _Unit, *, prefix: str = "") -> Iterator[Piece]:
        while self._units and not self._fits(unit.start, unit.end):
            is_text = unit.kind in ("text", "remainder")
            yield from self.flush(before=unit if is_text else None)
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

    def _repeatable(self) -> int:
        return min(self._overlap, int(self._size * _REPEATED))

    def _last_words(self, unit: _Unit, before: int) -> list[_Unit]:
        """The end of a part of a sentence, from a clause or a word on."""
        floor = max(unit.start + 1, unit.end - self._repeatable(), before - self._size)
        for pattern in _BEGINNINGS:
            found = pattern.search(self._text, floor, unit.end)
            if found and found.end() < unit.end:
                return [dataclasses.replace(unit, start=found.end(), kind="remainder")]
        return []

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

        They are about equally long; the first has at most `first` characters.
        """
        room = limit if first is None else first
        while start < end:
            cut = end
            if (beyond := end - start - room) > 0:
                even = _ceil(end - start, 1 + _ceil(beyond, limit))
                cut = _place_to_cut(self._text, start, min(even, room), room)
            room = limit
            if part := self._text[start:cut].rstrip():
                yield start, start + len(part)
            start = _after_spaces(self._text, cut)


def _ceil(number: int, by: int) -> int:
    return -(-number // by)


def _place_to_cut(text: str, start: int, wanted: int, most: int) -> int:
    """The best place to end a part of about as many characters as are wanted.

    Between words, which are better kept, it may be any place before that.
    """
    middle, end = start + wanted // 2, start + min(most, int(wanted * (1 + _UNEVEN)))
    for pattern in (_LINE, _CLAUSE, _SPACE):
        if found := pattern.match(text, middle, end + 1):
            return found.end()
    found_edges = (pattern.match(text, start, end + 1) for pattern in (_SPACE, _CJK_EDGE))
    best = max((found.end() for found in found_edges if found), default=start + wanted)
    for place in (best, start + most):
        cut = place
        while cut > start + 1 and _is_inside_character(text, cut):
            cut -= 1
        if cut > start + 1:
            return cut
    return start + most


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
