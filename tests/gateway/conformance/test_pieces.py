"""Upstreams' streams, however they are cut on their way, and what gateways are known to lose."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from core.wire import Timeouts
from gateway import upstream as gateway_upstream
from providers.fakes import Behaviour, FakeUpstream, Step
from tests.gateway.conformance.conftest import OVER_ANTHROPIC, OVER_OPENAI, Served
from tests.gateway.conformance.test_clients import says
from tests.gateway.dialects.chat_completions import streams as chat
from tests.gateway.dialects.messages import streams as messages

pytestmark = pytest.mark.django_db

HI = [{"role": "user", "content": "Hi"}]
MESSAGES, CHAT = "messages", "chat/completions"
CALLS = [
    {"name": "weather", "arguments": '{"city": "早 Paris"}'},
    {"name": "time", "arguments": "{}"},
]
PATHS = pytest.mark.parametrize("path", [MESSAGES, CHAT])
MODELS = pytest.mark.parametrize("model", [OVER_OPENAI, OVER_ANTHROPIC])
SIZES = pytest.mark.parametrize("size", [1, 7])


def request(path: str, model: str, **body: Any) -> dict[str, Any]:
    if path == MESSAGES:
        return {"model": model, "messages": HI, "stream": True, "max_tokens": 99, **body}
    usage = {"stream_options": {"include_usage": True}}
    return {"model": model, "messages": HI, "stream": True, **usage, **body}


def streamed(served: Served, path: str, model: str, **body: Any) -> str:
    with served.client() as client:
        answer = client.post(path, json=request(path, model, **body))
    assert answer.status_code == 200, answer.text
    return answer.text


def payloads(text: str) -> list[Any]:
    lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def timeless(text: str) -> str:
    """Without what differs from answer to answer."""
    text = re.sub(r'"(msg|cmpl)-[0-9a-z]+"', '"id"', text)
    return re.sub(r'"created": ?\d+', '"created":0', text)


def raw(stream: bytes | str) -> Step:
    """Answers with these very bytes."""
    data = stream if isinstance(stream, bytes) else stream.encode()
    return Step(raw=data.decode("latin-1"), content_type="text/event-stream")


# --- Pieces ---------------------------------------------------------------------------------------


@PATHS
@MODELS
@SIZES
def test_how_a_stream_is_cut_changes_nothing(
    served: Served, upstream: FakeUpstream, path: str, model: str, size: int
) -> None:
    step = Step(text="Spring, 春天来了 🌞.", thinking="Let me see.", tool_calls=CALLS)
    says(upstream, step)
    whole = streamed(served, path, model)
    upstream.reset()
    upstream.set_behaviour(Behaviour(piece_bytes=size))
    says(upstream, step)
    assert timeless(streamed(served, path, model)) == timeless(whole)
    assert "春" in "".join(payload_texts(whole))


def payload_texts(text: str) -> list[str]:
    """Each piece of the answer's words."""
    found = []
    for each in payloads(text):
        if "choices" in each:
            found += [choice["delta"].get("content") or "" for choice in each["choices"]]
        else:
            found.append(each.get("delta", {}).get("text", ""))
    return found


@PATHS
@pytest.mark.parametrize("size", [0, 1, 7])
def test_the_same_dialect_is_passed_on_byte_for_byte(
    served: Served, upstream: FakeUpstream, path: str, size: int
) -> None:
    model = OVER_ANTHROPIC if path == MESSAGES else OVER_OPENAI
    step = Step(text="Spring, 春天来了 🌞.", thinking="Let me see.", tool_calls=CALLS)
    says(upstream, step, step)
    asked = request(path, "fake-model")
    with httpx.Client(trust_env=False) as client:
        own = client.post(f"{upstream.base_url}/{path}", json=asked).text
    upstream.reset()
    upstream.set_behaviour(Behaviour(piece_bytes=size))
    says(upstream, step)
    assert streamed(served, path, model) == own.replace('"fake-model"', f'"{model}"')


@pytest.mark.parametrize("name", list(chat.ALL))
@SIZES
def test_habits_of_vendors_of_chat_completions_survive_cutting(
    served: Served, upstream: FakeUpstream, name: str, size: int
) -> None:
    stream = chat.ALL[name]
    for path in (CHAT, MESSAGES):
        upstream.set_behaviour(Behaviour())
        says(upstream, raw(stream))
        whole = streamed(served, path, OVER_OPENAI)
        upstream.set_behaviour(Behaviour(piece_bytes=size))
        says(upstream, raw(stream))
        assert timeless(streamed(served, path, OVER_OPENAI)) == timeless(whole)
        upstream.reset()
        if path == CHAT:
            assert whole == stream.decode().replace(chat.UPSTREAM, OVER_OPENAI)


@pytest.mark.parametrize("name", list(messages.WHOLE))
@SIZES
def test_habits_of_vendors_of_messages_survive_cutting(
    served: Served, upstream: FakeUpstream, name: str, size: int
) -> None:
    stream = messages.WHOLE[name]
    for path in (MESSAGES, CHAT):
        upstream.set_behaviour(Behaviour())
        says(upstream, raw(stream))
        whole = streamed(served, path, OVER_ANTHROPIC)
        upstream.set_behaviour(Behaviour(piece_bytes=size))
        says(upstream, raw(stream))
        assert timeless(streamed(served, path, OVER_ANTHROPIC)) == timeless(whole)
        upstream.reset()
        if path == MESSAGES:
            assert whole == stream.replace("upstream-model-1", OVER_ANTHROPIC)


