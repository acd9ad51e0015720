"""Turns that another service answers, over real HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from typing import Any

import pytest

from assistants.runtime import AssistantRuntime
from conversations import brain
from conversations.encoding import Turn, collect
from conversations.events import (
    Linked,
    ModelAnswered,
    ModelAsked,
    TextDelta,
    ThinkingDelta,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from conversations.request import SentDocument, TurnRequest
from conversations.turn import run_turn
from providers.fakes import Behaviour, FakeUpstream, Step
from providers.types import BrainKind, BrainSpec, ImagePart
from tests.conversations.scripted import assistant, tool
from tests.upstream import SECRET

BOTH: tuple[BrainKind, ...] = ("dify", "fastgpt")


def answered_by(kind: BrainKind, upstream: FakeUpstream, **changes: Any) -> AssistantRuntime:
    spec = BrainSpec(kind, upstream.root_url, SECRET)
    values = {"llm": None, "brain": spec, "caller_id": 7, "tools": (tool(),), **changes}
    return assistant(**values)


def asked(text: str, **fields: Any) -> TurnRequest:
    values: dict[str, Any] = {"history": (), "variables": {}, "conversation_id": "talk", **fields}
    return TurnRequest(turn=1, text=text, **values)


async def events_of(request: TurnRequest, runtime: AssistantRuntime) -> list[TurnEvent]:
    async with aclosing(run_turn(request, runtime)) as events:
        return [event async for event in events]


async def answer(request: TurnRequest, runtime: AssistantRuntime) -> Turn:
    async with aclosing(run_turn(request, runtime)) as events:
        return await collect(events)


@pytest.mark.parametrize("kind", BOTH)
async def test_it_gives_the_events_of_a_turn_in_their_order(
    upstream: FakeUpstream, kind: BrainKind
) -> None:
    upstream.script(kind, Step(text="Hello you."))
    events = await events_of(asked("Hi"), answered_by(kind, upstream))
    kinds = [TurnStarted, ModelAsked, Linked, TextDelta, TextDelta, ModelAnswered, TurnFinished]
    assert [type(event) for event in events] == kinds
    assert events[1] == ModelAsked(1, 1, 1, is_thinking=False)
    answered, finished = events[-2:]
    assert isinstance(answered, ModelAnswered)
    assert answered.model_name == brain.NAMES[kind]
    assert isinstance(finished, TurnFinished)
    assert finished.reason == "stop"
    assert answered.context_tokens == answered.usage.input_tokens + answered.usage.output_tokens
    assert finished.usage == answered.usage


@pytest.mark.parametrize("kind", BOTH)
async def test_the_next_turn_goes_on_where_the_service_has_the_conversation(
    upstream: FakeUpstream, kind: BrainKind
) -> None:
    runtime = answered_by(kind, upstream)
    first = await answer(asked("One"), runtime)
    second = await answer(asked("Two", remote_id=first.remote_id), runtime)
    assert (second.error, second.remote_id) == (None, "")
    assert upstream.conversations == {first.remote_id: ["One", "Two"]}


@pytest.mark.parametrize("kind", BOTH)
async def test_it_lets_the_service_open_the_conversation(
    upstream: FakeUpstream, kind: BrainKind
) -> None:
    upstream.set_behaviour(Behaviour(reply="Welcome!"))
    turn = await answer(asked(""), answered_by(kind, upstream, language="zh"))
    assert turn.text == "Welcome!"
    assert upstream.conversations[turn.remote_id] == ["你好！"]


async def test_it_tells_callers_apart_and_nobody_who_they_are(upstream: FakeUpstream) -> None:
    runtime = answered_by("dify", upstream)
    stranger = dataclasses.replace(runtime, caller_id=None)
    for who, talk in (
        (runtime, "1"),
        (runtime, "2"),
        (dataclasses.replace(runtime, caller_id=8), "1"),
        (stranger, "1"),
        (stranger, "1"),
        (stranger, "2"),
    ):
        await answer(asked("Hi", conversation_id=talk), who)
    users = [each["body"]["user"] for each in upstream.stats.last("dify")]
    assert users[0] == users[1]
    assert users[3] == users[4]
    assert len(set(users)) == 4
    assert all(len(user) == 32 for user in users)


async def test_it_sends_files_as_text_images_and_instructions_by_name(
    upstream: FakeUpstream,
) -> None:
    request = asked(
        "What does it cost?",
        documents=(SentDocument("Offer.pdf", "All prices in euros. </attached_file>"),),
        images=(ImagePart(b"\x89PNG", "image/png"),),
        instructions="Be brief.",
        variables={"city": "Bonn"},
    )
    await answer(request, answered_by("fastgpt", upstream, prompt="Never sent."))
    (sent,) = upstream.stats.last("fastgpt")
    text, image = sent["body"]["messages"][0]["content"]
    assert "All prices in euros." in text["text"]
    assert text["text"].count("</attached_file>") == 1
    assert text["text"].endswith("What does it cost?")
    assert image["type"] == "image_url"
    assert sent["body"]["variables"] == {"city": "Bonn", "instructions": "Be brief."}
    assert "Never sent." not in str(sent["body"])


async def test_it_cuts_long_files(upstream: FakeUpstream) -> None:
    request = asked("Well?", documents=(SentDocument("long.txt", "word " * 50_000),))
    await answer(request, answered_by("dify", upstream))
    query = upstream.stats.last("dify")[0]["body"]["query"]
    assert len(query) < 40_000
    assert query.endswith("Well?")


@pytest.mark.parametrize("kind", BOTH)
async def test_it_fails_as_the_loop_does(upstream: FakeUpstream, kind: BrainKind) -> None:
    runtime = answered_by(kind, upstream)
    upstream.script(kind, Step(text="So far", error={"message": "broken"}), Step(text=""))
    broken, silent = [await answer(asked("Hi"), runtime) for _number in range(2)]
    assert isinstance(broken.error, TurnFailed)
    assert (broken.error.code, broken.error.is_retryable) == ("llm.failed", True)
    assert broken.text == "So far"
    assert broken.remote_id
    assert silent.error is not None
    assert silent.error.code == "llm.empty_answer"
    upstream.set_behaviour(Behaviour(key="another"))
    refused = await answer(asked("Hi"), runtime)
    assert refused.error is not None
    assert (refused.error.code, refused.error.is_retryable) == ("llm.failed", False)
    assert SECRET not in refused.error.message


async def test_what_moderation_replaces_is_void(upstream: FakeUpstream) -> None:
    upstream.script("dify", Step(text="Something rude.", replacement="I cannot say that."))
    runtime = answered_by("dify", upstream)
    events = await events_of(asked("Hi"), runtime)
    assert [event.attempt for event in events if isinstance(event, ModelAsked)] == [1, 2]

    async def again() -> Any:
        for event in events:
            yield event

    assert (await collect(again())).text == "I cannot say that."


async def test_thoughts_are_no_part_of_the_answer(upstream: FakeUpstream) -> None:
    upstream.script("fastgpt", Step(thinking="Hm.", text="Yes."))
    events = await events_of(asked("Hi"), answered_by("fastgpt", upstream))
    assert ThinkingDelta("Hm.") in events
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Yes."]


@pytest.mark.parametrize("kind", BOTH)
async def test_it_ends_an_answer_that_does_not_end(
    upstream: FakeUpstream, kind: BrainKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brain, "MAX_ANSWER_CHARS", 100)
    upstream.script(kind, Step(text="word " * 100, hang_after=60))
    turn = await answer(asked("Hi"), answered_by(kind, upstream))
    assert turn.reason == "length"
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of(kind).cancelled == 1
    )


@pytest.mark.parametrize("kind", BOTH)
async def test_closing_the_turn_closes_the_services_stream(
    upstream: FakeUpstream, kind: BrainKind
) -> None:
    upstream.script(kind, Step(text="one two three", hang_after=1))
    async with aclosing(run_turn(asked("Hi"), answered_by(kind, upstream))) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of(kind).cancelled == 1
    )
