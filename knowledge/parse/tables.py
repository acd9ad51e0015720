"""Tables as text: a line per row, so that each row can be found and quoted with its header."""

from __future__ import annotations

from collections.abc import Sequence

from knowledge.parse.draft import Draft, Refused
from knowledge.parse.prose import flow

# As many as a sheet of Excel has; more is no table that anyone reads.
MAX_COLUMNS = 16_384


def row_text(cells: Sequence[str]) -> str:
    """A row as a line; cells that are empty to the end are left out."""
    if len(cells) > MAX_COLUMNS:
        raise Refused("too_many_cells")
    return " | ".join(flow(cell) for cell in cells).rstrip(" |")


def add_table(
    draft: Draft, rows: Sequence[Sequence[str]], *, page: int | None = None, header_rows: int = 1
) -> None:
    """Appends a whole table. One of a single column is a frame around text, not a table."""
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if all(_width(row) < 2 for row in filled):
        for row in filled:
            draft.add("paragraph", "\n".join(cell for cell in row if cell.strip()), page=page)
        return
    header, body = filled[:header_rows], filled[header_rows:]
    draft.add("table_header", "\n".join(row_text(row) for row in header), page=page)
    for row in body:
        draft.add("table_row", row_text(row), page=page)


def _width(row: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


class TableWriter:
    """Takes the rows of a sheet one by one, and finds the tables, titles and remarks in it.

    A line of one cell at the top or after a gap is text; the first line of several is a header.
    What comes after a gap goes on with the table, unless it looks like a header of its own.
    """

    def __init__(self, draft: Draft, *, page: int | None = None) -> None:
        self._draft = draft
        self._page = page
        self._has_header = False
        self._is_after_gap = True

    def add(self, cells: Sequence[str]) -> None:
        width = _width(cells)
        if width == 0:
            self._is_after_gap = True
            return
        if self._is_after_gap and (width == 1 or not self._has_header or _is_header(cells)):
            self._has_header = False
        if not self._has_header and width == 1:
            self._draft.add("paragraph", row_text([c for c in cells if c.strip()]), page=self._page)
            return
        self._draft.add(
            "table_row" if self._has_header else "table_header", row_text(cells), page=self._page
        )
        self._has_header = True
        self._is_after_gap = False


def _is_header(cells: Sequence[str]) -> bool:
    """Names of columns have no digits, as a rule."""
    return not any(character.isdigit() for cell in cells for character in cell[:40])
