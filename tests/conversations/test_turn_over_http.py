"""The loop against a vendor that speaks the real protocols over HTTP, and the built-in model."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from assistants.runtime import AssistantRuntime
from conversations.encoding import Turn, collect
from conversations.events import TextDelta
from conversations.turn import TurnRequest, run_turn
from providers.fakes import Behaviour, FakeUpstream, Step
from providers.types import Endpoint, LlmSpec
from tests.conversations.scripted import assistant, tool
from tests.upstream import llm_spec

WIRES = [("openai_compatible", "chat"), ("anthropic", "messages")]


def asked(text: str) -> TurnRequest:
    return TurnRequest(turn=1, text=text, history=(), variables={})


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
