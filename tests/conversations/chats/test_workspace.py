"""`/workspace` over real HTTP: sessions whose model and tools are chosen with each message."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from conversations.models import Conversation, Message
from core.db import in_db
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.conversations.chats.conftest import Client, Stream
from tooling.catalogue import sync_builtin_tools
from tooling.models import McpServer

pytestmark = pytest.mark.django_db(transaction=True)


def data_of(response: httpx.Response) -> Any:
    body = response.json()
    assert (response.status_code, body["status_code"]) == (200, 200), body
    return body["data"]


async def ask(client: Client, query: str, **more: Any) -> Stream:
    """The whole answer."""
    async with client.stream("workspace/simple/chat", query=query, **more) as stream:
        return await stream.rest()


def said(stream: Stream) -> str:
    assert {each["event"] for each in stream.payloads} == {"task_result"}
    return "".join(each["data"]["message"] for each in stream.payloads)


@pytest.fixture
def builtin(transactional_db: None) -> None:
    sync_builtin_tools()


async def test_it_answers_with_the_model_that_was_chosen(
    alices: Client, llm: Llm, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="Hello there!"))
    stream = await ask(alices, "Hi", model_id=llm.pk)
    assert said(stream) == "Hello there!"
    (session,) = data_of(await alices.http.get("workspace/session"))
    assert session["session_id"] == stream.response.headers["X-Session-Id"]
    assert session["title"] == "Hi"


async def test_it_goes_on_in_a_session(alices: Client, llm: Llm, upstream: FakeUpstream) -> None:
    made = data_of(await alices.post("workspace/session", title="Mine"))
    upstream.script("chat", Step(text="Noted."), Step(text="Blue."))
    for query in ("I like blue.", "What do I like?"):
        await ask(alices, query, session_id=made["session_id"], model_id=llm.name)
    *_, asked = upstream.stats.last("chat")
    assert [each["content"] for each in asked["body"]["messages"][-3:]] == [
        "I like blue.",
        "Noted.",
        "What do I like?",
    ]
    session = data_of(await alices.http.post(f"workspace/session/{made['session_id']}"))
    assert session["contexts"] == [
        {"query": "I like blue.", "answer": "Noted."},
        {"query": "What do I like?", "answer": "Blue."},
    ]


async def test_it_makes_the_session_that_a_client_names(
    alices: Client, bobs: Client, llm: Llm
) -> None:
    await ask(alices, "Hi", session_id="mine", model_id=llm.pk)
    await ask(alices, "Again", session_id="mine", model_id=llm.pk)
    assert len(data_of(await alices.http.get("workspace/session"))) == 1
    assert data_of(await bobs.http.get("workspace/session")) == []


@pytest.mark.usefixtures("builtin")
async def test_it_uses_the_plugins_that_were_chosen(
    alices: Client, llm: Llm, upstream: FakeUpstream
) -> None:
    plugins = data_of(await alices.http.get("workspace/plugins"))
    assert "calculator" in {each["tool_id"] for each in plugins}
    call = {"name": "calculator", "arguments": {"expression": "6*7"}}
    upstream.script("chat", Step(tool_calls=[call]), Step(text="It is 42."))
    stream = await ask(alices, "6*7?", model_id=llm.pk, plugins=["calculator"])
    assert said(stream) == "It is 42."
    _first, second = upstream.stats.last("chat")
    assert [tool["function"]["name"] for tool in second["body"]["tools"]] == ["calculator"]
    assert "42" in json.dumps(second["body"]["messages"])


async def test_it_refuses_what_is_not_the_callers(
    alices: Client, bobs: Client, llm: Llm, alice: Any
) -> None:
    server = await in_db(
        McpServer.objects.create, owner=alice, name="Maps", url="http://127.0.0.1:9/mcp"
    )
    session = data_of(await alices.post("workspace/session", title="Mine"))["session_id"]
    for body in ({"model_id": llm.pk}, {"mcp_servers": [server.pk]}, {"plugins": ["nothing"]}):
        refused = (await bobs.post("workspace/simple/chat", query="Hi", **body)).json()
        assert refused["status_code"] == 404
        assert next(iter(body)) in refused["status_message"]
    foreign = await bobs.http.post(f"workspace/session/{session}")
    assert foreign.json()["status_code"] == 404
    deleted = await bobs.http.delete("workspace/session", params={"session_id": session})
    assert deleted.json()["status_code"] == 404
    stream = await ask(alices, "Hi", session_id=session, model_id=llm.pk, mcp_servers=[server.pk])
    assert said(stream)


async def test_it_deletes_a_session_with_what_was_said(alices: Client, llm: Llm) -> None:
    stream = await ask(alices, "Hi", model_id=llm.pk)
    session = stream.response.headers["X-Session-Id"]
    assert await in_db(Message.objects.filter(conversation_id=session).exists)
    data_of(await alices.http.delete("workspace/session", params={"session_id": session}))
    assert not await in_db(Conversation.objects.filter(pk=session).exists)


async def test_it_keeps_sessions_out_of_the_dialogs(alices: Client, llm: Llm) -> None:
    stream = await ask(alices, "Hi", model_id=llm.pk)
    assert data_of(await alices.http.get("dialog/list")) == []
    session = stream.response.headers["X-Session-Id"]
    refused = await alices.post("chat", user_input="Hi", dialog_id=session)
    assert refused.json()["status_code"] == 404


async def test_it_says_what_went_wrong(alices: Client, llm: Llm, upstream: FakeUpstream) -> None:
    upstream.script("chat", Step(text="one two three", break_after=1))
    stream = await ask(alices, "Hi", model_id=llm.pk)
    assert [each["event"] for each in stream.payloads] == ["task_result", "error"]
