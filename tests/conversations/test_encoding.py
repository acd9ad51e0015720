from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest

from conversations.encoding import Collector, Step, collect
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
from providers.tokens import estimate_tokens
from providers.types import Usage

CITATION = Citation(1, "Menu.pdf", "Soup 3 €", "kb", "doc", "chunk", None, 0.9)


def called(call_id: str) -> ToolCalled:
    return ToolCalled(call_id, "calculator", {"expression": "1"}, "server", True, 1000)


def returned(call_id: str, code: int = 200) -> ToolReturned:
    return ToolReturned(call_id, "calculator", call_id.upper(), "server", code, "ok", 3)


def refused(call_id: str) -> ToolReturned:
    return dataclasses.replace(returned(call_id, 400), refused_arguments="{oops")


async def played(*events: TurnEvent) -> AsyncIterator[TurnEvent]:
    for event in events:
        yield event


async def test_it_collects_a_turn() -> None:
    turn = await collect(
        played(
            TurnStarted(2),
            Cited((CITATION,)),
            ThinkingDelta("hm"),
            TextDelta("Let me "),
            TextDelta("see."),
            called("a"),
            refused("refused"),
            called("b"),
            returned("b"),
            returned("a"),
            called("c"),
            returned("c"),
            TextDelta(" Done."),
            TurnFinished("stop", Usage(3, 4)),
        )
    )
    assert turn.turn == 2
    assert turn.text == "Let me see. Done."
    assert turn.thinking == "hm"
    assert [step.text for step in turn.steps] == ["Let me see.", "", " Done."]
    assert [[call.call_id for call in step.calls] for step in turn.steps] == [["a", "b"], ["c"], []]
    assert [result.call_id for result in turn.tool_results] == ["b", "a", "c"]
    assert [refusal.call_id for refusal in turn.refusals] == ["refused"]
    assert turn.citations == (CITATION,)
    assert (turn.reason, turn.usage, turn.error) == ("stop", Usage(3, 4), None)


async def test_it_keeps_the_error_of_a_failed_turn() -> None:
    failure = TurnFailed("llm.failed", "down", is_retryable=True, usage=Usage(1, 0))
    turn = await collect(played(TurnStarted(1), TextDelta("Half"), failure))
    assert (turn.text, turn.reason, turn.error, turn.usage) == ("Half", None, failure, Usage(1, 0))


def test_it_counts_a_turn_without_an_end_as_interrupted() -> None:
    collector = Collector()
    collector.push(TurnStarted(1))
    collector.push(TextDelta("Half"))
    assert (collector.turn.text, collector.turn.reason) == ("Half", "interrupted")
    collector.push(TextDelta(" more"))
    assert collector.turn.text == "Half more"


BROKEN_ATTEMPTS: list[tuple[list[TurnEvent], list[TurnEvent]]] = [
    # What the attempt brought, and what was there before the call.
    ([TextDelta("Hal")], []),
    ([ThinkingDelta("aha"), TextDelta("Hal"), TextDelta("f")], []),
    ([ThinkingDelta("aha")], [called("a"), returned("a")]),
    ([TextDelta("Hal"), TextDelta("f")], [called("a"), returned("a")]),
    ([TextDelta("Hal")], [TextDelta("I look."), called("a"), returned("a")]),
    ([TextDelta("Hal")], [TextDelta("I look."), refused("a")]),
    ([], [TextDelta("I look."), called("a"), returned("a")]),
]


@pytest.mark.parametrize(("broken", "before"), BROKEN_ATTEMPTS)
async def test_it_forgets_what_a_broken_attempt_brought(
    broken: list[TurnEvent], before: list[TurnEvent]
) -> None:
    first: list[TurnEvent] = [
        TurnStarted(1),
        ModelAsked(1, 1, 3, False),
        ThinkingDelta("hm"),
        *before,
    ]
    last: list[TurnEvent] = [TextDelta("Done."), ModelAnswered(2, "Llm", Usage(3, 4), 7)]
    end = TurnFinished("stop", Usage(3, 4))
    attempts = [ModelAsked(2, number, 3, False) for number in (1, 2, 3)]
    whole = await collect(played(*first, attempts[0], *last, end))
    again = await collect(
        played(*first, attempts[0], *broken, attempts[1], *broken, attempts[2], *last, end)
    )
    assert again == whole
    assert (whole.thinking, whole.model_name) == ("hm", "Llm")


def test_what_an_attempt_brought_counts_until_the_next() -> None:
    collector = Collector()
    for event in (TurnStarted(1), ModelAsked(1, 1, 2, False), TextDelta("Half")):
        collector.push(event)
    assert collector.turn.text == "Half"
    collector.push(ModelAsked(1, 2, 2, False))
    assert (collector.turn.text, collector.turn.steps) == ("", (Step(),))


TEXT = "Half of an answer"
IN_THE_MIDDLE: list[tuple[list[TurnEvent], Usage]] = [
    # What came before it was left, and what it took.
    ([], Usage(100, 0)),
    ([TextDelta(TEXT)], Usage(100, estimate_tokens(TEXT))),
    ([ThinkingDelta(TEXT)], Usage(100, estimate_tokens(TEXT))),
    (
        [TextDelta(TEXT), ModelAsked(1, 2, 3, is_thinking=False, prompt_tokens=100)],
        Usage(200, estimate_tokens(TEXT)),
    ),
    ([TextDelta("4"), ModelAnswered(1, "Llm", Usage(7, 1), 8)], Usage(7, 1)),
    (
        [
            TextDelta("I look."),
            ModelAnswered(1, "Llm", Usage(7, 1), 8),
            called("a"),
            returned("a"),
            ModelAsked(2, 1, 3, is_thinking=False, prompt_tokens=120),
            TextDelta(TEXT),
        ],
        Usage(127, 1 + estimate_tokens(TEXT)),
    ),
]


@pytest.mark.parametrize(("came", "took"), IN_THE_MIDDLE)
async def test_it_estimates_what_a_call_took_that_was_left(
    came: list[TurnEvent], took: Usage
) -> None:
    asked = ModelAsked(1, 1, 3, is_thinking=False, model_name="Llm", prompt_tokens=100)
    turn = await collect(played(TurnStarted(1), asked, *came))
    assert (turn.reason, turn.usage, turn.model_name) == ("interrupted", took, "Llm")


@pytest.mark.parametrize(("text", "took"), [("", Usage(5, 1)), (TEXT, Usage(105, 1))])
async def test_a_call_that_failed_took_something_only_if_something_came(
    text: str, took: Usage
) -> None:
    asked = ModelAsked(2, 1, 3, is_thinking=False, prompt_tokens=100)
    failed = TurnFailed("llm.failed", "Gone.", is_retryable=True, usage=Usage(5, 1))
    turn = await collect(played(TurnStarted(1), asked, TextDelta(text), failed))
    assert turn.usage == took + Usage(0, estimate_tokens(text))


def test_it_keeps_where_another_service_has_the_conversation() -> None:
    collector = Collector()
    collector.push(Linked("remote-1"))
    assert collector.turn.remote_id == "remote-1"