# --- What other gateways are known to lose --------------------------------------------------------


def test_arguments_that_come_with_the_calls_name_are_kept(
    served: Served, upstream: FakeUpstream
) -> None:
    whole = chat.call(0, "call_a", "look", '{"city":"Rome"}')
    says(upstream, raw(chat.FIRST + chat.calls(whole) + chat.chunk({}, "tool_calls") + chat.DONE))
    told = payloads(streamed(served, MESSAGES, OVER_OPENAI))
    pieces = [each["delta"]["partial_json"] for each in told if "partial_json" in str(each)]
    assert json.loads("".join(pieces)) == {"city": "Rome"}


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
def test_calls_end_with_their_own_reason_and_without_an_empty_block(
    served: Served, upstream: FakeUpstream, reason: str
) -> None:
    """Some vendors say “stop” after calls."""
    call = chat.call(0, "call_a", "look", "{}")
    says(upstream, raw(chat.FIRST + chat.calls(call) + chat.chunk({}, reason) + chat.DONE))
    told = payloads(streamed(served, MESSAGES, OVER_OPENAI))
    starts = [each["content_block"] for each in told if each["type"] == "content_block_start"]
    assert [start["type"] for start in starts] == ["tool_use"]
    assert told[-2]["delta"]["stop_reason"] == "tool_use"


def test_thoughts_have_a_block_of_their_own(served: Served, upstream: FakeUpstream) -> None:
    says(upstream, Step(text="42", thinking="Let me see."))
    told = payloads(streamed(served, MESSAGES, OVER_OPENAI))
    kinds = {
        each["index"]: each["content_block"]["type"]
        for each in told
        if each["type"] == "content_block_start"
    }
    assert list(kinds.values()) == ["thinking", "text"]
    for each in told:
        if each["type"] == "content_block_delta" and each["delta"]["type"] != "signature_delta":
            assert each["delta"]["type"] == f"{kinds[each['index']]}_delta"


def test_cached_tokens_are_counted(served: Served, upstream: FakeUpstream) -> None:
    cached = {"prompt_tokens": 18, "completion_tokens": 6, "total_tokens": 24,
              "prompt_tokens_details": {"cached_tokens": 10}}  # fmt: skip
    says(upstream, Step(text="Hi", usage=cached))
    usage = payloads(streamed(served, MESSAGES, OVER_OPENAI))[-2]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (8, 10)
    upstream.reset()
    says(upstream, Step(text="Hi", usage={"input_tokens": 8, "output_tokens": 6,
                                          "cache_read_input_tokens": 10}))  # fmt: skip
    usage = payloads(streamed(served, CHAT, OVER_ANTHROPIC))[-1]["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 10
    assert (usage["prompt_tokens"], usage["total_tokens"]) == (18, 24)
    first, second = served.records()[-2:]
    assert first.cache_read_tokens == second.cache_read_tokens == 10


def test_words_that_come_with_the_role_are_kept(served: Served, upstream: FakeUpstream) -> None:
    first = chat.chunk({"role": "assistant", "content": "Hel"})
    says(upstream, raw(first + chat.chunk({"content": "lo"}, "stop") + chat.DONE))
    text = streamed(served, MESSAGES, OVER_OPENAI)
    assert "".join(payload_texts(text)) == "Hello"


def test_calls_are_numbered_from_nought_behind_text(served: Served, upstream: FakeUpstream) -> None:
    says(upstream, Step(text="Wait.", tool_calls=CALLS))
    told = payloads(streamed(served, CHAT, OVER_ANTHROPIC))
    deltas = [each["choices"][0]["delta"] for each in told if each["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    names = {call["index"]: call["function"]["name"] for call in calls if "id" in call}
    assert names == {0: "weather", 1: "time"}
    assert {call["index"] for call in calls} == {0, 1}


def test_the_first_chunk_names_the_role(served: Served, upstream: FakeUpstream) -> None:
    says(upstream, Step(text="Hi"))
    first = payloads(streamed(served, CHAT, OVER_ANTHROPIC))[0]
    assert first["choices"][0]["delta"]["role"] == "assistant"


def test_what_was_read_is_known_from_the_first_event_on(
    served: Served, upstream: FakeUpstream
) -> None:
    says(upstream, Step(text="Hi"))
    first = payloads(streamed(served, MESSAGES, OVER_OPENAI))[0]
    assert first["type"] == "message_start"
    assert first["message"]["usage"]["input_tokens"] > 0


@PATHS
@MODELS
@pytest.mark.parametrize(
    "step",
    [
        Step(text="one two three four", error={"type": "overloaded_error", "message": "Busy."}),
        Step(text="one two three four", break_after=2),
        Step(text="one two three four", hang_after=2),
    ],
    ids=["error", "broken", "silent"],
)
def test_errors_in_mid_stream_are_seen(
    served: Served,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    model: str,
    step: Step,
) -> None:
    monkeypatch.setattr(gateway_upstream, "STREAMED", Timeouts(5.0, 5.0, 0.5))
    # What fails before the first word is sent would be asked again.
    upstream.set_behaviour(Behaviour(llm_token_ms=100))
    says(upstream, step)
    text = streamed(served, path, model)
    *_before, last = payloads(text)
    assert last["error"]["message"]
    assert ("event: error" in text) == (path == MESSAGES)
    assert "message_stop" not in text
    assert "[DONE]" not in text
    assert "one" in "".join(payload_texts(text))
