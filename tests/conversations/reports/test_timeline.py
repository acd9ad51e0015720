"""Timelines: what logs and messages tell of a turn."""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

from conversations.events import Citation
from conversations.reports.timeline import LoggedEvent, Row, Timeline, bars, of_log, of_messages
from conversations.types import MessageEntry, ToolOutcome

ROOT = Path(__file__).resolve().parents[3]
BEGAN = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


def at(ms: int, kind: str, **fields: Any) -> LoggedEvent:
    return LoggedEvent(type=kind, at=BEGAN + dt.timedelta(milliseconds=ms), **fields)


def told(timeline: Timeline) -> list[tuple[str, int | None, int | None, str]]:
    return [(row.kind, row.start_ms, row.duration_ms, row.outcome) for row in timeline.rows]


def row_of(timeline: Timeline, kind: str, number: int = 0) -> Row:
    return [row for row in timeline.rows if row.kind == kind][number]


def test_it_tells_when_everything_began_and_how_long_it_took() -> None:
    timeline = of_log(
        [
            at(0, "user_message", text="How much?"),
            at(400, "ai_message_start"),
            at(400, "api_request_start"),
            at(900, "thinking_start"),
            at(1500, "thinking_end", text="Look it up."),
            at(1600, "token_update", name="qwen", input_tokens=80, output_tokens=20),
            at(1600, "tool_preparing", id="c1"),
            at(1605, "tool_intent", id="c1", text="To find the price."),
            at(1610, "tool_start", id="t1", name="search", text='{"query": "price"}'),
            at(1700, "sources", sources=2, duration_ms=60),
            at(2000, "update_action", id="t1", name="search", status="completed", code=200),
            at(2000, "api_request_start"),
            at(2200, "text_start"),
            at(2900, "text_end", text="Three euros."),
            at(3000, "token_update", name="qwen", input_tokens=120, output_tokens=5),
            at(3010, "task_complete"),
        ],
        began_at=BEGAN,
    )
    assert told(timeline) == [
        ("user", 0, None, ""),
        ("wait", 0, 400, ""),
        ("model", 400, 1200, ""),
        ("thinking", 900, 600, ""),
        ("tool", 1610, 390, ""),
        ("search", 1640, 60, ""),
        ("model", 2000, 1000, ""),
        ("text", 2200, 700, ""),
        ("end", 3010, None, ""),
    ]
    assert timeline.total_ms == 3010
    first = row_of(timeline, "model")
    assert (first.text, first.note) == ("first words after 500 ms", "qwen · 80 → 20 tokens")
    tool = row_of(timeline, "tool")
    assert (tool.text, tool.note) == ('{"query": "price"}', "To find the price.")
    assert row_of(timeline, "search").note == "2 sources"


def test_it_marks_attempts_that_broke_off_and_calls_that_failed() -> None:
    timeline = of_log(
        [
            at(0, "ai_message_start"),
            at(0, "api_request_start"),
            at(100, "text_start"),
            at(300, "stream_reset", attempt=2, max_attempts=3),
            at(300, "api_request_start", attempt=2, max_attempts=3),
            at(700, "tool_start", id="t1", name="weather"),
            at(
                900, "update_action", id="t1", name="weather", status="failed",
                code=504, message="Too late.",
            ),
            at(950, "update_action", id="c2", name="mail", status="failed", code=404),
            at(990, "error", message="The model is gone."),
        ],
        began_at=BEGAN,
    )  # fmt: skip
    assert told(timeline) == [
        ("model", 0, 300, "bad"),
        ("text", 100, 200, "bad"),
        ("notice", 300, None, "bad"),
        ("model", 300, 690, ""),
        ("tool", 700, 200, "bad"),
        ("tool", 950, None, "bad"),
        ("end", 990, None, "bad"),
    ]
    assert row_of(timeline, "model", 1).note == "attempt 2 of 3"
    assert row_of(timeline, "tool").note == "504 Too late."
    assert row_of(timeline, "end").text == "The model is gone."


