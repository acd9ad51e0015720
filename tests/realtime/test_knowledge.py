"""Calls with an assistant that has knowledge, over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from assistants.models import Assistant
from conversations import searches
from conversations.models import Message
from core.db import in_db
from knowledge.models import KnowledgeBase
from providers.fakes import FakeUpstream, Step
from realtime import pipeline
from tests.conversations.library import HANDBOOK, museum, shelve
from tests.realtime.conftest import Client, Connect

QUESTION = "When does the museum open?"


@pytest.fixture
def base(assistant: Assistant, alice: User) -> KnowledgeBase:
    base = museum(alice)
    assistant.set_knowledge_bases([base.pk])
    return base


async def finish(client: Client) -> list[Message]:
    """Stops the session; what was kept of it."""
    await client.send("session.stop")
    await client.closed()
    await pipeline.close_all()
    await searches.flush()
    session_id = client.events[-1]["sessionId"]
    rows = Message.objects.filter(conversation_id=session_id).order_by("seq")
    return await in_db(lambda: list(rows))


async def test_sources_come_before_the_text_that_cites_them(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    base: KnowledgeBase,
    upstream: FakeUpstream,
) -> None:
    upstream.script("chat", Step(text="It opens at nine. [1]"), Step(text="You are welcome."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text=QUESTION)
        cited = await client.wait("assistant.citations")
        final = await client.wait("assistant.response.final")
        await client.send("input.text", text="Thank you!")
        await client.wait("assistant.response.final")
        user, answer, *_rest = await finish(client)
    types = client.types
    assert types.index("assistant.citations") < types.index("assistant.response.delta")
    assert types.count("assistant.citations") == 1
    assert (cited["trackId"], cited["source"]) == ("audio_out", "system")
    assert cited["data"]["response_id"] == final["data"]["response_id"]
    first = cited["data"]["citations"][0]
    assert first["index"] == 1
    assert (first["document"], first["page"], first["text"]) == ("Handbook.pdf", 1, HANDBOOK[1])
    assert first["knowledge_base_id"] == base.pk
    assert first["document_id"]
    assert first["chunk_id"]
    # Text surfaces link the marks, so that they stay in the text.
    assert final["text"] == "It opens at nine. [1]"
    assert user.citations == []
    assert answer.citations == cited["data"]["citations"]
    assert answer.metrics["knowledge_ms"] >= 0
    times = client.of("metrics.turn")
    assert times[0]["data"]["knowledge_ms"] == answer.metrics["knowledge_ms"]
    assert times[1]["data"]["knowledge_ms"] is None


async def test_marks_are_shown_but_not_read_out(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    base: KnowledgeBase,
    upstream: FakeUpstream,
) -> None:
    upstream.script("chat", Step(text="It opens at nine [1]. On Sundays at ten. [1, 2]"))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text=QUESTION)
        final = await client.wait("assistant.response.final")
        await finish(client)
    spoken = [request["body"]["input"] for request in upstream.stats.last("speech")]
    assert spoken == ["It opens at nine.", "On Sundays at ten."]
    shown = "".join(segment["text"] for segment in client.of("output.audio.segment"))
    assert shown.startswith("It opens at nine [1]. On Sundays at ten.")
    assert final["text"] == "It opens at nine [1]. On Sundays at ten. [1, 2]"


async def test_marks_of_an_assistant_without_knowledge_are_read_as_they_stand(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="Take item [1] of the list."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text=QUESTION)
        await client.wait("assistant.response.final")
        await finish(client)
    assert [request["body"]["input"] for request in upstream.stats.last("speech")] == [
        "Take item [1] of the list."
    ]
    assert "assistant.citations" not in client.types


async def test_the_model_can_search_during_a_call(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    base: KnowledgeBase,
    upstream: FakeUpstream,
) -> None:
    await in_db(lambda: Assistant.objects.update(knowledge_mode="tool"))
    search: dict[str, Any] = {"name": "search_knowledge", "arguments": {"query": QUESTION}}
    upstream.script("chat", Step(tool_calls=[search]), Step(text="At nine. [1]"))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Tell me about it.")
        await client.wait("assistant.response.final")
        messages = await finish(client)
    wanted = ["assistant.tool_call", "assistant.tool_result", "assistant.citations"]
    assert [type for type in client.types if type in wanted] == wanted
    assert client.of("assistant.tool_call")[0]["tool_call"]["executor"] == "server"
    assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert [bool(message.citations) for message in messages] == [False, False, False, True]


async def test_a_call_can_narrow_the_knowledge_but_never_widen_it(
    connect_to: Connect,
    assistant: Assistant,
    alice: User,
    alice_key: str,
    base: KnowledgeBase,
    upstream: FakeUpstream,
) -> None:
    def add() -> tuple[KnowledgeBase, KnowledgeBase]:
        second = shelve(alice, ("Second.pdf", HANDBOOK), name="second")
        assistant.set_knowledge_bases([base.pk, second.pk])
        return second, shelve(alice, ("Third.pdf", HANDBOOK), name="third")

    second, third = await in_db(add)
    for overrides, documents in (
        ({"knowledge": False}, set()),
        ({"knowledgeBaseId": second.pk}, {"Second.pdf"}),
    ):
        async with connect_to(assistant, key=alice_key) as client:
            await client.start(overrides={"output": {"mode": "text"}, **overrides})
            await client.send("input.text", text=QUESTION)
            await client.wait("assistant.response.final")
            await finish(client)
        shown = client.of("assistant.citations")
        assert {each["document"] for event in shown for each in event["citations"]} == documents
    async with connect_to(assistant, key=alice_key) as client:
        overrides = {"knowledgeBaseId": third.pk}
        await client.send("session.start", metadata={"overrides": overrides})
        await client.wait("error", code="protocol.invalid_override")
