"""Server-sent events of chat vendors, in pieces of any length and with any end of a line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.clients.event_stream import EventReader
from providers.fakes import FakeUpstream, Step
from providers.registry import chat_model
from providers.types import ChatRequest, TextPart, UserMessage
from tests.upstream import llm_spec


def events(pieces: list[bytes]) -> list[bytes]:
    reader = EventReader()
    found = [*(event for piece in pieces for event in reader.push(piece)), *reader.flush()]
    return [event.data for event in found]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_it_finds_events_however_they_are_cut(end: str, size: int) -> None:
    lines = [
        ": hello",
        "event: x",
        'data: {"a":1}',
        "",
        "",
        "data:two",
        "data:  lines",
        "",
        "id: 1",
    ]
    text = end.join([*lines, "data: é", "", "data: [DONE]"]).encode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert events(pieces) == [b'{"a":1}', b"two\n lines", "é".encode(), b"[DONE]"]


def test_it_copies_a_line_without_end_once() -> None:
    reader = EventReader()
    assert not [event for _ in range(200_000) for event in reader.push(b"data: x")]
    assert len(reader._rest) == 200_000


def stream_of(*chunks: Any, end: str = "data: [DONE]\n\n") -> Step:
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return Step(raw=body + end, content_type="text/event-stream")


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}], **fields}


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"id": None, "created": None, "model": None, "object": "something"},
        {"service_tier": "unheard of", "x_extra": {"a": [1]}},
    ],
)
@pytest.mark.parametrize("end", ["data: [DONE]\n\n", ""])
async def test_it_takes_chunks_that_are_not_quite_openais(
    upstream: FakeUpstream, odd: dict[str, Any], end: str
) -> None:
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    upstream.script("chat", stream_of(said("Hel", **odd), said("lo", **odd), last, end=end))
    request = ChatRequest((UserMessage("hi"),))
    async with chat_model(llm_spec(upstream.base_url)).stream(request) as parts:
        found = [part async for part in parts]
    assert "".join(part.text for part in found if isinstance(part, TextPart)) == "Hello"
