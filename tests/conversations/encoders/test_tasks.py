"""A turn as the tasks family tells it, and as it is found again in the log."""

from __future__ import annotations

from collections.abc import Iterable

from conversations.encoders.tasks import TaskEncoder, outcome_of
from conversations.encoding import Collector, Turn
from conversations.events import (
    Citation,
    Cited,
    Linked,
    ModelAnswered,
    ModelAsked,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from conversations.models import RunStatus
from conversations.runs.recovery import turn_so_far
from conversations.runs.types import NewEvent, StoredEvent
from providers.types import Usage

CALLED = ToolCalled(
    "call-1",
    "calculator",
    {"expression": "6*7"},
    executor="server",
    wait_for_response=True,
    timeout_ms=1000,
)
RETURNED = ToolReturned(
    "call-1", "calculator", "42", executor="server", code=200, message="ok", duration_ms=3
)


def asked(number: int = 1, attempt: int = 1) -> ModelAsked:
    return ModelAsked(number, attempt, 3, is_thinking=False)


def answered(number: int = 1, tokens: int = 10) -> ModelAnswered:
    return ModelAnswered(number, "m", Usage(tokens, 2), tokens + 2)


WHOLE: list[TurnEvent] = [
    TurnStarted(1),
    asked(),
    ThinkingDelta("Hm"),
    ThinkingDelta("m."),
    TextDelta("Let me "),
    TextDelta("see."),
    answered(),
    CALLED,
    RETURNED,
    asked(2),
    TextDelta("\n42."),
    answered(2, 20),
    TurnFinished("stop", Usage(30, 4)),
]


def told(events: Iterable[TurnEvent], encoder: TaskEncoder | None = None) -> list[NewEvent]:
    encoder = encoder or TaskEncoder()
    return [each for event in events for each in encoder.encode(event)]


def turn_of(events: Iterable[TurnEvent]) -> Turn:
    collector = Collector()
    for event in events:
        collector.push(event)
    return collector.turn


def stored(events: Iterable[NewEvent]) -> list[StoredEvent]:
    return [StoredEvent(at, event.type, event.data, 0) for at, event in enumerate(events)]


def kinds(events: Iterable[NewEvent]) -> list[str]:
    return [event.type for event in events]


def test_it_tells_a_whole_turn() -> None:
    events = told(WHOLE)
    assert kinds(events) == [
        "ai_message_start",
        "api_request_start",
        "thinking_start",
        "thinking_chunk",
        "thinking_chunk",
        "thinking_end",
        "text_start",
        "text_chunk",
        "text_chunk",
        "text_end",
        "token_update",
        "tool_preparing",
        "tool_start",
        "update_action",
        "api_request_start",
        "text_start",
        "text_chunk",
        "text_end",
        "token_update",
    ]
    by_kind = {event.type: event.data for event in events[:14]}
    assert by_kind["api_request_start"] == {
        "attempt": 1,
        "max_attempts": 3,
        "model": "",
        "prompt_tokens": 0,
    }
    assert by_kind["thinking_end"] == {"full_content": "Hmm."}
    assert by_kind["text_end"] == {"full_content": "Let me see."}
    assert by_kind["tool_start"]["arguments"] == {"expression": "6*7"}
    assert by_kind["tool_start"]["preparing_id"] == by_kind["tool_preparing"]["id"] == "call-1"
    assert by_kind["update_action"]["id"] == by_kind["tool_start"]["id"]
    assert (by_kind["update_action"]["status"], by_kind["update_action"]["result"]) == (
        "completed",
        "42",
    )


def test_it_adds_up_the_tokens_of_the_conversation() -> None:
    events = told(WHOLE, TaskEncoder(before=Usage(100, 50)))
    updates = [event.data for event in events if event.type == "token_update"]
    assert [each["cumulative_total_tokens"] for each in updates] == [162, 184]
    assert [each["current_context_tokens"] for each in updates] == [12, 22]


def test_it_counts_at_the_end_what_no_call_had_told() -> None:
    events = told([TurnStarted(1), TextDelta("Hi"), TurnFinished("stop", Usage(5, 1))])
    assert kinds(events)[-2:] == ["text_end", "token_update"]
    assert events[-1].data["cumulative_total_tokens"] == 6


def test_it_takes_a_broken_attempt_back() -> None:
    events = told(
        [
            TurnStarted(1),
            asked(),
            TextDelta("Hal"),
            asked(attempt=2),
            TextDelta("Hello"),
            answered(),
        ]
    )
    assert kinds(events)[2:] == [
        "text_start",
        "text_chunk",
        "stream_reset",
        "api_request_start",
        "text_start",
        "text_chunk",
        "text_end",
        "token_update",
    ]
    assert events[-2].data == {"full_content": "Hello"}


def test_it_takes_nothing_back_where_nothing_was_said() -> None:
    assert "stream_reset" not in kinds(told([TurnStarted(1), asked(), asked(attempt=2)]))


def test_it_tells_of_a_refused_call() -> None:
    refused = ToolReturned(
        "call-9",
        "nothing",
        "",
        executor="server",
        code=404,
        message="There is no such tool.",
        duration_ms=0,
        refused_arguments="{",
    )
    events = told([TurnStarted(1), asked(), answered(), refused])
    assert kinds(events)[-2:] == ["tool_preparing", "update_action"]
    action = events[-1].data
    assert (action["status"], action["message"]) == ("failed", "There is no such tool.")
    turn = turn_so_far(stored(events), turn=1)
    assert (turn.tool_calls, turn.tool_results) == ((), ())


def test_it_ends_what_is_open_when_a_turn_breaks_off() -> None:
    encoder = TaskEncoder()
    told([TurnStarted(1), asked(), answered(), CALLED, TextDelta("Wait")], encoder)
    closing = list(encoder.close())
    assert kinds(closing) == ["text_end", "update_action"]
    assert (closing[1].data["status"], closing[1].data["preparing_id"]) == ("cancelled", "call-1")
    assert list(encoder.close()) == []


def test_it_calls_the_calls_of_another_attempt_differently() -> None:
    names = [
        told([TurnStarted(1), asked(), CALLED], TaskEncoder(mark=mark))[-1].data["id"]
        for mark in ("", "2")
    ]
    assert names == ["tool_1_calculator_1", "tool_1_calculator_2_1"]


def test_it_tells_of_sources_where_there_are_some() -> None:
    source = Citation(1, "Fees.pdf", "It costs 3.", "kb", "doc", "chunk", page=2, score=0.5)
    assert kinds(told([Cited((source,)), Cited(()), Linked("remote")])) == ["sources"]


def test_it_ends_as_the_turn_did() -> None:
    done = outcome_of(turn_of(WHOLE))
    assert (done.status, done.last.type) == (RunStatus.SUCCEEDED, "task_complete")
    assert done.last.data == {
        "total_iterations": 2,
        "total_tool_calls": 1,
        "auto_fix_attempts": 0,
        "reason": "stop",
    }
    stopped = outcome_of(turn_of(WHOLE[:5]))
    assert (stopped.status, stopped.last.type) == (RunStatus.CANCELED, "task_stopped")
    assert stopped.last.data["reason"] == "user_requested"
    failure = TurnFailed("llm.failed", "Away.", is_retryable=True, usage=Usage(1, 1))
    failed = outcome_of(turn_of([*WHOLE[:5], failure]))
    assert (failed.status, failed.last.type, failed.error_code) == (
        RunStatus.FAILED,
        "error",
        "llm.failed",
    )
    assert failed.last.data["message"] == "Away."


def test_a_turn_is_found_again_in_its_log() -> None:
    found = turn_so_far(stored(told(WHOLE)), turn=1)
    whole = turn_of(WHOLE)
    assert [step.text for step in found.steps] == [step.text for step in whole.steps]
    assert (found.thinking, found.model_name, found.usage) == ("Hmm.", "m", Usage(30, 4))
    assert found.tool_results == whole.tool_results
    assert found.reason == "interrupted"


def test_only_the_last_attempt_is_found_again() -> None:
    log = [*told(WHOLE), NewEvent("stream_reset", {}), *told([TurnStarted(1), TextDelta("Anew")])]
    found = turn_so_far(stored(log), turn=1)
    assert (found.text, found.usage) == ("Anew", Usage())


def test_a_turn_that_never_began_is_empty() -> None:
    found = turn_so_far(stored([NewEvent("user_message", {"message": "Hi"})]), turn=3)
    assert (found.text, found.reason) == ("", "interrupted")
