"""What the agentchat family streams for the events of a turn: `golden/` holds the bytes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from conversations.encoders.agentchat import AgentChatEncoder
from conversations.events import (
    Citation,
    Cited,
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
from providers.types import Usage
from tests.conversations.scripted import tool
from tooling.types import McpEndpoint, McpTarget

GOLDEN = Path(__file__).parent / "golden"
SEARCH = "search_knowledge"
TOOLS = (
    tool("get_weather"),
    tool(
        "maps__find_route",
        target=McpTarget(McpEndpoint("row", "Maps", "streamable_http"), "find_route"),
    ),
)


def called(name: str, call_id: str, **arguments: Any) -> ToolCalled:
    return ToolCalled(call_id, name, arguments, "server", True, 5000)


def returned(name: str, call_id: str, output: str, code: int = 200, message: str = "ok") -> Any:
    return ToolReturned(call_id, name, output, "server", code, message, 12)


CITED = Cited((Citation(1, "prices.pdf", "Ten euros.", "base", "document", "chunk", 3, 0.8123),))
DONE = TurnFinished("stop", Usage(10, 2))
SCENARIOS: dict[str, Sequence[TurnEvent]] = {
    "text": [TextDelta("你"), ThinkingDelta("hm"), TextDelta('好"\n\u2028\\'), DONE],
    "tool": [
        called("get_weather", "call_1", city="Berlin"),
        returned("get_weather", "call_1", "Sunny"),
        TextDelta("It is sunny."),
        DONE,
    ],
    "tool_fails": [
        called("get_weather", "call_1", city="Berlin"),
        returned("get_weather", "call_1", "", 504, "No answer within 5 s."),
        TextDelta("I do not know."),
        DONE,
    ],
    "sub_agent": [
        called("maps__find_route", "call_1", to="Rome"),
        returned("maps__find_route", "call_1", "All roads"),
        DONE,
    ],
    "knowledge_before": [CITED, TextDelta("Ten euros [1]."), DONE],
    "knowledge_tool": [
        called(SEARCH, "call_1", query="the price"),
        returned(SEARCH, "call_1", "[1] Ten euros."),
        CITED,
        TextDelta("Ten euros [1]."),
        DONE,
    ],
    "nothing_found": [Cited(()), TextDelta("I do not know."), DONE],
    "model_fails": [
        TextDelta("It is"),
        TurnFailed("llm.failed", "The model's answer broke off.", True, Usage()),
    ],
    "attempt_repeated": [
        ModelAsked(1, 1, 3, False),
        TextDelta("Broken"),
        ModelAsked(1, 2, 3, False),
        TextDelta("Whole"),
        DONE,
    ],
}


@pytest.fixture
def in_english() -> Iterator[None]:
    with translation.override("en"):
        yield


def encoded(events: Sequence[TurnEvent]) -> bytes:
    ticks = itertools.count()
    encoder = AgentChatEncoder(
        TOOLS, search_id=SEARCH, clock=lambda: 1_732_420_000.12 + next(ticks)
    )
    return b"".join(piece for event in [TurnStarted(1), *events] for piece in encoder.encode(event))


@pytest.mark.usefixtures("in_english")
@pytest.mark.parametrize("name", SCENARIOS)
def test_it_streams_what_the_golden_file_says(name: str) -> None:
    assert encoded(SCENARIOS[name]).decode() == (GOLDEN / f"{name}.sse").read_text()


def payloads(stream: bytes) -> list[dict[str, Any]]:
    blocks = stream.decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_keeps_to_the_two_types_of_the_contract(name: str) -> None:
    for payload in payloads(encoded(SCENARIOS[name])):
        assert set(payload) == {"type", "timestamp", "data"}
        assert isinstance(payload["timestamp"], float)
        if payload["type"] == "response_chunk":
            assert set(payload["data"]) == {"chunk", "accumulated"}
        else:
            assert payload["type"] == "event"
            assert payload["data"]["status"] in ("START", "END", "ERROR")
            assert {"title", "message"} <= set(payload["data"])


@pytest.mark.parametrize("name", ["tool", "tool_fails", "sub_agent", "knowledge_tool"])
def test_it_joins_the_events_of_one_call_by_their_title(name: str) -> None:
    events = [p["data"] for p in payloads(encoded(SCENARIOS[name])) if p["type"] == "event"]
    assert events[0]["status"] == "START"
    assert len({event["title"] for event in events}) == 1
    assert {event["id"] for event in events} == {"call_1"}


def test_it_accumulates_the_text_that_was_streamed() -> None:
    texts = ["He said \u201chi\u201d", "\n", '"quoted"', "\x00\x1b", "𝄞", "\ud800", "end"]
    stream = payloads(encoded([TextDelta(text) for text in texts]))
    chunks = [payload["data"]["chunk"] for payload in stream]
    assert chunks == [text.replace("\ud800", "?") for text in texts]
    sums = list(itertools.accumulate(chunks))
    assert [payload["data"]["accumulated"] for payload in stream] == sums


def test_it_says_the_error_before_the_apology() -> None:
    *_, error, apology = payloads(encoded(SCENARIOS["model_fails"]))
    assert (error["type"], error["data"]["status"]) == ("event", "ERROR")
    assert apology["type"] == "response_chunk"
    assert apology["data"]["accumulated"] == "It is" + apology["data"]["chunk"]
