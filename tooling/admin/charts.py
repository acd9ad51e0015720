"""The history of tests as bars: pure geometry, drawn by templates/tooling/history.html."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Literal

WIDTH, HEIGHT = 720, 150
LEFT, RIGHT, TOP, BOTTOM = 64, 4, 12, 24
MAX_BARS = 60
# Even the quickest run is there to be pointed at.
LEAST_BAR = 4
LEAST_BETWEEN = 240
Outcome = Literal["passed", "failed", "broken"]


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One run that has ended."""

    run_id: str
    at: dt.datetime
    outcome: Outcome
    duration_ms: int
    passed: int
    failed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """A run's bar, in the units of the drawing."""

    point: Point
    x: float
    y: float
    width: float
    height: float

    @property
    def time(self) -> str:
        return duration_text(self.point.duration_ms)


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A line across, and what time it stands for."""

    y: float
    label: str


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """The latest runs of one thing, the oldest on the left; higher took longer."""

    bars: tuple[Bar, ...]
    lines: tuple[Line, ...]
    first: dt.datetime
    last: dt.datetime
    # None where the times of the first and the last run have no room apart.
    last_x: float | None
    success_percent: int
    median_ms: int

    width, height = WIDTH, HEIGHT
    left, right, baseline = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM

    @property
    def median(self) -> str:
        return duration_text(self.median_ms)


def chart_of(points: Sequence[Point]) -> Chart | None:
    """The drawing of these runs, given in the order of time; None of no runs."""
    shown = points[-MAX_BARS:]
    if not shown:
        return None
    top_ms = round_up(max(point.duration_ms for point in shown))
    room = HEIGHT - TOP - BOTTOM
    # Few runs do not become broad blocks.
    step = (WIDTH - LEFT - RIGHT) / max(len(shown), 24)
    bars = []
    for index, point in enumerate(shown):
        height = max(LEAST_BAR, room * point.duration_ms / top_ms)
        bars.append(
            Bar(
                point,
                x=round(LEFT + index * step, 1),
                y=round(HEIGHT - BOTTOM - height, 1),
                width=round(step * 0.72, 1),
                height=round(height, 1),
            )
        )
    last_x = bars[-1].x + bars[-1].width
    durations = sorted(point.duration_ms for point in shown)
    passed = sum(point.outcome == "passed" for point in shown)
    return Chart(
        bars=tuple(bars),
        lines=tuple(
            Line(round(HEIGHT - BOTTOM - room * share, 1), duration_text(round(top_ms * share)))
            for share in (0.5, 1.0)
        ),
        first=shown[0].at,
        last=shown[-1].at,
        last_x=last_x if last_x >= LEFT + LEAST_BETWEEN else None,
        success_percent=round(100 * passed / len(shown)),
        median_ms=durations[len(durations) // 2],
    )


def duration_text(ms: int) -> str:
    """A time as people read it: `850 ms`, `2.4 s`, `3 min`."""
    if ms < 1000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1000:.3g} s"
    return f"{ms / 60_000:.3g} min"


def round_up(value: int) -> int:
    """The next of 1, 2 and 5 times a power of ten."""
    scale = 1
    while True:
        for factor in (1, 2, 5):
            if scale * factor >= value:
                return scale * factor
        scale *= 10
