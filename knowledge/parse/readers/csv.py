"""Delimited text: the first row names the columns."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from knowledge.parse.charsets import decode
from knowledge.parse.draft import Draft, Refused, clean
from knowledge.parse.tables import MAX_COLUMNS, row_text
from knowledge.parse.wire import Order

_DELIMITERS = (",", ";", "\t", "|")
_SNIFFED_LINES = 30
_SNIFFED_CHARS = 65_536
# What a cell of Excel holds. More than that, over several lines, comes from a stray quote.
_MAX_CELL = 32_767


def read(order: Order, draft: Draft) -> None:
    text = clean(decode(Path(order.path).read_bytes()))
    csv.field_size_limit(max(order.max_chars, _MAX_CELL))
    text, delimiter = _dialect(text)
    rows = csv.reader(_lines(text), delimiter=delimiter)
    if _has_stray_quote(text, delimiter):
        rows = csv.reader(_lines(text), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    has_header = False
    for row in rows:
        if any(cell.strip() for cell in row):
            draft.add("table_row" if has_header else "table_header", row_text(row))
            has_header = True


def _dialect(text: str) -> tuple[str, str]:
    """The text without Excel's own note of the delimiter, and the delimiter."""
    first, _end, rest = text.partition("\n")
    if first.startswith("sep=") and len(first.strip()) == 5:
        return rest, first[4]
    lines = [line for line in text[:_SNIFFED_CHARS].split("\n")[:_SNIFFED_LINES] if line.strip()]
    return text, max(_DELIMITERS, key=lambda delimiter: _evenness(lines, delimiter))


def _evenness(lines: Iterable[str], delimiter: str) -> tuple[float, int]:
    """How many rows have the usual number of columns, then that number."""
    widths = Counter(min(len(row), MAX_COLUMNS) for row in csv.reader(lines, delimiter=delimiter))
    if not widths:
        return 0.0, 0
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    return (count / widths.total(), width) if width > 1 else (0.0, 1)


def _has_stray_quote(text: str, delimiter: str) -> bool:
    return any(
        len(cell) > _MAX_CELL and "\n" in cell
        for cell in itertools.chain.from_iterable(csv.reader(_lines(text), delimiter=delimiter))
    )


def _lines(text: str) -> Iterator[str]:
    """Line by line, and none that would come to far too many cells."""
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        line = text[at:end]
        if len(line) > MAX_COLUMNS and max(map(line.count, _DELIMITERS)) > 4 * MAX_COLUMNS:
            raise Refused("too_many_cells")
        yield line
        at = end
