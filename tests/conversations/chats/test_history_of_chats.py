"""Chats and workspace sessions as the platform's history shows them, over real HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Conversation
from core.db import in_db
from knowledge.links import signed_url
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.conversations.chats.conftest import Client, until_over
from tests.conversations.files.test_attachments import picture
from tests.knowledge.api.conftest import make_upload

pytestmark = pytest.mark.django_db(transaction=True)


async def data_of(client: Client, path: str, **query: Any) -> Any:
    response = await client.http.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def record_of(client: Client, dialog: Conversation) -> dict[str, Any]:
    record: dict[str, Any] = await data_of(client, f"history/{dialog.pk}")
    return record


async def test_a_dialog_is_in_the_history_from_its_first_message_on(
    alices: Client,
    bobs: Client,
    dialog: Conversation,
    ada: Assistant,
    alice: User,
    upstream: FakeUpstream,
) -> None:
    assert (await data_of(alices, "history"))["items"] == []
    upstream.script("chat", Step(text="Hello!"), Step(text="Four."))
    await alices.chat(dialog, "Hi")
    first = await record_of(alices, dialog)
    await alices.chat(dialog, "2+2?")
    (listed,) = (await data_of(alices, "history", channel="chat"))["items"]
    shown = await record_of(alices, dialog)
    transcripts, details = shown.pop("transcripts"), shown.pop("details")
    assert listed == shown
    assert (shown["user_id"], shown["assistant_id"], shown["assistant_name"]) == (
        alice.pk,
        ada.pk,
        "Ada",
    )
    assert (shown["channel"], shown["title"], shown["source"]) == ("chat", "Talk", "external")
    assert (shown["status"], shown["error_code"]) == ("connected", "")
    assert first["started_at"] == shown["started_at"]
    assert shown["started_at"] < first["ended_at"] < shown["ended_at"] == listed["ended_at"]

    assert [(each["speaker"], each["content"]) for each in transcripts] == [
        ("human", "Hi"),
        ("ai", "Hello!"),
        ("human", "2+2?"),
        ("ai", "Four."),
    ]
    times = [(each["start_ms"], each["end_ms"]) for each in transcripts]
    assert times == sorted(times)
    assert all(start <= end for start, end in times)
    assert times[-1][1] >= 1000 * shown["duration_seconds"] - 1500
    assert [each["duration_ms"] for each in transcripts] == [end - start for start, end in times]
    assert [each["role"] for each in details] == ["user", "assistant"] * 2

    stats = await data_of(alices, "history/stats")
    assert (stats["total_calls"], stats["connected"], stats["answer_rate"]) == (1, 1, 1.0)
    assert [each["total_calls"] for each in stats["by_channel"]] == [0, 1, 0]
    assert stats["by_assistant"] == [{"assistant_id": ada.pk, "name": "Ada", "calls": 1}]
    assert (await data_of(bobs, "history"))["items"] == []
    assert (await bobs.http.get(f"history/{dialog.pk}")).status_code == 404
    assert (await bobs.http.delete(f"history/{dialog.pk}")).status_code == 404


async def test_a_chat_is_as_its_last_answer_went(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two three four", break_after=2), Step(text="Fine."))
    await alices.chat(dialog, "Count")
    failed = await record_of(alices, dialog)
    assert (failed["status"], bool(failed["error_code"])) == ("failed", True)
    assert failed["error_message"]
    assert (await data_of(alices, "history", status="failed"))["total"] == 1
    await alices.chat(dialog, "Again")
    mended = await record_of(alices, dialog)
    assert (mended["status"], mended["error_code"], mended["error_message"]) == (
        "connected",
        "",
        "",
    )


async def test_a_chat_is_deleted_unless_it_is_being_answered(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two", hang_after=1))
    async with alices.stream("chat", user_input="Count", dialog_id=dialog.pk) as stream:
        await stream.next()
        busy = await alices.http.delete(f"history/{dialog.pk}")
        assert busy.status_code == 409
        assert busy.json()["error"]["code"] == "CONVERSATION_BUSY"
        assert (await record_of(alices, dialog))["ended_at"] is not None
    await until_over(dialog)
    stopped = await record_of(alices, dialog)
    assert (stopped["status"], stopped["error_code"]) == ("connected", "")
    assert stopped["transcripts"][-1]["is_interrupted"] is True
    assert (await alices.http.delete(f"history/{dialog.pk}")).status_code == 200
    assert not await in_db(Conversation.objects.exists)
    assert (await data_of(alices, "history"))["total"] == 0


async def test_an_image_has_a_link_as_long_as_it_is_there(
    alices: Client,
    dialog: Conversation,
    alice: User,
    llm: Llm,
    upstream: FakeUpstream,
) -> None:
    llm.accepts_images = True
    await llm.asave()
    upload = await in_db(make_upload, alice, "red.png", picture())
    upstream.script("chat", Step(text="Red."))
    link = signed_url("http://files.example", upload)
    await alices.chat(dialog, "What colour?", file_url=link)
    question, answer = (await record_of(alices, dialog))["details"]
    (attachment,) = question["attachments"]
    assert (attachment["kind"], attachment["name"], attachment["media_type"]) == (
        "image",
        "red.png",
        "image/png",
    )
    assert question["image_urls"] == [attachment["url"]]
    fetched = await alices.http.get(attachment["url"])
    assert fetched.content == picture()
    assert (answer["image_urls"], answer["attachments"]) == ([], [])
    await upload.adelete()
    question, _answer = (await record_of(alices, dialog))["details"]
    assert question["image_urls"] == []
    assert question["attachments"] == [{**attachment, "url": None}]


async def test_a_workspace_session_is_in_the_history(
    alices: Client, llm: Llm, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="Hello!"))
    body = {"query": "Hi", "model_id": llm.pk, "plugins": [], "mcp_servers": []}
    async with alices.stream("workspace/simple/chat", **body) as stream, asyncio.timeout(20):
        await stream.rest()
    (item,) = (await data_of(alices, "history"))["items"]
    assert (item["channel"], item["status"]) == ("chat", "connected")
    shown = await data_of(alices, f"history/{item['id']}")
    assert [each["content"] for each in shown["transcripts"]] == ["Hi", "Hello!"]
