"""What a reader writes into: clean text, and blocks that point into it."""

from __future__ import annotations

import array
import re
from typing import TYPE_CHECKING

from knowledge.parse import wire

if TYPE_CHECKING:
    from knowledge.types import BlockKind

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# Control characters (NUL, which Postgres refuses, among them), halves of surrogate pairs, marks
# that only steer the display, and code points that are no characters.
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_WIDE_SPACES = str.maketrans({"\xa0": " ", "\u2007": " ", "\u202f": " "})


class Refused(Exception):
    """The document cannot be read; `reason` is a key of `failures.FAILURES`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def clean(text: str) -> str:
    """The text with line ends of one kind and without what is no text."""
    return _UNWANTED.sub("", _LINE_ENDS.sub("\n", text)).translate(_WIDE_SPACES)


class Draft:
    """The document as far as it has been read. Refuses what exceeds the order."""

    def __init__(self, order: wire.Order) -> None:
        self.page_count: int | None = None
        self.image_pages: list[int] = []
        self._order = order
        self._parts: list[str] = []
        self._numbers = array.array("I")
        self._length = 0
        self._last: BlockKind | None = None

    @property
    def room(self) -> int:
        """How many characters still fit."""
        return self._order.max_chars - self._length

    def add(self, kind: BlockKind, text: str, *, page: int | None = None, level: int = 0) -> None:
        """Appends a block; one without text is passed over."""
        text = clean(text)
        # Code and lists mean something by their indentation.
        is_indented = kind in ("code", "list")
        text = text.strip("\n").rstrip() if is_indented else text.strip()
        if not text or text.isspace():
            return
        gap = self._gap(kind)
        if len(gap) + len(text) > self.room:
            raise Refused("too_much_text")
        start = self._length + len(gap)
        self._parts += (gap, text)
        self._length = start + len(text)
        self._numbers.extend((wire.KINDS.index(kind), start, self._length, page or 0, level))
        self._last = kind
        if len(self._numbers) > wire.NUMBERS_PER_BLOCK * self._order.max_blocks:
            raise Refused("too_many_cells")

    def _gap(self, kind: BlockKind) -> str:
        if self._last is None:
            return ""
        is_run = kind == "table_row" or (kind == "list" and self._last == "list")
        return "\n" if is_run else "\n\n"

    def answer(self) -> list[bytes]:
        """The finished document as it goes to the parent."""
        return wire.answer(
            "".join(self._parts),
            self._numbers,
            page_count=self.page_count,
            image_pages=self.image_pages,
        )
