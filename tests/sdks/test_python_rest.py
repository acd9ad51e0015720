"""The resources of the Python client, against the real product."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from ai_video_assistant import (
    AIVideoAssistant,
    AsyncAIVideoAssistant,
    chat_events,
    errors,
    models,
)
from ai_video_assistant._settings import KEY_VARIABLE
from ai_video_assistant.chat_events import ChatChunk, ChatToolEvent

from providers.fakes import Behaviour, FakeUpstream
from providers.fakes.behaviour import Step
from tests.sdks.conftest import Server
from tests.sdks.proxy import proxy_to


@pytest.fixture
def client(server: Server) -> Iterator[AIVideoAssistant]:
    with AIVideoAssistant(api_url=server.api_url, api_key=server.key) as client:
        yield client


@pytest.fixture
async def aclient(server: Server) -> AsyncIterator[AsyncAIVideoAssistant]:
    async with AsyncAIVideoAssistant(api_url=server.api_url, api_key=server.key) as client:
        yield client


# --- rows ----------------------------------------------------------------------------------------
def test_it_makes_changes_and_deletes_a_row(client: AIVideoAssistant) -> None:
    made = client.assistants.create(name="Ann", first_turn_mode="user_first", language="en")
    assert (made.first_turn_mode, made.language) == ("user_first", "en")
    changed = client.assistants.update(made.id, prompt="You are Ann.")
    assert (changed.name, changed.prompt) == ("Ann", "You are Ann.")
    assert client.assistants.get(made.id).prompt == "You are Ann."
    client.assistants.delete(made.id)
    with pytest.raises(errors.NotFoundError):
        client.assistants.get(made.id)


async def test_it_does_the_same_when_it_is_awaited(aclient: AsyncAIVideoAssistant) -> None:
    made = await aclient.assistants.create(name="Ann", hotwords=["Anna"])
    assert (await aclient.assistants.get(made.id)).hotwords == ["Anna"]
    assert made.id in {row.id async for row in aclient.assistants.iterate(page_size=2)}
    await aclient.assistants.delete(made.id)
    with pytest.raises(errors.NotFoundError):
        await aclient.assistants.get(made.id)


def test_none_is_not_the_same_as_nothing_given(client: AIVideoAssistant) -> None:
    base = client.knowledge_bases.create(name="Base")
    made = client.assistants.create(name="Ann", knowledge_base_id=base.id)
    assert client.assistants.update(made.id, name="Berta").knowledge_base_id == base.id
    assert client.assistants.update(made.id, knowledge_base_id=None).knowledge_base_id is None


def test_it_reads_a_list_of_any_length(client: AIVideoAssistant) -> None:
    mark = uuid.uuid4().hex
    names = [f"{mark} {number}" for number in range(5)]
    for name in names:
        client.assistants.create(name=name)
    page = client.assistants.list(keyword=mark, page_size=2)
    assert (len(page), page.total, page.page, page.page_size) == (2, 5, 1, 2)
    assert page[0].name in names
    found = [row.name for row in client.assistants.iterate(keyword=mark, page_size=2)]
    assert sorted(found) == names
    assert list(client.assistants.iterate(keyword=f"{mark} none")) == []


def test_it_reads_lists_of_every_family(client: AIVideoAssistant) -> None:
    assert client.llm.list(is_system=True).total >= 1
    assert client.asr.list(enabled=True).items
    assert client.voices.list(language="en").items
    assert len(client.tools.list().tools) == 15
    assert client.tools.get("calculator").parameters["type"] == "object"
    assert len(list(client.tools.resources.iterate(include_system=True, page_size=4))) >= 15
    assert client.tasks.list_models()[0].model_key
    assert client.chat.agents.list()
    assert client.history.stats().total_calls >= 0
    assert client.api_keys.list().total >= 1
    assert client.gateway.keys.list().total >= 1
    assert client.gateway.usage() == []
    assert client.gateway.requests.list().items == []
    assert client.chat.mcp_servers.list() == []
    assert client.chat.memory.list() == []
    assert client.tools.scenarios.list().items == []
    assert client.tools.runs.list().items == []


def test_it_makes_a_tool_of_the_users_own(client: AIVideoAssistant) -> None:
    made = client.tools.resources.create(
        name="Lights",
        category="system",
        wait_for_response=True,
        parameter_schema={"type": "object", "properties": {"on": {"type": "boolean"}}},
    )
    assert client.tools.resources.update(made.id, enabled=False).enabled is False
    client.tools.resources.delete(made.id)
    with pytest.raises(errors.NotFoundError):
        client.tools.resources.get(made.id)


def test_it_gets_bytes(client: AIVideoAssistant) -> None:
    made = client.assistants.create(name="Ann", opener="Hello.", language="en")
    spoken = client.assistants.generate_opener_audio(made.id)
    sound = client.assistants.opener_audio(made.id)
    assert spoken.ready
    assert sound.startswith(b"RIFF")


def test_it_makes_a_key_that_works(client: AIVideoAssistant, server: Server) -> None:
    made = client.api_keys.create(name="another", scopes=["manage"])
    with AIVideoAssistant(api_url=f"{server.api_url}/api/v1", api_key=made.key) as other:
        assert other.assistants.list().page == 1
        with pytest.raises(errors.PermissionDeniedError):
            other.tasks.list()


# --- refusals ------------------------------------------------------------------------------------
def test_a_wrong_key_is_refused_in_every_family(server: Server, client: AIVideoAssistant) -> None:
    with AIVideoAssistant(api_url=server.api_url, api_key="sk-gw-wrong") as stranger:
        for resource in ("assistants", "history", "tools", "tasks", "api_keys"):
            with pytest.raises(errors.AuthenticationError) as refused:
                getattr(stranger, resource).list()
            assert refused.value.status == 401
            assert refused.value.message
            getattr(client, resource).list()
        with pytest.raises(errors.AuthenticationError):
            stranger.chat.dialogs.list()


def test_the_key_comes_from_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with AIVideoAssistant(api_url=server.api_url) as client:
        with pytest.raises(errors.AuthenticationError):
            client.assistants.list()
    monkeypatch.setenv(KEY_VARIABLE, server.key)
    with AIVideoAssistant(api_url=server.api_url) as client:
        client.assistants.list()


def test_a_refusal_names_the_fields(client: AIVideoAssistant) -> None:
    with pytest.raises(errors.BadRequestError) as refused:
        client.assistants.create(name="Ann", speed=9.0)
    assert refused.value.code == "VALIDATION_ERROR"
    assert isinstance(refused.value.details, dict)
    assert list(refused.value.details) == ["speed"]


def test_a_refusal_inside_an_answer_is_an_error_too(client: AIVideoAssistant) -> None:
    with pytest.raises(errors.NotFoundError) as refused:
        client.chat.dialogs.create(agent_id="nobody")
    assert refused.value.status == 404
    assert str(refused.value) == f"404: {refused.value.message}"


def test_an_address_where_no_api_answers_is_told_of_as_one(server: Server) -> None:
    with AIVideoAssistant(api_url=f"{server.api_url}/console", api_key=server.key) as client:
        with pytest.raises(errors.NotFoundError) as refused:
            client.assistants.list(page=2)
    place = f"{server.api_url}/console/api/v1/assistants"
    assert refused.value.message == f"no API answered at {place}; is the address right?"


def test_a_client_shows_its_address_and_no_secret() -> None:
    with AIVideoAssistant(api_url="http://me:secret@localhost/", api_key="sk-secret") as client:
        assert repr(client) == "AIVideoAssistant(api_url='http://localhost')"
        assert "sk-secret" not in repr(client._settings)


@pytest.mark.parametrize("wrong", ["", " ", ".", "..", None])
def test_an_id_that_leads_elsewhere_is_not_sent(client: AIVideoAssistant, wrong: Any) -> None:
    with pytest.raises(errors.ConfigurationError):
        client.assistants.delete(wrong)


def test_an_id_is_sent_as_one(client: AIVideoAssistant) -> None:
    with pytest.raises(errors.NotFoundError):
        client.assistants.get("../llm")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8080",
        "ftp://localhost",
        "http://",
        "http://localhost:port",
        "http://localhost:99999",
        "http://[::1",
        "http://a..b",
        "http://a b",
        "http://localhost?a=b",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    AIVideoAssistant(api_url="HTTP://localhost:8080/", ws_url="WS://localhost:8080/ws").close()
    with pytest.raises(errors.ConfigurationError, match="no address"):
        AIVideoAssistant(api_url=url)
    for socket_url in (url, "http://localhost:8080"):
        with pytest.raises(errors.ConfigurationError, match="no address"):
            AIVideoAssistant(ws_url=socket_url)


def test_limits_that_cannot_hold_are_refused() -> None:
    with AIVideoAssistant() as client:
        client.with_options(timeout=0.1, max_retries=0)
        with pytest.raises(errors.ConfigurationError, match="timeout"):
            client.with_options(timeout=0)
        with pytest.raises(errors.ConfigurationError, match="max_retries"):
            client.with_options(max_retries=-1)


def test_headers_of_the_users_own_come_instead_of_ours(server: Server) -> None:
    headers = {"authorization": f"Bearer {server.key}"}
    with AIVideoAssistant(api_url=server.api_url, api_key="k", headers=headers) as client:
        assert client.assistants.list().page == 1


# --- knowledge -----------------------------------------------------------------------------------
def test_it_fills_a_base_and_searches_it(
    client: AIVideoAssistant, worker: None, tmp_path: Path
) -> None:
    base = client.knowledge_bases.create(name="Museum")
    guide = tmp_path / "参观指南.md"
    guide.write_text("# 开放时间\n\n博物馆每周一闭馆。\n", "utf-8")
    sent = client.knowledge_bases.upload(base.id, guide)
    assert sent.name == "参观指南.md"
    (ready,) = client.knowledge_bases.wait_until_ready(base.id, sent.id, timeout=60)
    assert ready.status == "completed"
    assert "周一" in client.knowledge_bases.search(base.id, query="周几闭馆").results[0].content


async def test_a_document_that_cannot_be_read_is_an_error_that_names_it(
    aclient: AsyncAIVideoAssistant, worker: None
) -> None:
    base = await aclient.knowledge_bases.create(name="Broken")
    await aclient.knowledge_bases.documents.create(base.id, name="good", content="Good.")
    await aclient.knowledge_bases.wait_until_ready(base.id, timeout=60)
    await aclient.knowledge_bases.upload(base.id, ("broken.pdf", b"%PDF-1.4 nothing"))
    with pytest.raises(errors.DocumentFailedError) as failed:
        await aclient.knowledge_bases.wait_until_ready(base.id, timeout=60)
    assert failed.value.document.name == "broken.pdf"
    assert failed.value.document.error_message in str(failed.value)


def test_nobody_waits_longer_than_they_said(client: AIVideoAssistant) -> None:
    base = client.knowledge_bases.create(name="Waiting")
    sent = client.knowledge_bases.documents.create(base.id, name="text", content="A text.")
    with pytest.raises(errors.WaitTimeoutError):
        client.knowledge_bases.wait_until_ready(base.id, sent.id, timeout=0.0)


# --- tasks ---------------------------------------------------------------------------------------
def test_it_sends_a_task_and_follows_it(client: AIVideoAssistant, worker: None) -> None:
    started = client.tasks.send(message="Hello")
    events = list(client.tasks.follow(started.task_id))
    assert [event.idx for event in events] == list(range(len(events)))
    assert events[-1].type == "task_complete"
    said = "".join(event.data["content"] for event in events if event.type == "text_chunk")
    assert said
    later = list(client.tasks.follow(started.task_id, offset=3))
    assert [event.idx for event in later] == list(range(3, len(events)))
    assert client.tasks.get(started.task_id, offset=2).events[0].idx == 2
    assert list(client.tasks.follow(started.task_id, offset=len(events))) == []
    assert client.tasks.conversations.get(started.conversation_id, full="1").messages


async def test_it_goes_on_following_behind_a_broken_connection(
    server: Server,
    aclient: AsyncAIVideoAssistant,
    model: models.Llm,
    vendor: FakeUpstream,
    worker: None,
) -> None:
    vendor.set_behaviour(Behaviour(reply="word " * 60, llm_token_ms=30))
    started = await aclient.tasks.send(message="Tell me a lot", model_key=model.id)
    seen: list[int] = []
    async with (
        proxy_to(server.api_url) as proxy,
        AsyncAIVideoAssistant(api_url=proxy.http_url, api_key=server.key) as client,
    ):
        async for event in client.tasks.follow(started.task_id):
            seen.append(event.idx)
            if event.type == "text_chunk" and proxy.connections < 3:
                proxy.cut()
    assert proxy.connections >= 3
    assert seen == list(range(len(seen)))
    assert event.type == "task_complete"


async def test_following_may_be_left_at_any_time(
    server: Server,
    aclient: AsyncAIVideoAssistant,
    model: models.Llm,
    vendor: FakeUpstream,
    worker: None,
) -> None:
    vendor.script("chat", Step(text="One. Two. Three.", hang_after=1))
    started = await aclient.tasks.send(message="Count", model_key=model.id)
    async with proxy_to(server.api_url) as proxy:
        async with AsyncAIVideoAssistant(api_url=proxy.http_url, api_key=server.key) as client:
            async for _event in client.tasks.follow(started.task_id):
                break
            async with asyncio.timeout(20):
                # While the client goes on, as the task does.
                while proxy.open_connections:
                    await asyncio.sleep(0)
    await aclient.tasks.cancel(started.task_id)
    # The conversation takes no other message before.
    assert [event async for event in aclient.tasks.follow(started.task_id)]


def test_it_cancels_a_task(
    client: AIVideoAssistant, model: models.Llm, vendor: FakeUpstream, worker: None
) -> None:
    vendor.script("chat", Step(text="One. Two. Three.", hang_after=1))
    started = client.tasks.send(message="Count", model_key=model.id)
    for event in client.tasks.follow(started.task_id):
        if event.type == "text_chunk":
            client.tasks.cancel(started.task_id)
    assert event.type == "task_stopped"


def test_it_keeps_files(client: AIVideoAssistant, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Remember.", "utf-8")
    kept = client.tasks.files.upload(file=notes, dir="papers")
    assert client.tasks.files.download(path=kept.path) == b"Remember."
    assert [entry.name for entry in client.tasks.files.list(path="papers").items] == ["notes.txt"]
    client.tasks.files.delete(path=kept.path)
    with pytest.raises(errors.NotFoundError):
        client.tasks.files.download(path=kept.path)


# --- chat ----------------------------------------------------------------------------------------
def test_it_streams_an_answer_with_its_tools(client: AIVideoAssistant) -> None:
    agent = client.assistants.create(name="Ann", language="en", tools=["calculator"])
    dialog = client.chat.dialogs.create(agent_id=agent.id)
    with client.chat.stream(dialog.dialog_id, "What is 6 * 7?") as stream:
        events = list(stream)
    tools = [(event.status, event.tool) for event in events if isinstance(event, ChatToolEvent)]
    assert tools == [("START", "calculator"), ("END", "calculator")]
    assert isinstance(events[-1], ChatChunk)
    assert "42" in events[-1].accumulated
    assert client.chat.complete(dialog.dialog_id, "Thank you") == "You are welcome."


async def test_a_model_that_fails_in_a_chat_is_an_error(
    aclient: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    agent = await aclient.assistants.create(name="Ann", llm_model_id=model.id)
    dialog = await aclient.chat.dialogs.create(agent_id=agent.id)
    assert await aclient.chat.complete(dialog.dialog_id, "Hello") == vendor.behaviour.reply
    vendor.script("chat", Step(status=400, body={"error": {"message": "no"}}))
    with pytest.raises(errors.ChatFailedError):
        await aclient.chat.complete(dialog.dialog_id, "Hello again")
    vendor.script("chat", Step(status=400, body={"error": {"message": "no"}}))
    async with aclient.chat.stream(dialog.dialog_id, "And again") as stream:
        while not isinstance(await anext(stream), chat_events.ChatFailure):
            pass
        with pytest.raises(errors.ChatFailedError) as failed:
            async for _apology in stream:
                pass
    assert failed.value.text == ""


def test_a_model_that_fails_fails_the_plain_client_too(
    client: AIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    agent = client.assistants.create(name="Ann", llm_model_id=model.id)
    dialog = client.chat.dialogs.create(agent_id=agent.id)
    vendor.script("chat", Step(status=400, body={"error": {"message": "no"}}))
    with pytest.raises(errors.ChatFailedError):
        client.chat.complete(dialog.dialog_id, "Hello")
    assert client.chat.complete(dialog.dialog_id, "Hello again") == vendor.behaviour.reply


def test_an_unknown_dialog_is_refused_before_the_stream(client: AIVideoAssistant) -> None:
    with pytest.raises(errors.NotFoundError):
        client.chat.complete("0" * 32, "Hello")
