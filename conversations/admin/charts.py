"""Days as columns: pure geometry, drawn by templates/conversations/day_chart.html."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from tooling.admin.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, round_up

GAP_SHARE = 0.24
# Labels below stand this far apart at least.
LABEL_ROOM = 90


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One colour of a column, in the units of the drawing."""

    kind: str
    y: float
    height: float


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A day: its parts from below, and what is said of it when it is pointed at."""

    day: datetime.date
    x: float
    width: float
    parts: tuple[Part, ...]
    title: str
    # None where the day is not named below; the last name ends where the drawing does.
    label_x: float | None
    is_last: bool


@dataclasses.dataclass(frozen=True, slots=True)
class DayChart:
    """The days side by side, the oldest on the left."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    width, height = WIDTH, HEIGHT
    left, right, top, baseline = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """The values of a day, from below, and what is said of them."""

    day: datetime.date
    values: tuple[int, ...]
    title: str


def day_chart(days: Sequence[Day], *, kinds: Sequence[str]) -> DayChart:
    """The drawing of these days, given in the order of time; `kinds` names the values' colours."""
    most = round_up(max((sum(day.values) for day in days), default=1) or 1)
    room = HEIGHT - TOP - BOTTOM
    step = (WIDTH - LEFT - RIGHT) / max(1, len(days))
    every = max(1, -(-LABEL_ROOM // max(1, int(step))))
    columns = []
    for index, day in enumerate(days):
        x = LEFT + index * step
        parts, top = [], float(HEIGHT - BOTTOM)
        for kind, value in zip(kinds, day.values, strict=True):
            height = room * value / most
            top -= height
            if height:
                parts.append(Part(kind, round(top, 1), round(height, 1)))
        # Counted from today, which is always named.
        is_named = (len(days) - 1 - index) % every == 0
        columns.append(
            Column(
                day.day,
                x=round(x + step * GAP_SHARE / 2, 1),
                width=round(step * (1 - GAP_SHARE), 1),
                parts=tuple(parts),
                title=day.title,
                label_x=round(x + step / 2, 1) if is_named else None,
                is_last=index == len(days) - 1,
            )
        )
    # There is no half of an answer.
    shares = (0.5, 1.0) if most % 2 == 0 else (1.0,)
    lines = tuple(
        Line(round(HEIGHT - BOTTOM - room * share, 1), short(round(most * share)))
        for share in shares
    )
    return DayChart(tuple(columns), lines)


def short(number: int) -> str:
    """A number as charts have room for: `950`, `12.5k`, `3.2M`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
