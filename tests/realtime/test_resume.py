"""Calls whose socket is lost, and that go on at another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from assistants.models import Assistant
from conversations.models import Call, CallStatus
from core.db import in_db
from providers.fakes import Behaviour, FakeUpstream
from realtime import pipeline
from tests.realtime.conftest import PATIENCE_S, Client, Connect, Event
from tests.realtime.test_calls import LONG, call_of, finish, messages_of

RESUME: dict[str, Any] = {"capabilities": ["resume", "playback_ack"]}
TEXT_ONLY: dict[str, Any] = {"overrides": {"output": {"mode": "text"}}}


async def lose(client: Client, *, code: int | None = None) -> None:
    """The client's network is gone, or it closes with a code; the server has noticed."""
    (call,) = pipeline._calls
    if code is None:
        client.socket.transport.abort()
    else:
        await client.socket.close(code)
    await eventually(lambda: call._is_lost or call.ended.is_set())


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.005)


def wish(client: Client, **fields: Any) -> Event:
    """What the client says to go on after all that it got."""
    offers = [event for event in client.events if "resume_token" in event["data"]]
    return {
        "session_id": offers[-1]["sessionId"],
        "resume_token": offers[-1]["data"]["resume_token"],
        "last_seq": client.events[-1]["seq"],
        **fields,
    }


async def resume(client: Client, before: Client, **fields: Any) -> Event:
    await client.send("session.resume", **wish(before, **fields))
    return await client.wait("session.resumed")


def assert_no_gap(*clients: Client) -> None:
    """All numbers came, in order; `session.resumed` takes none."""
    events = [event for client in clients for event in client.events]
    numbers = [event["seq"] for event in events if event["type"] != "session.resumed"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({event["sessionId"] for event in events}) == 1


async def test_only_who_asks_for_it_can_resume(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        started = await client.start(capabilities=["playback_ack"])
        await finish(client)
    assert "resume_token" not in started["data"]
    async with connect_to(assistant, key=alice_key) as client:
        started = (await client.start(**RESUME))["data"]
        await finish(client)
    assert len(started["resume_token"]) >= 24
    assert started["resume_within_s"] == 60


async def test_a_written_reply_goes_on_and_nothing_is_missed(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=10))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME, **TEXT_ONLY)
        await client.send("input.text", text="Tell me.")
        await client.wait("assistant.response.delta")
        await lose(client)
    (call,) = pipeline._calls
    await eventually(lambda: call._state.reply is None)
    async with connect_to(assistant, key=alice_key) as again:
        resumed = await resume(again, client)
        final = await again.wait("assistant.response.final")
        assert resumed["data"]["missed"] == len(again.events) - 1
        await again.send("input.text", text="More.")
        await again.wait("assistant.response.final", turn=2)
        session_id = await finish(again)
    assert resumed["seq"] == client.events[-1]["seq"]
    assert resumed["data"]["session_id"] == resumed["sessionId"] == session_id
    assert resumed["data"]["resume_within_s"] == 60
    assert_no_gap(client, again)
    deltas = [*client.of("assistant.response.delta"), *again.of("assistant.response.delta")]
    assert "".join(e["text"] for e in deltas if e["data"]["turn"] == 1) == final["text"] == LONG
    roles = [(m.role, m.text, m.is_interrupted) for m in await messages_of(session_id)]
    assert roles[:2] == [("user", "Tell me.", False), ("assistant", LONG, False)]
    assert len(roles) == 4
    assert await in_db(Call.objects.count) == 1
    call_row = await call_of(session_id)
    assert (call_row.status, call_row.error_code) == (CallStatus.CONNECTED, "")
