from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import history
from conversations.encoding import Collector
from conversations.events import (
    TextDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from conversations.history import INTERRUPTED_NOTE, NO_RESULT
from conversations.types import AttachmentRow, MessageEntry, ToolOutcome
from providers.types import (
    AssistantMessage,
    ChatMessage,
    ImagePart,
    SystemMessage,
    Thought,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)

# --- From stored messages ------------------------------------------------------------------------


def test_it_reads_stored_messages() -> None:
    call = ToolCall("c", "calculator", '{"expression": "1"}')
    outcome = ToolOutcome("c", "calculator", code=400)
    entries = [
        MessageEntry(turn=1, role="system", text="not part of it"),
        MessageEntry(turn=1, role="user", text="one?"),
        MessageEntry(turn=1, role="assistant", text="", tool_calls=(call,)),
        MessageEntry(turn=1, role="tool", text="no", outcome=outcome),
        MessageEntry(turn=1, role="assistant", text="sorry"),
    ]
    assert history.chat_messages(entries) == (
        UserMessage("one?"),
        AssistantMessage("", (call,)),
        ToolMessage("c", "calculator", "no", is_error=True),
        AssistantMessage("sorry"),
    )


def test_calls_that_were_refused_are_kept_and_told_as_vendors_take_them() -> None:
    refused = ToolReturned("c", "no such tool", "", "server", 404, "No.", 0, "{oops")
    collector = Collector()
    for event in (TurnStarted(1), refused, TextDelta("Sorry."), TurnFinished("stop", Usage())):
        collector.push(event)
    stored = history.entries(collector.turn)
    assert [entry.role for entry in stored] == ["assistant", "tool", "assistant"]
    assert stored[0].tool_calls == (ToolCall("c", "no such tool", "{oops"),)
    told = history.chat_messages(stored)
    assert told[0] == AssistantMessage("", (ToolCall("c", "no_such_tool", "{}"),))


@pytest.mark.parametrize(
    ("heard", "told"),
    [("The answer", f"The answer {INTERRUPTED_NOTE}"), ("", INTERRUPTED_NOTE)],
)
def test_it_tells_only_what_was_heard_of_an_interrupted_answer(heard: str, told: str) -> None:
    entry = MessageEntry(
        turn=1,
        role="assistant",
        text=heard,
        generated_text="The answer is secret",
        is_interrupted=True,
    )
    assert history.chat_messages([entry]) == (AssistantMessage(told),)


# --- From turns ----------------------------------------------------------------------------------

CALLED = ToolCalled("c", "weather", {"city": "Köln"}, "server", True, 1000)
RETURNED = ToolReturned("c", "weather", "rain", "server", 200, "ok", 12)
EVENTS: tuple[TurnEvent, ...] = (
    TurnStarted(4),
    TextDelta("Let me see."),
    CALLED,
    RETURNED,
    TextDelta("\nIt rains. Take a coat."),
)
FINISHED = TurnFinished("stop", Usage(9, 8))


def collected(*events: TurnEvent) -> Collector:
    collector = Collector()
    for event in events:
        collector.push(event)
    return collector


def test_it_stores_a_turn_step_by_step() -> None:
    first, result, last = history.entries(collected(*EVENTS, FINISHED).turn)
    assert (first.role, first.text, first.turn) == ("assistant", "Let me see.", 4)
    assert json.loads(first.tool_calls[0].arguments) == {"city": "Köln"}
    assert (result.role, result.text) == ("tool", "rain")
    assert result.outcome == ToolOutcome("c", "weather", 200, "ok", 12)
    assert (last.text, last.usage) == ("\nIt rains. Take a coat.", Usage(9, 8))
    assert not any(entry.is_interrupted or entry.generated_text for entry in (first, last))


def test_it_stores_a_turn_that_was_cut_off() -> None:
    stored = history.entries(collected(*EVENTS).turn)
    said = [entry for entry in stored if entry.role == "assistant"]
    assert [entry.is_interrupted for entry in said] == [False, True]
    assert [entry.text for entry in stored if entry.role == "tool"] == ["rain"]


def test_it_stores_why_a_turn_failed() -> None:
    failed = TurnFailed("llm.failed", "The vendor is down.", True, Usage(1, 1))
    (entry,) = history.entries(collected(TurnStarted(1), failed).turn)
    assert (entry.text, entry.error, entry.usage) == ("", "The vendor is down.", Usage(1, 1))


# --- Repairing, merging, trimming ----------------------------------------------------------------

IDS = st.sampled_from("abc")
TOOL_CALLS = st.builds(ToolCall, IDS, st.just("tool"), st.just("{}"))
TEXTS = st.text(alphabet="x 好", max_size=30)
MESSAGES: st.SearchStrategy[list[ChatMessage]] = st.lists(
    st.one_of(
        st.builds(UserMessage, TEXTS),
        st.builds(AssistantMessage, TEXTS, st.lists(TOOL_CALLS, max_size=3).map(tuple)),
        st.builds(ToolMessage, IDS, st.just("tool"), TEXTS),
        st.builds(SystemMessage, TEXTS),
    ),
    max_size=25,
)
BUDGETS = st.integers(-10, 300)


def assert_acceptable(messages: tuple[ChatMessage, ...]) -> None:
    """What every vendor insists on."""
    open_calls: list[str] = []
    for previous, message in pairwise((None, *messages)):
        if isinstance(message, ToolMessage):
            assert message.call_id == open_calls.pop(0)
            continue
        assert not open_calls
        assert not isinstance(message, SystemMessage)
        assert type(message) is not type(previous)
        if isinstance(message, AssistantMessage):
            open_calls = [call.id for call in message.tool_calls]
            assert len(set(open_calls)) == len(open_calls)
            assert message.text.strip() or open_calls
        else:
            assert message is not None
            assert message.text.strip()
    assert not open_calls


@given(MESSAGES, BUDGETS)
def test_it_prepares_a_history_that_vendors_accept(
    messages: list[ChatMessage], budget: int
) -> None:
    prepared = history.prepare(messages, budget_tokens=budget)
    assert_acceptable(prepared)
    assert sum(map(history.message_tokens, prepared)) <= max(budget, 0)
    assert history.prepare(prepared, budget_tokens=budget) == prepared


@given(MESSAGES, BUDGETS)
def test_it_cuts_only_whole_turns_and_only_the_oldest(
    messages: list[ChatMessage], budget: int
) -> None:
    whole = history.merge(history.repair(messages))
    kept = history.trim(whole, budget_tokens=budget)
    assert kept == whole[len(whole) - len(kept) :]
    if len(kept) < len(whole):
        assert not kept or isinstance(kept[0], UserMessage)


@given(MESSAGES)
def test_it_loses_no_words_when_nothing_must_be_cut(messages: list[ChatMessage]) -> None:
    prepared = history.prepare(messages, budget_tokens=10**6)
    for kind in (UserMessage, AssistantMessage):
        before = "".join(m.text for m in messages if isinstance(m, kind))
        after = "".join(m.text for m in prepared if isinstance(m, kind))
        assert "".join(before.split()) == "".join(after.split())


def test_it_answers_calls_that_were_cut_off() -> None:
    calls = (ToolCall("a", "one", "{}"), ToolCall("b", "two", "{}"))
    messages: list[ChatMessage] = [
        UserMessage("go"),
        AssistantMessage("", calls),
        ToolMessage("b", "two", "done"),
    ]
    assert history.repair(messages)[2:] == (
        ToolMessage("a", "one", NO_RESULT, is_error=True),
        ToolMessage("b", "two", "done"),
    )


def test_it_puts_a_late_result_after_its_call() -> None:
    call = ToolCall("a", "one", "{}")
    messages: list[ChatMessage] = [
        UserMessage("order"),
        AssistantMessage("", (call,)),
        UserMessage("and?"),
        ToolMessage("a", "one", "ordered"),
    ]
    assert history.repair(messages) == (
        UserMessage("order"),
        AssistantMessage("", (call,)),
        ToolMessage("a", "one", "ordered"),
        UserMessage("and?"),
    )


def test_it_drops_results_that_nobody_asked_for() -> None:
    messages: list[ChatMessage] = [
        UserMessage("hi"),
        ToolMessage("z", "one", "stray"),
        AssistantMessage("hello"),
    ]
    assert history.repair(messages) == (UserMessage("hi"), AssistantMessage("hello"))


def test_it_keeps_an_opener_while_it_fits() -> None:
    messages: tuple[ChatMessage, ...] = (
        AssistantMessage("Welcome!"),
        UserMessage("hi"),
        AssistantMessage("hello"),
    )
    assert history.trim(messages, budget_tokens=1000) == messages
    tokens = sum(map(history.message_tokens, messages[1:]))
    assert history.trim(messages, budget_tokens=tokens) == messages[1:]


@given(MESSAGES)
def test_it_does_not_change_what_it_is_given(messages: list[ChatMessage]) -> None:
    before = [dataclasses.replace(message) for message in messages]
    history.prepare(messages, budget_tokens=50)
    assert messages == before


# --- Files, images, long turns -------------------------------------------------------------------


def test_files_of_earlier_turns_are_still_known() -> None:
    text = AttachmentRow(
        kind="text", name="a.txt", source="upload:1", media_type="text/plain", text="Ten euros."
    )
    image = AttachmentRow(
        kind="image", name="a.png", source="file:a.png", media_type="image/png", text=""
    )
    entry = MessageEntry(turn=1, role="user", text="How much?", attachments=(text, image))
    (message,) = history.chat_messages([entry])
    assert message == UserMessage(
        '<attached_file name="a.txt">\nTen euros.\n</attached_file>\n\nHow much?'
    )


def test_images_and_thoughts_take_room() -> None:
    image = ImagePart(b"", "image/png")
    bare, seen = UserMessage("Look"), UserMessage("Look", (image, image))
    more = history.message_tokens(seen) - history.message_tokens(bare)
    assert more == 2 * history.IMAGE_TOKENS
    thought = AssistantMessage("", (), (Thought("word " * 40),))
    assert history.message_tokens(thought) == history.message_tokens(UserMessage("word " * 40))


def step(number: int, size: int = 400) -> tuple[ChatMessage, ...]:
    call = ToolCall(f"c{number}", "look", "{}")
    result = ToolMessage(f"c{number}", "look", "word " * size)
    return AssistantMessage("", (call,)), result


def test_a_turn_that_fits_stays_as_it_is() -> None:
    steps = (*step(1), *step(2))
    assert history.shorten(steps, budget_tokens=5_000) == (steps, 0)
    assert history.shorten((), budget_tokens=0) == ((), 0)


def test_the_oldest_results_give_way_first() -> None:
    steps = (*step(1), *step(2), *step(3))
    shorter, dropped = history.shorten(steps, budget_tokens=1_200)
    assert dropped == 0
    assert [message.text == history.LEFT_OUT for message in shorter[1::2]] == [True, False, False]
    assert shorter[::2] == steps[::2]


def test_then_the_oldest_steps_go() -> None:
    steps = tuple(message for number in range(10) for message in step(number, 20))
    shorter, dropped = history.shorten(steps, budget_tokens=120)
    assert 0 < dropped < 9
    assert len(shorter) == 2 * (10 - dropped)
    assert shorter[-2:] == steps[-2:]
    assert sum(map(history.message_tokens, shorter)) <= 120


def test_the_newest_step_stays_however_large_it_is() -> None:
    steps = (*step(1), *step(2, 4_000))
    assert history.shorten(steps, budget_tokens=10) == (steps[2:], 1)
