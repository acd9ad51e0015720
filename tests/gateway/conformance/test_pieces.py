"""Upstreams' streams, however they are cut on their way, and what gateways are known to lose."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

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


@pytest.mark.parametrize("name", list(messages.ALL))
@SIZES
def test_habits_of_vendors_of_messages_survive_cutting(
    served: Served, upstream: FakeUpstream, name: str, size: int
) -> None:
    stream = messages.ALL[name]
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
