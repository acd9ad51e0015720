"""Calls as the platform's history shows them, from the socket to the record."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from assistants.models import Assistant
from core.db import in_db
from providers.fakes import Behaviour, FakeUpstream
from realtime import pipeline
from tests.conftest import client_with
from tests.realtime.conftest import Connect
from tests.rest import data_of


async def asked(api: APIClient, path: str) -> Any:
    return data_of(await in_db(api.get, f"/api/v1/history{path}"))


@pytest.mark.parametrize(("channel", "source"), [("debug", "debug"), ("phone", "external")])
async def test_a_call_is_in_the_history(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    bob_key: str,
    upstream: FakeUpstream,
    channel: str,
    source: str,
) -> None:
    upstream.set_behaviour(Behaviour(reply="Four."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(channel=channel)
        await client.send("input.text", text="2+2?")
        await client.wait("assistant.response.final")
        await client.send("session.stop", reason="done")
        assert await client.closed() == 1000
        call_id = client.events[-1]["sessionId"]
    await pipeline.close_all()
    alice, bob = client_with(alice_key), client_with(bob_key)
    (item,) = (await asked(alice, f"?channel=voice&source={source}"))["items"]
    assert (item["id"], item["channel"], item["status"]) == (call_id, "voice", "connected")
    assert (item["assistant_id"], item["user_id"]) == (assistant.pk, assistant.owner_id)
    shown = await asked(alice, f"/{call_id}")
    human, ai = shown["transcripts"]
    assert (human["content"], ai["content"]) == ("2+2?", "Four.")
    assert 0 <= ai["start_ms"] <= ai["end_ms"]
    stats = await asked(alice, "/stats")
    assert [each["total_calls"] for each in stats["by_channel"]] == [1, 0, 0]
    assert (stats["connected"], stats["answer_rate"]) == (1, 1.0)
    assert (await asked(bob, ""))["items"] == []