def test_what_goes_on_is_open_up_to_now_and_ends_with_a_new_attempt() -> None:
    events = [
        at(0, "user_message"),
        at(10, "ai_message_start"),
        at(10, "api_request_start"),
        at(50, "text_start"),
    ]
    going_on = of_log(events, began_at=BEGAN, now=BEGAN + dt.timedelta(seconds=2))
    assert row_of(going_on, "text") == Row(
        kind="text", label="Answer", start_ms=50, duration_ms=1950, outcome="open"
    )
    assert going_on.total_ms == 2000
    again = of_log(
        [
            *events,
            at(500, "system_message", message="The task was restarted."),
            at(600, "ai_message_start"),
        ],
        began_at=BEGAN,
    )
    assert row_of(again, "text").outcome == "bad"
    assert row_of(again, "text").duration_ms == 450
    assert row_of(again, "notice").label == "Restarted"
    assert row_of(again, "notice").text == "The task was restarted."


def test_the_time_without_a_process_is_waiting_and_no_work_of_the_model() -> None:
    gone = BEGAN + dt.timedelta(milliseconds=2000)
    begun = [
        at(0, "user_message"),
        at(10, "ai_message_start"),
        at(10, "api_request_start"),
        at(50, "text_start"),
    ]
    void = at(47_000, "stream_reset", before=gone)
    notice = at(47_000, "system_message", message="The task was restarted.")
    again = [at(48_000, "ai_message_start"), at(48_000, "api_request_start")]
    restarted = of_log([*begun, void, notice, *again, at(49_000, "task_complete")], began_at=BEGAN)
    assert told(restarted) == [
        ("user", 0, None, ""),
        ("model", 10, 1990, "bad"),
        ("text", 50, 1950, "bad"),
        ("notice", 2000, None, "bad"),
        ("wait", 2000, 46_000, ""),
        ("notice", 47_000, None, ""),
        ("model", 48_000, 1000, ""),
        ("end", 49_000, None, ""),
    ]
    assert row_of(restarted, "wait").label == "Waiting for a worker"
    # Before it has said anything, nothing of it is void.
    silent = of_log([*begun[:3], dataclasses.replace(notice, before=gone), *again], began_at=BEGAN)
    assert told(silent)[1:4] == [
        ("model", 10, 1990, "bad"),
        ("wait", 2000, 46_000, ""),
        ("notice", 47_000, None, ""),
    ]
    # Where nobody may begin anew, nobody worked on it until that was found out.
    lost = of_log([*begun, at(47_000, "error", status="worker_lost", before=gone)], began_at=BEGAN)
    assert told(lost)[1:] == [
        ("model", 10, 1990, "bad"),
        ("text", 50, 1950, "bad"),
        ("wait", 2000, 45_000, ""),
        ("end", 47_000, None, "bad"),
    ]
    failed = of_log([*begun, at(47_000, "error", status="llm.failed", before=gone)], began_at=BEGAN)
    assert row_of(failed, "text").duration_ms == 46_950


def test_a_tool_took_as_long_as_was_measured() -> None:
    def of(**measured: int) -> Row:
        called = at(100, "tool_start", id="t", name="clock")
        back = at(200, "update_action", id="t", status="completed", code=200, **measured)
        return row_of(of_log([called, back], began_at=BEGAN), "tool")

    assert (of().start_ms, of().duration_ms) == (100, 100)
    assert (of(duration_ms=3).start_ms, of(duration_ms=3).duration_ms) == (100, 3)
    # The log was written late: the call had begun before.
    assert (of(duration_ms=150).start_ms, of(duration_ms=150).duration_ms) == (50, 150)


