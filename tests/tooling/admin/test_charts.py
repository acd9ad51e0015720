"""Pure parts of the pages: charts and differences."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from tooling.admin.charts import HEIGHT, LEFT, MAX_BARS, WIDTH, Point, chart_of, duration_text
from tooling.admin.diffs import json_diff, text_diff

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def point(number: int, **fields: object) -> Point:
    values: dict[str, object] = {
        "run_id": f"r{number}",
        "at": NOW + dt.timedelta(hours=number),
        "outcome": "passed",
        "duration_ms": 100 * number,
        "passed": 4,
        "failed": 0,
        **fields,
    }
    return Point(**values)  # type: ignore[arg-type]  # the fields are named above


def test_no_runs_make_no_chart() -> None:
    assert chart_of([]) is None


@pytest.mark.parametrize("count", [1, 2, 24, 60, 200])
def test_bars_stay_inside_of_the_drawing_and_apart(count: int) -> None:
    chart = chart_of([point(number) for number in range(count)])
    assert chart is not None
    assert len(chart.bars) == min(count, MAX_BARS)
    assert chart.bars[-1].point.run_id == f"r{count - 1}"
    for bar in chart.bars:
        assert bar.x >= LEFT
        assert bar.x + bar.width <= WIDTH
        assert bar.y >= 0
        assert bar.y + bar.height <= HEIGHT
        assert bar.height > 0
    edges = [(bar.x, bar.x + bar.width) for bar in chart.bars]
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(edges))


def test_the_last_time_is_written_below_its_bar_where_it_has_room() -> None:
    few, many = (chart_of([point(number) for number in range(count)]) for count in (3, 40))
    assert few is not None
    assert many is not None
    assert few.last_x is None
    assert many.last_x == many.bars[-1].x + many.bars[-1].width


def test_it_tells_how_many_passed_and_how_long_they_took() -> None:
    chart = chart_of([point(1), point(2, outcome="failed"), point(3, outcome="broken"), point(9)])
    assert chart is not None
    assert (chart.success_percent, chart.median) == (50, "300 ms")
    assert [line.label for line in chart.lines] == ["500 ms", "1 s"]
    assert chart.bars[3].height > chart.bars[0].height


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0 ms"), (999, "999 ms"), (2400, "2.4 s"), (180_000, "3 min")]
)
def test_times_are_written_as_people_read_them(ms: int, text: str) -> None:
    assert duration_text(ms) == text


def test_differences_show_what_came_and_what_went() -> None:
    lines = text_diff("Echoes.\n-- old", "Echoes.\nRead the keys first.")
    assert [(line.kind, line.text) for line in lines] == [
        ("same", "Echoes."),
        ("removed", "-- old"),
        ("added", "Read the keys first."),
    ]
    assert text_diff("same", "same") == []


def test_the_order_of_keys_is_no_difference() -> None:
    assert json_diff({"a": 1, "b": 2}, {"b": 2, "a": 1}) == []
    changed = json_diff({"a": 1}, {"a": 2})
    assert [line.kind for line in changed if line.kind != "same"] == ["removed", "added"]
