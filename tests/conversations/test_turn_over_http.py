"""The loop against a vendor that speaks the real protocols over HTTP, and the built-in model."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from assistants.runtime import AssistantRuntime
from conversations import turn as loop
from conversations.encoding import Turn, collect
from conversations.events import ModelAnswered, ModelAsked, TextDelta, TurnEvent
from conversations.turn import SentDocument, TurnRequest, run_turn
from providers.fakes import Behaviour, FakeUpstream, Step
from providers.tokens import estimate_tokens
from providers.types import Endpoint, ImagePart, LlmSpec, Usage
from tests.conversations.scripted import assistant, tool
from tests.upstream import llm_spec

WIRES = [("openai_compatible", "chat"), ("anthropic", "messages")]


def asked(text: str, **fields: Any) -> TurnRequest:
    return TurnRequest(turn=1, text=text, history=(), variables={}, **fields)


def speaking_to(upstream: FakeUpstream, vendor: str, **changes: Any) -> AssistantRuntime:
    address = upstream.root_url if vendor == "anthropic" else upstream.base_url
    return assistant(llm=llm_spec(address, vendor=vendor), prompt="Be kind.", **changes)


async def answer(text: str, runtime: AssistantRuntime) -> Turn:
    async with aclosing(run_turn(asked(text), runtime)) as events:
        return await collect(events)


@pytest.mark.parametrize(("vendor", "kind"), WIRES)
async def test_it_answers_with_tools(upstream: FakeUpstream, vendor: str, kind: Any) -> None:
    call = {"name": "calculator", "arguments": {"expression": "6*7"}}
    other = {"name": "calculator", "arguments": {"expression": "1/0"}}
    upstream.script(kind, Step(text="Let me see.", tool_calls=[call, other]), Step(text="42."))
    turn = await answer("6*7?", speaking_to(upstream, vendor, tools=(tool(),)))
    assert turn.error is None
    assert turn.text == "Let me see.\n42."
    assert {result.output for result in turn.tool_results} == {"42", ""}
    assert {result.code for result in turn.tool_results} == {200, 400}
    assert turn.usage.input_tokens > 0
    first, second = upstream.stats.last(kind)
    assert "Be kind." in str(first["body"])
    assert "Division by zero" in str(second["body"])


@pytest.mark.parametrize(("vendor", "kind"), WIRES)
async def test_it_closes_with_tools_shown_but_forbidden(
    upstream: FakeUpstream, vendor: str, kind: Any
) -> None:
    call = {"name": "calculator", "arguments": {"expression": "1"}}
    upstream.script(kind, *[Step(tool_calls=[call])] * 3, Step(text="It is 1."))
    turn = await answer("again", speaking_to(upstream, vendor, tools=(tool(),)))
    assert (turn.text, turn.reason) == ("It is 1.", "tool_limit")
    body = upstream.stats.last(kind)[-1]["body"]
    assert body["tools"]
    choice = body["tool_choice"]
    assert (choice["type"] if isinstance(choice, dict) else choice) == "none"


@pytest.mark.parametrize(("vendor", "kind"), WIRES)
async def test_it_closes_the_vendors_stream_when_closed(
    upstream: FakeUpstream, vendor: str, kind: Any
) -> None:
    upstream.set_behaviour(Behaviour(reply="word " * 1000, llm_token_ms=10))
    async with aclosing(run_turn(asked("talk"), speaking_to(upstream, vendor))) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of(kind).cancelled == 1
    )
    assert upstream.stats.of(kind).finished == 0


@pytest.mark.parametrize(("vendor", "kind"), WIRES)
@pytest.mark.parametrize(
    ("step", "is_retryable"), [({"status": 401}, False), ({"break_after": 2}, True)]
)
async def test_it_fails_as_the_vendor_does(
    upstream: FakeUpstream, vendor: str, kind: Any, step: dict[str, Any], is_retryable: bool
) -> None:
    # A vendor's client may try again by itself; it shall meet the same.
    upstream.script(kind, *[Step(text="one two three four", **step)] * 5)
    turn = await answer("hi", speaking_to(upstream, vendor))
    assert turn.error is not None
    assert (turn.error.code, turn.error.is_retryable) == ("llm.failed", is_retryable)
    assert "one two three four".startswith(turn.text.rstrip())


async def test_it_answers_with_the_built_in_model() -> None:
    builtin = LlmSpec(Endpoint("row", "builtin", "", "", "demo"), "Demo")
    turn = await answer("What is 6 times 7?", assistant(llm=builtin, tools=(tool(),)))
    assert turn.error is None
    assert [called.name for called in turn.tool_calls] == ["calculator"]
    assert "42" in turn.text


async def test_it_lets_the_built_in_model_open_the_conversation() -> None:
    builtin = LlmSpec(Endpoint("row", "builtin", "", "", "demo"), "Demo")
    for language in ("en", "zh"):
        turn = await answer("", assistant(llm=builtin, language=language))
        assert turn.error is None
        assert ("Hello" in turn.text) if language == "en" else ("你好" in turn.text)


# --- Calls that break off, thinking, images ------------------------------------------------------


async def events_of(request: TurnRequest, runtime: AssistantRuntime) -> list[TurnEvent]:
    async with aclosing(run_turn(request, runtime)) as events:
        return [event async for event in events]


async def _played(events: list[TurnEvent]) -> AsyncIterator[TurnEvent]:
    for event in events:
        yield event


@pytest.mark.parametrize(("vendor", "kind"), WIRES)
async def test_it_asks_again_where_the_vendor_broke_off(
    upstream: FakeUpstream, vendor: str, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BACKOFF_S", (0.0,))
    upstream.behaviour.break_request = 2
    wanted = {"name": "calculator", "arguments": {"expression": "6*7"}}
    usage = {"input_tokens": 5, "output_tokens": 7, "prompt_tokens": 5, "completion_tokens": 7}
    steps = [Step(text="It is 42, of course.", usage=usage) for _ in range(2)]
    upstream.script(kind, Step(tool_calls=[wanted], usage=usage), *steps)
    runtime = speaking_to(upstream, vendor, tools=(tool(),))
    events = await events_of(asked("6*7?", max_attempts=3), runtime)
    calls = [event for event in events if isinstance(event, ModelAsked)]
    assert [(call.number, call.attempt) for call in calls] == [(1, 1), (2, 1), (2, 2)]
    assert {event.context_tokens for event in events if isinstance(event, ModelAnswered)} == {12}
    turn = await collect(_played(events))
    assert turn.text == "It is 42, of course."
    # The vendor counts what it finished; what broke off is estimated.
    void = events[events.index(calls[1]) : events.index(calls[2])]
    shown = "".join(event.text for event in void if isinstance(event, TextDelta))
    assert turn.usage == Usage(10 + calls[1].prompt_tokens, 14 + estimate_tokens(shown))
    assert upstream.stats.of(kind).broken == 1
    # The broken text was shown, and is void.
    assert len("".join(e.text for e in events if isinstance(e, TextDelta))) > len(turn.text)
    _first, second, third = upstream.stats.last(kind)
    assert second["body"] == third["body"]


@pytest.mark.parametrize(("vendor", "kind"), WIRES)
async def test_it_waits_as_long_as_the_vendor_asks(
    upstream: FakeUpstream, vendor: str, kind: Any
) -> None:
    busy = Step(status=429, body={}, headers={"retry-after": "0"})
    late = Step(status=503, body={}, headers={"retry-after": "3600"})
    upstream.script(kind, busy, busy, Step(text="Here."), late)
    runtime = speaking_to(upstream, vendor)
    assert (await collect(_played(await events_of(asked("hi", max_attempts=3), runtime)))).text
    turn = await collect(_played(await events_of(asked("hi", max_attempts=3), runtime)))
    assert turn.error is not None
    assert upstream.stats.of(kind).requests == 4


THINKERS = [
    ("anthropic", "claude-opus-4-5", "messages"),
    ("anthropic", "claude-opus-4-6", "messages"),
    ("deepseek", "deepseek-chat", "chat"),
    ("dashscope", "qwen3-max", "chat"),
    ("openai_compatible", "mystery-7b", "chat"),
]


@pytest.mark.parametrize(("vendor", "model", "kind"), THINKERS)
@pytest.mark.parametrize(
    ("policy", "thought"),
    [
        ({"thinking": "always"}, 4),
        ({"thinking": "first"}, 1),
        ({"thinking": "first", "thinking_interval": 2}, 2),
        ({"thinking": "never"}, 0),
    ],
)
async def test_it_thinks_by_policy_through_rounds_of_tools(
    upstream: FakeUpstream,
    vendor: str,
    model: str,
    kind: Any,
    policy: dict[str, Any],
    thought: int,
) -> None:
    upstream.behaviour.thinking = "Hm. "
    rounds = [
        Step(
            tool_calls=[
                {"name": "calculator", "arguments": {"expression": f"{n}+0"}, "id": f"c{n}"}
            ]
        )
        for n in range(3)
    ]
    upstream.script(kind, *rounds, Step(text="Done."))
    address = upstream.root_url if kind == "messages" else upstream.base_url
    spec = LlmSpec(Endpoint("row", vendor, address, "key", model), "M", supports_thinking=True)
    runtime = assistant(llm=spec, tools=(tool(),))
    turn = await collect(_played(await events_of(asked("Go.", **policy), runtime)))
    # The fake refuses what the vendors do: thoughts lost, forged or begun in mid-turn.
    assert turn.error is None
    assert turn.text == "Done."
    # A turn that went on without thoughts cannot think again at some of Anthropic's models.
    is_strict = model == "claude-opus-4-5" and "thinking_interval" in policy
    assert turn.thinking == "Hm. " * (1 if is_strict else thought)


@pytest.mark.parametrize(("vendor", "kind"), WIRES)
async def test_it_shows_images_and_files(upstream: FakeUpstream, vendor: str, kind: Any) -> None:
    runtime = speaking_to(upstream, vendor)
    assert runtime.llm is not None
    seeing = dataclasses.replace(runtime, llm=dataclasses.replace(runtime.llm, accepts_images=True))
    request = asked(
        "Which is it?",
        images=(ImagePart(b"\x89PNG of a cat", "image/png"),),
        documents=(SentDocument("pets.txt", "Cats and dogs."),),
    )
    upstream.script(kind, Step(text="A cat."))
    assert (await collect(_played(await events_of(request, seeing)))).text == "A cat."
    sent = upstream.stats.last(kind)[-1]["body"]["messages"][-1]["content"]
    assert [part["type"] for part in sent] == ["text", "image" + "_url" * (kind == "chat")]
    assert sent[0]["text"].endswith("Which is it?")
    assert "Cats and dogs." in sent[0]["text"]
    turn = await collect(_played(await events_of(request, runtime)))
    assert turn.error is not None
    assert turn.error.code == "llm.no_images"
    assert upstream.stats.of(kind).requests == 1