def event_types() -> set[str]:
    """The types of all events that the code appends to logs."""
    found = set()
    for file in ROOT.glob("conversations/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            is_event = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "NewEvent"
            name = node.args[0] if is_event and node.args else None  # type: ignore[attr-defined]  # it is a call
            if isinstance(name, ast.Constant):
                found.add(str(name.value))
            elif isinstance(name, ast.JoinedStr):
                end = str(getattr(name.values[-1], "value", ""))
                found |= {block + end for block in ("text", "thinking")}
    # Written by way of a name.
    return found | {"modify_payload", "append_payload"}


def test_every_type_of_event_is_told_in_words() -> None:
    types = event_types()
    assert len(types) > 20
    before = at(0, "ai_message_start")
    for kind in types:
        for row in of_log([before, at(1, kind, name="clock", id="t")], began_at=BEGAN).rows:
            assert row.label not in {kind, "Something else"}, kind
            assert row.note != kind
    (other,) = of_log([at(1, "brand_new")], began_at=BEGAN).rows
    assert (other.label, other.note) == ("Something else", "brand_new")


def test_a_log_that_begins_in_the_middle_is_told_as_far_as_it_goes() -> None:
    timeline = of_log(
        [at(5, "text_end", text="x"), at(6, "update_action", id="t", status="completed", code=200)],
        began_at=BEGAN + dt.timedelta(seconds=1),
        is_cut=True,
    )
    assert told(timeline) == [("tool", 0, None, "")]
    assert timeline.is_cut
    assert told(of_log([], began_at=BEGAN)) == []


def entry(role: Any, text: str = "", **fields: Any) -> MessageEntry:
    return MessageEntry(turn=1, role=role, text=text, **fields)


def test_a_spoken_turn_shows_the_way_to_the_first_sound() -> None:
    times = {"eot_ms": 400, "asr_ms": 100, "llm_ttft_ms": 300, "tts_ttfb_ms": 150, "v2v_ms": 1000}
    timeline = of_messages(
        [
            entry("user", "How much?", start_ms=5000, end_ms=6500, confidence=0.912),
            entry("assistant", "Three", start_ms=7000, end_ms=9500, metrics=times,
                  is_interrupted=True),
        ]
    )  # fmt: skip
    assert told(timeline) == [
        ("audio", 0, 1500, ""),
        ("wait", 1500, 400, ""),
        ("audio", 1900, 100, ""),
        ("model", 2000, 300, ""),
        ("audio", 2300, 150, ""),
        ("text", 2500, 2000, ""),
    ]
    assert row_of(timeline, "audio").note == "91%"
    assert row_of(timeline, "text").note == "interrupted"
    assert timeline.total_ms == 4500


def test_messages_without_a_log_tell_what_they_know() -> None:
    source = Citation(
        index=1,
        document="a.pdf",
        page=1,
        text="text",
        score=0.5,
        knowledge_base_id="kb",
        document_id="doc",
        chunk_id="chunk",
    )
    timeline = of_messages(
        [
            entry("user", "Hello"),
            entry("tool", "{}", outcome=ToolOutcome("c", "clock", 504, "Too late.", 90)),
            entry("assistant", "Hi", metrics={"first_text_ms": 300, "total_ms": 1000},
                  citations=(source,), error="Broken."),
        ]
    )  # fmt: skip
    assert told(timeline) == [
        ("user", 0, None, ""),
        ("model", 0, 300, ""),
        ("text", 300, 700, ""),
        ("tool", None, 90, "bad"),
        ("search", None, None, ""),
        ("end", None, None, "bad"),
    ]


def test_bars_have_their_place_in_percent_and_stay_on_the_line() -> None:
    rows = (
        Row(kind="model", label="", start_ms=250, duration_ms=500),
        Row(kind="end", label="", start_ms=1000),
        Row(kind="tool", label="", duration_ms=50),
        Row(kind="text", label="", start_ms=900, duration_ms=900),
    )
    drawn = bars(Timeline(rows, 1000))
    assert [(bar.left, bar.width) for bar in drawn] == [
        (25.0, 50.0),
        (100.0, 0.0),
        (None, 0.0),
        (90.0, 10.0),
    ]
    assert bars(Timeline(rows[1:2], 0))[0].left == 100.0


def test_the_line_of_a_course_that_is_cut_begins_with_what_is_left() -> None:
    rows = (
        Row(kind="model", label="", start_ms=9000, duration_ms=500),
        Row(kind="end", label="", start_ms=10_000),
    )
    cut = Timeline(rows, 10_000, is_cut=True)
    assert cut.from_ms == 9000
    assert [(bar.left, bar.width) for bar in bars(cut)] == [(0.0, 50.0), (100.0, 0.0)]
    assert bars(Timeline(rows, 10_000))[0].left == 90.0
