"""Dialogs that are read and deleted beside the chat itself, over real HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from assistants.models import Assistant
from conversations.models import Conversation, Run
from core.db import in_db
from providers.fakes import FakeUpstream, Step
from tests.conversations.chats.conftest import PATIENCE_S, Client
from tooling.catalogue import sync_builtin_tools
from tooling.models import Tool

pytestmark = pytest.mark.django_db(transaction=True)


async def history_of(client: Client, dialog: Conversation) -> list[dict[str, Any]]:
    response = await client.http.get("history", params={"dialog_id": dialog.pk})
    rows: list[dict[str, Any]] = response.json()["data"]
    return rows


async def test_the_history_has_the_events_that_were_streamed(
    alices: Client, dialog: Conversation, ada: Assistant, upstream: FakeUpstream
) -> None:
    await in_db(sync_builtin_tools)
    await in_db(ada.tools.add, await in_db(Tool.objects.get, pk="calculator"))
    call = {"name": "calculator", "arguments": {"expression": "6*7"}, "id": "call_1"}
    upstream.script("chat", Step(text="Let me see.", tool_calls=[call]), Step(text="It is 42."))
    stream = await alices.chat(dialog, "6*7?")
    streamed = [each["data"] for each in stream.of("event")]
    question, answer = await history_of(alices, dialog)
    assert (question["role"], question["content"]) == ("user", "6*7?")
    assert answer["events"] == streamed
    assert [each["status"] for each in streamed] == ["START", "END"]
    assert answer["content"] == stream.text
    assert answer["token_usage"] > 0
    used = (await alices.post("usage")).json()["data"]
    figures = next(iter(used.values()))
    assert figures["agent"]["Ada"]["total_tokens"] == answer["token_usage"]
    names = (await alices.http.get("usage/models_list")).json()["data"]
    assert list(figures["model"]) == names


async def test_the_history_has_the_error_that_was_streamed(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two three four", break_after=2))
    stream = await alices.chat(dialog, "Count")
    _question, answer = await history_of(alices, dialog)
    assert answer["events"] == [each["data"] for each in stream.of("event")]
    assert [each["status"] for each in answer["events"]] == ["ERROR"]


async def test_a_deleted_dialog_stops_its_answer(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two", hang_after=1))
    async with alices.stream("chat", user_input="Count", dialog_id=dialog.pk) as stream:
        await stream.next()
        deleted = await alices.http.request("DELETE", "dialog", json={"dialog_id": dialog.pk})
        assert deleted.json()["status_code"] == 200
        async with asyncio.timeout(PATIENCE_S):
            await stream.rest()
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("chat").cancelled == 1
    )
    assert not await in_db(Conversation.objects.exists)
    assert not await in_db(Run.objects.exists)
