"""Excel: visible sheets as pages, each with its tables; numbers and dates as they are shown."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from typing import Any

import openpyxl
from openpyxl.utils.cell import range_boundaries

from knowledge.parse.draft import Draft, Refused
from knowledge.parse.ooxml import Package, child, rel_id
from knowledge.parse.tables import MAX_COLUMNS, TableWriter
from knowledge.parse.wire import Order

_MAX_ROWS = 1_048_576
_MAX_CELLS = 5_000_000
_MAX_MERGES = 50_000
_ZEROS = re.compile(r"0+")
_PERCENT = re.compile(r"0(?:\.(?P<decimals>0+))?%")
# First column, last row, by the row and column of the value that they show.
_Merges = dict[tuple[int, int], int]


def read(order: Order, draft: Draft) -> None:
    merges = _merges(order)
    workbook = openpyxl.load_workbook(order.path, read_only=True, data_only=True, keep_links=False)
    if len(workbook.sheetnames) > order.max_pages:
        raise Refused("too_many_pages")
    draft.page_count = len(workbook.sheetnames)
    budget = _Budget()
    for page, name in enumerate(workbook.sheetnames, 1):
        sheet = workbook[name]
        if sheet.sheet_state != "visible" or not hasattr(sheet, "iter_rows"):
            continue
        # What the file says of its size is often wrong.
        sheet.reset_dimensions()
        if len(workbook.sheetnames) > 1:
            draft.add("heading", name, page=page, level=1)
        writer = TableWriter(draft, page=page)
        for row in _filled(budget.counted(sheet.iter_rows()), merges.get(name, {})):
            writer.add(row)


class _Budget:
    """Counts what all sheets have together."""

    def __init__(self) -> None:
        self._cells = 0

    def counted(self, rows: Iterator[Sequence[Any]]) -> Iterator[list[str]]:
        for number, row in enumerate(rows, 1):
            self._cells += len(row)
            if number > _MAX_ROWS or len(row) > MAX_COLUMNS or self._cells > _MAX_CELLS:
                raise Refused("too_many_cells")
            yield [_shown(cell) for cell in row]


def _shown(cell: Any) -> str:
    """A value as text; what a format does to numbers is followed where it changes the reading."""
    value = cell.value
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(value).upper()
        case int() | float():
            return _number(value, cell.number_format or "")
        case datetime.datetime():
            is_date = value.time() == datetime.time()
            return value.date().isoformat() if is_date else value.isoformat(" ", "minutes")
        case datetime.time():
            return value.isoformat("seconds" if value.second else "minutes")
        case _:
            return str(value)


def _number(value: float, shape: str) -> str:
    if percent := _PERCENT.fullmatch(shape):
        return f"{value * 100:.{len(percent['decimals'] or '')}f}%"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int):
        return str(value).zfill(len(shape)) if _ZEROS.fullmatch(shape) else str(value)
    return f"{value:.15g}"


def _filled(rows: Iterator[list[str]], merges: _Merges) -> Iterator[list[str]]:
    """Rows that each say what is merged over them, so that one can be read without the others."""
    shown: dict[int, tuple[int, str]] = {}
    for number, row in enumerate(rows, 1):
        for column, (last, text) in list(shown.items()):
            if number > last:
                del shown[column]
            elif column <= len(row) and not row[column - 1]:
                row[column - 1] = text
        if merges:
            for column, text in enumerate(row, 1):
                last_row = merges.get((number, column))
                if last_row and text:
                    shown[column] = last_row, text
        yield row


def _merges(order: Order) -> dict[str, _Merges]:
    """What is merged downwards, by sheet: the library tells only when it reads all into memory."""
    with Package(order.path) as package:
        package.check()
        main = package.main_part()
        sheets = child(package.xml(main), "sheets")
        relations = package.relations(main)
        found = {}
        for sheet in sheets if sheets is not None else ():
            part = relations.get(rel_id(sheet))
            if part is not None:
                found[str(sheet.get("name"))] = _merges_of(package, part[1])
        return found


def _merges_of(package: Package, part: str) -> _Merges:
    """They come after all rows, which are thrown away as they pass."""
    merges: _Merges = {}
    for element in package.passing(part, "row", "mergeCell"):
        reference = element.get("ref")
        if reference is None:
            continue
        if len(merges) >= _MAX_MERGES:
            break
        first_column, first_row, _last_column, last_row = range_boundaries(str(reference))
        if first_row and first_column and last_row and last_row > first_row:
            merges[first_row, first_column] = last_row
    return merges
