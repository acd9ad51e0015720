"""Chat over real HTTP: what comes out of both protocols, and what every failure becomes."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.errors import ProviderError
from providers import registry
from providers.clients import direct, transport
from providers.fakes import FakeUpstream, Step
from providers.fakes.behaviour import Kind
from providers.types import (
    AssistantMessage,
    ChatEnd,
    ChatPart,
    ChatRequest,
    LlmSpec,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolCallPart,
    ToolMessage,
    ToolSchema,
    Usage,
    UserMessage,
)
from tests.upstream import SECRET, llm_spec

CALCULATOR = ToolSchema(
    "calculator",
    "Do arithmetic",
    {
        "type": "object",
        "properties": {"expression": {"type": "string"}},
        "required": ["expression"],
    },
)
QUESTION = ChatRequest((SystemMessage("Be brief."), UserMessage("Hello?")))

Protocol = tuple[Kind, Callable[[FakeUpstream], LlmSpec]]
OPENAI: Protocol = ("chat", lambda fake: llm_spec(fake.base_url))
ANTHROPIC: Protocol = ("messages", lambda fake: llm_spec(fake.root_url, vendor="anthropic"))
both = pytest.mark.parametrize("protocol", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])


async def ask(spec: LlmSpec, request: ChatRequest = QUESTION) -> list[ChatPart]:
    async with registry.chat_model(spec).stream(request) as parts:
        return [part async for part in parts]


async def failure(spec: LlmSpec, request: ChatRequest = QUESTION) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(spec, request)
    error = caught.value
    assert SECRET not in str(error)
    assert error.message
    return error


def text_of(parts: list[ChatPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def end_of(parts: list[ChatPart]) -> ChatEnd:
    assert isinstance(parts[-1], ChatEnd)
    return parts[-1]


@both
async def test_it_streams_the_answer_piece_by_piece(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    kind, spec = protocol
    usage = {"input_tokens": 5, "output_tokens": 7, "prompt_tokens": 5, "completion_tokens": 7}
    upstream.script(kind, Step(text="One two three, 你好。", usage={**usage, "total_tokens": 12}))

    parts = await ask(spec(upstream))

    assert text_of(parts) == "One two three, 你好。"
    assert len([part for part in parts if isinstance(part, TextPart)]) >= 5
    assert end_of(parts) == ChatEnd("stop", Usage(5, 7))
    assert await asyncio.to_thread(upstream.stats.wait_until, lambda s: s.of(kind).finished == 1)


@both
async def test_it_sends_the_history_with_tools_and_settings(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    kind, spec = protocol
    request = ChatRequest(
        messages=(
            SystemMessage("Be brief."),
            UserMessage("2+2?"),
            AssistantMessage(
                "Let me see.", (ToolCall("c1", "calculator", '{"expression":"2+2"}'),)
            ),
            ToolMessage("c1", "calculator", "4"),
            UserMessage("And now?"),
        ),
        tools=(CALCULATOR,),
        temperature=0.3,
        max_tokens=50,
    )

    await ask(spec(upstream), request)

    body = upstream.stats.last(kind)[-1]["body"]
    said = json.dumps(body)
    assert all(text in said for text in ("Be brief.", "2+2?", "Let me see.", "c1", "And now?"))
    assert body["model"] == "fake-model"
    assert body["temperature"] == 0.3
    assert 50 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    tool = body["tools"][0].get("function", body["tools"][0])
    assert tool["name"] == "calculator"
    assert (tool.get("parameters") or tool["input_schema"])["required"] == ["expression"]


@both
async def test_it_sends_the_key_and_nothing_else_sends_it(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    _kind, spec = protocol
    upstream.behaviour.key = SECRET

    assert text_of(await ask(spec(upstream)))

    upstream.behaviour.key = "another"
    error = await failure(spec(upstream))
    assert error.is_permanent
    assert error.upstream_status == 401


@both
async def test_it_assembles_tool_calls_from_fragments(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    kind, spec = protocol
    calls = [
        {"name": "calculator", "arguments": {"expression": "17 * 3"}, "id": "a"},
        {"name": "current_time", "arguments": {}, "id": "b"},
    ]
    upstream.script(kind, Step(text="I look.", tool_calls=calls))

    parts = await ask(spec(upstream), ChatRequest(QUESTION.messages, tools=(CALCULATOR,)))

    found = [part.call for part in parts if isinstance(part, ToolCallPart)]
    assert [(call.id, call.name, json.loads(call.arguments)) for call in found] == [
        ("a", "calculator", {"expression": "17 * 3"}),
        ("b", "current_time", {}),
    ]
    assert text_of(parts) == "I look."
    assert end_of(parts).reason == "tool_calls"


@both
async def test_it_sends_tools_but_forbids_them_when_asked(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    kind, spec = protocol
    history = (
        UserMessage("2+2?"),
        AssistantMessage("", (ToolCall("c1", "calculator", "{}"),)),
        ToolMessage("c1", "calculator", "4"),
    )

    await ask(spec(upstream), ChatRequest(history, tools=(CALCULATOR,), tool_choice="none"))

    body = upstream.stats.last(kind)[-1]["body"]
    assert body["tools"]
    assert body["tool_choice"] in ("none", {"type": "none"})


@both
async def test_it_keeps_thinking_apart_from_the_answer(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    kind, spec = protocol
    upstream.script(kind, Step(thinking="Let me think.", text="Yes."))

    parts = await ask(spec(upstream))

    thought = "".join(part.text for part in parts if isinstance(part, ThinkingPart))
    assert (thought, text_of(parts)) == ("Let me think.", "Yes.")


@both
async def test_it_says_when_the_answer_was_cut(upstream: FakeUpstream, protocol: Protocol) -> None:
    kind, spec = protocol
    reason = "length" if kind == "chat" else "max_tokens"
    upstream.script(kind, Step(text="Once upon", finish_reason=reason))

    assert end_of(await ask(spec(upstream))).reason == "length"


@both
async def test_it_estimates_usage_where_the_vendor_counts_nothing(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    kind, spec = protocol
    zero = dict.fromkeys(("input_tokens", "output_tokens", "prompt_tokens"), 0)
    zero |= {"completion_tokens": 0, "total_tokens": 0}
    upstream.script(kind, Step(text="你好世界", usage=zero))

    usage = end_of(await ask(spec(upstream))).usage

    # Anthropic's stream always counts at least the one token it began with.
    assert usage.output_tokens == 4 or kind == "messages"


REFUSALS: list[tuple[Step, bool, str]] = [
    (Step(status=400, body={"error": {"message": "bad field"}}), True, "bad field"),
    (Step(status=401, body={"error": {"message": f"key {SECRET} is wrong"}}), True, "API key"),
    (Step(status=402, body={"error": {"message": "pay"}}), True, "credit"),
    (Step(status=403, body={}), True, "allow"),
    (Step(status=404, body={"error": {"message": "no such model"}}), True, "no such model"),
    (Step(status=422, body={"detail": "what"}), True, "refused"),
    (Step(status=500, body={}), False, "500"),
    (Step(status=502, raw="<html>", content_type="text/html"), False, "502"),
    (Step(status=503, body={"error": {"message": "busy"}}), False, "503"),
    (Step(status=529, body={}), False, "529"),
]


@both
@pytest.mark.parametrize(("step", "is_permanent", "words"), REFUSALS, ids=lambda value: str(value))
async def test_it_translates_a_refusal(
    upstream: FakeUpstream, protocol: Protocol, step: Step, is_permanent: bool, words: str
) -> None:
    kind, spec = protocol
    upstream.script(kind, step)

    error = await failure(spec(upstream))

    assert error.is_permanent is is_permanent
    assert words in error.message
    assert error.upstream_status == step.status
    # Nobody asked twice.
    assert upstream.stats.of(kind).requests == 1


@both
async def test_it_passes_on_how_long_to_wait(upstream: FakeUpstream, protocol: Protocol) -> None:
    kind, spec = protocol
    upstream.script(kind, Step(status=429, body={}, headers={"retry-after": "7"}))

    error = await failure(spec(upstream))

    assert (error.is_permanent, error.upstream_status, error.retry_after) == (False, 429, 7)


async def test_it_tells_an_empty_account_from_a_rate_limit(upstream: FakeUpstream) -> None:
    body = {"error": {"message": "quota", "code": "insufficient_quota"}}
    upstream.script("chat", Step(status=429, body=body))

    error = await failure(llm_spec(upstream.base_url))

    assert error.is_permanent
    assert "credit" in error.message


@both
@pytest.mark.parametrize(
    ("step", "is_permanent"),
    [
        (Step(text="One two three four", break_after=2), False),
        (Step(text="One two", error={"message": "overloaded", "type": "overloaded_error"}), False),
        (Step(raw="data: {not json\n\n", content_type="text/event-stream"), False),
        (Step(raw='data: {"choices": 5}\n\n', content_type="text/event-stream"), False),
        (Step(raw="", content_type="text/event-stream"), False),
        (Step(text=""), False),
        (Step(text="  \n"), False),
        (Step(raw="<html>Welcome</html>", content_type="text/html"), True),
        (Step(raw='{"hello": 1}', content_type="application/json"), False),
    ],
    ids=["cut", "error", "bad-json", "bad-shape", "nothing", "empty", "blank", "html", "json"],
)
async def test_it_translates_a_bad_answer(
    upstream: FakeUpstream, protocol: Protocol, step: Step, is_permanent: bool
) -> None:
    kind, spec = protocol
    upstream.script(kind, step)

    error = await failure(spec(upstream))

    assert error.is_permanent is is_permanent


@both
async def test_it_gives_up_on_a_vendor_that_falls_silent(
    upstream: FakeUpstream, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    from providers.clients import transport

    kind, spec = protocol
    short = {"connect": 1.0, "read": 0.05, "write": 1.0, "pool": 1.0}
    monkeypatch.setattr(transport, "TIMEOUT", httpx.Timeout(**short))
    monkeypatch.setattr(transport, "SILENCE_S", 0.05)
    upstream.script(kind, Step(text="One two three", hang_after=1), Step(wait_ms=60_000))

    in_the_middle = await failure(spec(upstream))
    from_the_start = await failure(spec(upstream))

    assert not in_the_middle.is_permanent
    assert not from_the_start.is_permanent
    assert "in time" in from_the_start.message


@both
async def test_leaving_closes_the_request_at_once(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    kind, spec = protocol
    upstream.script(kind, Step(text="One two three four", hang_after=2))

    async with registry.chat_model(spec(upstream)).stream(QUESTION) as parts:
        assert isinstance(await anext(aiter(parts)), TextPart)

    gone = await asyncio.to_thread(upstream.stats.wait_until, lambda s: s.of(kind).cancelled == 1)
    assert gone
    assert upstream.stats.of(kind).finished == 0


@both
async def test_cancelling_passes_through_and_closes_the_request(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    kind, spec = protocol
    upstream.script(kind, Step(wait_ms=60_000))
    task = asyncio.create_task(ask(spec(upstream)))
    await asyncio.to_thread(upstream.stats.wait_until, lambda s: s.of(kind).requests == 1)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await asyncio.to_thread(upstream.stats.wait_until, lambda s: s.of(kind).cancelled == 1)


@both
async def test_an_error_of_the_consumer_is_not_the_vendors(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    _, spec = protocol
    with pytest.raises(ValueError, match="mine"):
        async with registry.chat_model(spec(upstream)).stream(QUESTION):
            raise ValueError("mine")


async def test_it_refuses_an_address_that_nobody_allowed(
    upstream: FakeUpstream, settings: Any
) -> None:
    settings.OUTBOUND_RULES_SOURCE = ""
    assert text_of(await ask(llm_spec(upstream.base_url)))
    # A connection that is open already was checked when it was made.
    upstream.drop_connections()

    settings.OUTBOUND_ALLOW = []
    error = await failure(llm_spec(upstream.base_url))

    assert error.is_permanent
    assert "not a public address" in error.message
    assert upstream.stats.of("chat").requests == 1


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1/v1", "not a url", "http://"])
async def test_it_says_that_a_base_url_is_none(upstream: FakeUpstream, url: str) -> None:
    error = await failure(llm_spec(url))

    assert error.is_permanent
    assert "base URL" in error.message


async def test_it_says_that_nobody_listens(upstream: FakeUpstream) -> None:
    from config.supervisor.process import free_port

    error = await failure(llm_spec(f"http://127.0.0.1:{free_port()}/v1"))

    assert not error.is_permanent
    assert "cannot be reached" in error.message


async def test_it_replaces_a_connection_that_the_vendor_had_closed(
    upstream: FakeUpstream,
) -> None:
    spec = llm_spec(upstream.base_url)
    await ask(spec)
    upstream.drop_connections()

    assert text_of(await ask(spec))


@both
async def test_turn_after_turn_uses_one_connection(
    upstream: FakeUpstream, protocol: Protocol
) -> None:
    _, spec = protocol
    for _ in range(5):
        await ask(spec(upstream))

    assert upstream.stats.connections == 1


async def test_many_streams_at_once_do_not_mix(upstream: FakeUpstream) -> None:
    upstream.behaviour.reply = "You said {text} and that was it."
    spec = llm_spec(upstream.base_url)

    async def one(number: int) -> str:
        return text_of(await ask(spec, ChatRequest((UserMessage(f"number {number}"),))))

    answers = await asyncio.gather(*(one(number) for number in range(40)))

    assert answers == [f"You said number {n} and that was it." for n in range(40)]


@pytest.mark.parametrize(
    "vendor", ["openai", "dashscope", "siliconflow", "deepseek", "ollama", "vllm"]
)
async def test_every_vendor_of_the_protocol_answers(upstream: FakeUpstream, vendor: str) -> None:
    parts = await ask(llm_spec(upstream.base_url, vendor=vendor))

    assert text_of(parts) == upstream.behaviour.reply


# --- Vendors that do not stop --------------------------------------------------------------------


def said(text: str) -> str:
    return "data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 0,
        "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]}) + "\n\n"  # fmt: skip


def stream_of(*events: str) -> Step:
    return Step(raw="".join(events) + "data: [DONE]\n\n", content_type="text/event-stream")


async def test_it_reads_no_stream_without_end(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_STREAM_BYTES", 40_000)
    spec = llm_spec(upstream.base_url)
    upstream.script("chat", *(stream_of(*[said("x" * 1_000)] * count) for count in (30, 40)))
    assert len(text_of(await ask(spec))) == 30_000
    assert "larger than 40000 bytes" in (await failure(spec)).message


@pytest.mark.parametrize("endless", ["data: " + "x" * 300_000, "data: x\n" * 40_000, ":" * 300_000])
async def test_it_reads_no_event_without_end(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, endless: str
) -> None:
    monkeypatch.setattr(direct, "MAX_EVENT_BYTES", 15_000)
    spec = llm_spec(upstream.base_url)
    upstream.script("chat", stream_of(*[said("x" * 1_000)] * 100), stream_of(endless))
    assert len(text_of(await ask(spec))) == 100_000
    assert "larger than 15000 bytes" in (await failure(spec)).message


@both
async def test_it_reads_only_the_beginning_of_an_error(
    upstream: FakeUpstream, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, spec = protocol
    monkeypatch.setattr(transport, "MAX_ERROR_BYTES", 1_000)
    body = {"error": {"message": "The tool is odd."}}
    upstream.script(
        kind,
        Step(status=400, body=body),
        Step(status=400, body={**body, "more": "x" * 10_000}),
    )
    assert "odd" in (await failure(spec(upstream))).message
    error = await failure(spec(upstream))
    assert (error.upstream_status, "xx" in error.message) == (400, False)


async def test_it_takes_no_compressed_answer(upstream: FakeUpstream) -> None:
    packed = gzip.compress(said("x" * 100_000).encode()).decode("latin-1")
    step = stream_of(said("hello"))
    upstream.script("chat", step)
    assert text_of(await ask(llm_spec(upstream.base_url))) == "hello"
    upstream.script(
        "chat",
        Step(raw=packed, content_type=step.content_type, headers={"Content-Encoding": "gzip"}),
    )
    assert "compressed" in (await failure(llm_spec(upstream.base_url))).message
    assert upstream.stats.last("chat")[-1]["headers"]["accept-encoding"] == "identity"


async def test_it_reads_no_nested_nonsense(upstream: FakeUpstream) -> None:
    upstream.script("chat", stream_of(said("fine")), stream_of("data: " + "[" * 60_000 + "\n\n"))
    assert text_of(await ask(llm_spec(upstream.base_url))) == "fine"
    assert not (await failure(llm_spec(upstream.base_url))).is_permanent


async def test_it_takes_no_endless_arguments(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "MAX_ARGUMENT_CHARS", 1_000)
    monkeypatch.setattr(direct, "MAX_CALLS", 2)
    call = {"name": "calculator", "arguments": {"expression": "1"}}
    long = {"name": "calculator", "arguments": {"expression": "1" * 10_000}}
    upstream.script("chat", *(Step(tool_calls=[call] * count) for count in (2, 3)))
    upstream.script("chat", Step(tool_calls=[long], hang_after=200))
    spec, request = llm_spec(upstream.base_url), ChatRequest((UserMessage("1?"),), (CALCULATOR,))
    for _answer in range(2):
        parts = await ask(spec, request)
        assert end_of(parts).reason == "tool_calls"
        assert len([part for part in parts if isinstance(part, ToolCallPart)]) == 2
    (cut,) = [part for part in await ask(spec, request) if isinstance(part, ToolCallPart)]
    # Longer than any reader of arguments takes, and no JSON; the rest was not waited for.
    assert 1_000 < len(cut.call.arguments) < 1_010
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("chat").cancelled == 1
    )
