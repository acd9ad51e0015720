"""`/chat` over real HTTP, with a model vendor that speaks the real protocol."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from accounts.models import User
from accounts.principals import principal_for_user
from assistants.models import Assistant
from conversations.chats import answering
from conversations.chats.answering import agent_of
from conversations.models import Conversation, Message, Run, RunEvent, RunStatus
from core import leaving, sse
from core.db import in_db
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.conftest import make_key
from tests.conversations.chats.conftest import (
    PATIENCE_S,
    Client,
    ClientFor,
    dialog_with,
    last_run,
    until_over,
)
from tooling.catalogue import sync_builtin_tools
from tooling.models import Tool

pytestmark = pytest.mark.django_db(transaction=True)


def failure_of(response: httpx.Response, http_status: int = 200) -> tuple[int, str]:
    """Code and message of an envelope."""
    assert response.status_code == http_status, response.text
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert body["data"] is None
    return body["status_code"], body["status_message"]


async def messages_of(dialog: Conversation) -> list[Message]:
    return await in_db(list, Message.objects.filter(conversation=dialog).order_by("seq"))


# --- Answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["chat", "completion"])
async def test_it_streams_the_answer(
    alices: Client, dialog: Conversation, upstream: FakeUpstream, path: str
) -> None:
    upstream.script("chat", Step(text="Hello, dear user!"))
    async with alices.stream(path, user_input="Hi", dialog_id=dialog.pk) as stream:
        await stream.rest()
    assert stream.text == "Hello, dear user!"
    assert stream.payloads[-1]["data"]["accumulated"] == "Hello, dear user!"
    assert stream.response.headers["Cache-Control"] == "no-cache"
    assert stream.response.headers["X-Accel-Buffering"] == "no"


async def test_it_keeps_what_was_said(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="Hello!"))
    await alices.chat(dialog, "Hi")
    user, assistant = await messages_of(dialog)
    assert (user.role, user.text, user.turn) == ("user", "Hi", 1)
    assert (assistant.role, assistant.text, assistant.is_interrupted) == (
        "assistant",
        "Hello!",
        False,
    )
    assert assistant.output_tokens > 0
    assert assistant.metrics["first_text_ms"] <= assistant.metrics["total_ms"]
    run = await last_run(dialog)
    assert (run.status, run.kind) == (RunStatus.SUCCEEDED, "chat")
    logged = await in_db(list, RunEvent.objects.filter(run=run).values_list("type", flat=True))
    assert (logged[0], logged[-1]) == ("user_message", "task_complete")


async def test_it_knows_the_earlier_turns(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="Noted."), Step(text="Blue."))
    await alices.chat(dialog, "I like blue.")
    await alices.chat(dialog, "What do I like?")
    *_, asked = upstream.stats.last("chat")
    said = [(each["role"], each["content"]) for each in asked["body"]["messages"]]
    assert said[-3:] == [
        ("user", "I like blue."),
        ("assistant", "Noted."),
        ("user", "What do I like?"),
    ]


async def test_it_puts_the_earlier_turns_where_the_prompt_wants_them(
    alices: Client, dialog: Conversation, ada: Assistant, upstream: FakeUpstream
) -> None:
    ada.prompt = 'Be kind. {history} Answer in {"json": 1} {{history}} {'
    await in_db(ada.save)
    upstream.script("chat", Step(text="It is {{system_time}}."), Step(text="Blue."))
    await alices.chat(dialog, "I like blue.")
    await alices.chat(dialog, "What do I like?")
    *_, asked = upstream.stats.last("chat")
    system, *others = asked["body"]["messages"]
    assert system["content"] == (
        "Be kind. User: I like blue.\nAssistant: It is {{system_time}}. "
        'Answer in {"json": 1} {{history}} {'
    )
    assert [each["content"] for each in others] == ["What do I like?"]


async def test_it_tells_of_tools_before_the_text_that_rests_on_them(
    alices: Client, dialog: Conversation, ada: Assistant, upstream: FakeUpstream
) -> None:
    await in_db(sync_builtin_tools)
    calculator = await in_db(Tool.objects.get, pk="calculator")
    await in_db(ada.tools.add, calculator)
    call = {"name": "calculator", "arguments": {"expression": "6*7"}, "id": "call_1"}
    upstream.script("chat", Step(tool_calls=[call]), Step(text="It is 42."))
    stream = await alices.chat(dialog, "6*7?")
    start, end = (each["data"] for each in stream.of("event"))
    assert (start["status"], end["status"], end["message"]) == ("START", "END", "42")
    assert (start["title"], start["id"]) == (end["title"], end["id"])
    assert [each["type"] for each in stream.payloads[:3]] == ["event", "event", "response_chunk"]
    assert stream.text == "It is 42."


async def test_it_apologises_behind_the_error_when_the_model_fails(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two three four", break_after=2))
    stream = await alices.chat(dialog, "Count")
    *_, error, apology = stream.payloads
    assert (error["type"], error["data"]["status"]) == ("event", "ERROR")
    assert apology["type"] == "response_chunk"
    assert (await last_run(dialog)).status == RunStatus.FAILED
    _user, assistant = await messages_of(dialog)
    assert assistant.error
    assert apology["data"]["chunk"] not in assistant.text
    upstream.script("chat", Step(text="Here I am."))
    assert (await alices.chat(dialog, "Again")).text == "Here I am."
    agent = await in_db(Assistant.objects.get, pk=dialog.assistant_id)
    assert agent.call_count == 1
    # Whoever reads on later sees what was shown; the model is not told its own excuse.
    history = await alices.http.get("history", params={"dialog_id": dialog.pk})
    _question, failed, _again, answered = history.json()["data"]
    assert (failed["content"], failed["is_failed"]) == (stream.text, True)
    assert failed["content"].endswith(apology["data"]["chunk"].strip())
    assert (answered["content"], answered["is_failed"]) == ("Here I am.", False)
    assert "Sorry" not in str(upstream.stats.last("chat")[-1]["body"]["messages"])


async def test_a_failure_without_a_word_leaves_its_apology_in_the_history(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(status=401, body={"error": {"message": "No."}}))
    stream = await alices.chat(dialog, "Count")
    assert stream.text
    history = await alices.http.get("history", params={"dialog_id": dialog.pk})
    assert history.json()["data"][-1]["content"] == stream.text
    record = (await alices.http.get(f"history/{dialog.pk}")).json()["data"]
    assert record["transcripts"][-1]["content"] == stream.text


async def test_it_pings_while_the_model_is_silent(
    alices: Client,
    dialog: Conversation,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "PING_EVERY_S", 0.02)
    upstream.script("chat", Step(text="one two", hang_after=1))
    async with alices.stream("chat", user_input="Hi", dialog_id=dialog.pk) as stream:
        while len(stream.comments) < 2:
            await stream.next()
    assert set(stream.comments) == {": ping"}


async def test_it_finds_a_dialog_by_the_id_that_its_client_gave_it(
    address: str, alice: User, ada: Assistant, alices: Client, upstream: FakeUpstream
) -> None:
    """The sample of the published documentation, with the dialog made first."""
    await alices.post("user/register", user_name="test", user_email="", user_password="test")
    upstream.script("chat", Step(text="你好！很高兴见到你。"))

    def sample() -> list[str]:
        with httpx.Client(trust_env=False) as requests:
            login_response = requests.post(
                f"{address}/api/v1/user/login",
                json={"user_name": "alice", "user_password": "alice-password"},
            )
            access_token = login_response.json()["data"]["access_token"]
            headers = {"Authorization": f"Bearer {access_token}"}
            requests.post(
                f"{address}/api/v1/dialog",
                headers=headers,
                json={"name": "Sample", "agent_id": ada.pk, "dialog_id": "dialog-123"},
            )
            with requests.stream(
                "POST",
                f"{address}/api/v1/chat",
                headers=headers,
                json={"user_input": "你好", "dialog_id": "dialog-123"},
            ) as chat_response:
                return [line for line in chat_response.iter_lines() if line]

    lines = await asyncio.to_thread(sample)
    assert lines
    assert all(line.startswith('data: {"type":"response_chunk"') for line in lines)
    assert "很高兴见到你" in lines[-1]


# --- Refusals -------------------------------------------------------------------------------------


async def test_it_refuses_unknown_and_foreign_dialogs_alike(
    alices: Client, bobs: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    foreign = await bobs.post("chat", user_input="Hi", dialog_id=dialog.pk)
    unknown = await bobs.post("chat", user_input="Hi", dialog_id="0" * 32)
    assert failure_of(foreign) == failure_of(unknown)
    assert failure_of(foreign)[0] == 404
    assert upstream.stats.of("chat").requests == 0
    assert (await alices.chat(dialog, "Hi")).text


@pytest.mark.parametrize(
    "body",
    [
        {"user_input": " \n ", "dialog_id": "x"},
        {"user_input": "", "dialog_id": "x"},
        {"dialog_id": "x"},
        {"user_input": "Hi"},
        {"user_input": ["Hi"], "dialog_id": "x"},
        {"user_input": "x" * 100_001, "dialog_id": "x"},
    ],
)
async def test_it_refuses_a_body_without_words_or_dialog(
    alices: Client, dialog: Conversation, body: dict[str, Any]
) -> None:
    asked = {**body, "dialog_id": dialog.pk} if "dialog_id" in body else body
    assert failure_of(await alices.post("chat", **asked), 422)[0] == 422
    assert await messages_of(dialog) == []
    assert (await alices.chat(dialog, "Hi")).text


@pytest.mark.parametrize("body", ["{", "[]", '"x"', '{"user_input": "\\u0000"}', "[" * 100_000])
async def test_it_refuses_what_is_no_json_object(alices: Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await alices.http.post("chat", content=body, headers=headers)
    assert failure_of(answer, 422)[0] == 422


async def test_it_says_that_no_model_is_configured(
    alices: Client, dialog: Conversation, llm: Llm
) -> None:
    llm.is_enabled = False
    await in_db(llm.save)
    code, message = failure_of(await alices.post("chat", user_input="Hi", dialog_id=dialog.pk))
    assert code == 500
    assert "model" in message
    assert await messages_of(dialog) == []
    llm.is_enabled = True
    await in_db(llm.save)
    assert (await alices.chat(dialog, "Hi")).text


async def test_it_says_that_the_agent_is_gone(
    alices: Client, dialog: Conversation, ada: Assistant, bob: User
) -> None:
    assert (await alices.chat(dialog, "Hi")).text
    ada.owner = bob
    await in_db(ada.save)
    refused = await alices.post("chat", user_input="Hi", dialog_id=dialog.pk)
    assert failure_of(refused)[0] == 404


async def test_it_answers_one_message_of_a_dialog_at_a_time(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two", hang_after=1))
    async with alices.stream("chat", user_input="Hi", dialog_id=dialog.pk) as stream:
        await stream.next()
        second = await alices.post("chat", user_input="Hi again", dialog_id=dialog.pk)
        assert failure_of(second)[0] == 409
    await until_over(dialog)
    assert (await alices.chat(dialog, "And now?")).text


async def test_it_is_behind_the_same_door_as_every_view(
    alice: User, dialog: Conversation, client_for: ClientFor
) -> None:
    body = {"user_input": "Hi", "dialog_id": dialog.pk}
    async with client_for("sk-gw-garbage") as stranger:
        assert failure_of(await stranger.post("chat", **body), 401)[0] == 401
    key = await in_db(make_key, alice, scopes=["manage"])
    async with client_for(key) as unscoped:
        assert failure_of(await unscoped.post("chat", **body))[0] == 403
    key = await in_db(make_key, alice, scopes=["chat"], requests_per_minute=1)
    async with client_for(key) as limited:
        assert (await limited.chat(dialog, "Hi")).text
        refused = await limited.post("chat", **body)
        assert failure_of(refused, 429)[0] == 429
        assert int(refused.headers["Retry-After"]) > 0


async def test_it_takes_posts_only_and_small_bodies(alices: Client) -> None:
    refused = await alices.http.get("chat")
    assert failure_of(refused, 405)[0] == 405
    large = await alices.post("chat", user_input="x" * (11 * 2**20), dialog_id="x")
    assert failure_of(large, 413)[0] == 413


# --- Endings --------------------------------------------------------------------------------------


async def test_it_stops_the_model_when_the_client_leaves(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two three", hang_after=2))
    async with alices.stream("chat", user_input="Hi", dialog_id=dialog.pk) as stream:
        while len(stream.of("response_chunk")) < 2:
            await stream.next()
    run = await until_over(dialog)
    assert run.status == RunStatus.CANCELED
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("chat").cancelled == 1
    )
    _user, assistant = await messages_of(dialog)
    assert assistant.text == stream.text
    assert assistant.is_interrupted
    # Nobody says what it took; it is estimated.
    assert min(assistant.input_tokens, assistant.output_tokens) > 0
    assert assistant.model_name
    kinds = await in_db(lambda: list(run.events.values_list("type", flat=True)))
    assert kinds[-2:] == ["text_end", "task_stopped"]


async def test_it_stops_when_it_is_told_to(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two three", hang_after=1))
    async with alices.stream("chat", user_input="Hi", dialog_id=dialog.pk) as stream:
        await stream.next()
        stopped = await alices.post("chat/stop", dialog_id=dialog.pk)
        assert stopped.json()["data"] == {"stopped": True}
        await stream.rest()
    assert (await last_run(dialog)).status == RunStatus.CANCELED
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("chat").cancelled == 1
    )
    _user, assistant = await messages_of(dialog)
    assert (assistant.text, assistant.is_interrupted) == (stream.text, True)
    again = await alices.post("chat/stop", dialog_id=dialog.pk)
    assert again.json()["data"] == {"stopped": False}


async def test_it_lets_nobody_stop_the_answers_of_others(
    alices: Client, bobs: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(text="one two", hang_after=1))
    async with alices.stream("chat", user_input="Hi", dialog_id=dialog.pk) as stream:
        await stream.next()
        assert failure_of(await bobs.post("chat/stop", dialog_id=dialog.pk))[0] == 404
        assert (await last_run(dialog)).status == RunStatus.RUNNING
        assert (await alices.post("chat/stop", dialog_id=dialog.pk)).json()["data"]["stopped"]
        await stream.rest()


async def test_it_ends_an_exchange_that_nobody_went_on_to_read(
    alices: Client, alice: User, dialog: Conversation, upstream: FakeUpstream
) -> None:
    def begin() -> answering.Exchange:
        runtime = agent_of(principal_for_user(alice), dialog)
        return answering.begin(dialog, runtime, text="Hi")

    events = answering.exchange(await in_db(begin))
    await anext(events)
    assert (await last_run(dialog)).status == RunStatus.RUNNING
    del events
    gc.collect()
    assert (await until_over(dialog)).status == RunStatus.CANCELED
    assert upstream.stats.of("chat").requests == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [("chat", ("user_input", "dialog_id")), ("workspace/simple/chat", ("query", "model_id"))],
)
async def test_it_says_that_the_process_stopped(
    alices: Client,
    dialog: Conversation,
    llm: Llm,
    upstream: FakeUpstream,
    path: str,
    body: tuple[str, str],
) -> None:
    upstream.script("chat", Step(text="one two three", hang_after=1))
    values = dict(zip(body, ("Hi", llm.pk if "model_id" in body else dialog.pk), strict=True))
    async with alices.stream(path, **values) as stream:
        await stream.next()
        leaving.tell()
        await stream.rest()
    said = "The service is being restarted; ask again."
    assert any(each.get("data", {}).get("message") == said for each in stream.payloads[1:])


@pytest.mark.parametrize("leaves", [False, True])
async def test_it_ends_an_exchange_whose_asker_left_while_it_was_begun(
    alices: Client,
    dialog: Conversation,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    leaves: bool,
) -> None:
    has_begun, may_go_on, has_left = threading.Event(), threading.Event(), asyncio.Event()
    begin, claimed = answering.begin, answering.claimed

    def slow(*args: Any, **options: Any) -> answering.Exchange:
        begun = begin(*args, **options)
        has_begun.set()
        assert may_go_on.wait(PATIENCE_S)
        return begun

    async def waiting(beginning: Any) -> Any:
        try:
            return await claimed(beginning)
        except asyncio.CancelledError:
            has_left.set()
            raise

    monkeypatch.setattr(answering, "begin", slow)
    monkeypatch.setattr(answering, "claimed", waiting)
    asking = asyncio.create_task(alices.chat(dialog, "Hi"))
    assert await asyncio.to_thread(has_begun.wait, PATIENCE_S)
    if leaves:
        asking.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await has_left.wait()
    may_go_on.set()
    run = await until_over(dialog)
    if leaves:
        assert run.status == RunStatus.CANCELED
        assert upstream.stats.of("chat").requests == 0
        assert [each.role for each in await messages_of(dialog)] == ["user"]
    else:
        assert (await asking).text
    monkeypatch.undo()
    assert (await alices.chat(dialog, "And now?")).text


async def test_it_keeps_dialogs_apart(
    alices: Client, ada: Assistant, upstream: FakeUpstream
) -> None:
    dialogs: Sequence[Conversation] = [await dialog_with(alices, ada) for _ in range(5)]
    upstream.behaviour.reply = "You said: {text}"
    texts = [f"number {at}" for at in range(5)]
    answers = await asyncio.gather(
        *(alices.chat(dialog, text) for dialog, text in zip(dialogs, texts, strict=True))
    )
    assert [answer.text for answer in answers] == [f"You said: {text}" for text in texts]
    assert await in_db(Run.objects.filter(status=RunStatus.SUCCEEDED).count) == 5


# --- Files --------------------------------------------------------------------------------


async def test_it_reads_the_file_that_came_along(
    alices: Client, dialog: Conversation, upstream: FakeUpstream
) -> None:
    link = await uploaded(alices, "prices.txt", b"The ticket is ten euros.")
    upstream.script("chat", Step(text="Ten."), Step(text="Still ten."))
    await alices.chat(dialog, "What does it say?", file_url=link)
    await alices.chat(dialog, "And now?")
    first, second = (str(each["body"]["messages"]) for each in upstream.stats.last("chat"))
    assert "The ticket is ten euros." in first
    assert "The ticket is ten euros." in second
    user, *_ = await messages_of(dialog)
    assert (user.text, user.attachments[0]["name"]) == ("What does it say?", "prices.txt")


@pytest.mark.parametrize("link", ["https://example.org/x.txt", "http://127.0.0.1/files/x", "x"])
async def test_it_fetches_nothing_from_elsewhere(
    alices: Client, dialog: Conversation, link: str
) -> None:
    refused = await alices.post("chat", user_input="Hi", dialog_id=dialog.pk, file_url=link)
    assert refused.json()["status_code"] in (404, 422)
    assert await messages_of(dialog) == []


async def test_it_reads_nobody_elses_file(
    alices: Client, bobs: Client, dialog: Conversation
) -> None:
    link = await uploaded(bobs, "secret.txt", b"secret")
    refused = await alices.post("chat", user_input="Hi", dialog_id=dialog.pk, file_url=link)
    assert failure_of(refused)[0] == 404
    own = await uploaded(alices, "own.txt", b"own")
    assert (await alices.chat(dialog, "Hi", file_url=own)).text


async def uploaded(client: Client, name: str, content: bytes) -> str:
    answer = await client.http.post("upload", files={"file": (name, content)})
    link: str = answer.json()["data"]
    return link
