"""Tasks, from claim to last event, against a vendor that speaks the real protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import User
from assistants.models import Assistant
from conversations.background import execution
from conversations.background.execution import execute
from conversations.models import Conversation, Message, Run, RunStatus
from conversations.runs import pulse, store
from conversations.runs.types import Claim, Page
from core.db import in_db
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.conversations.counting import CountingService
from tests.conversations.made import asked, claimed, conversation
from tests.conversations.made import check_log as check_events
from tooling.models import Category, Tool

pytestmark = pytest.mark.django_db(transaction=True)

WORDS = [f"word{n} " for n in range(40)]


@pytest.fixture
def agent(alice: User, upstream: FakeUpstream) -> Assistant:
    """An assistant whose model is the fake vendor."""
    llm = Llm.objects.create(
        owner=alice,
        name="Model",
        vendor="openai_compatible",
        base_url=upstream.base_url,
        model_name="fake-model",
        api_key="k",
        supports_thinking=True,
    )
    return Assistant.objects.create(owner=alice, name="Agent", llm=llm)


@pytest.fixture
def talk(alice: User, agent: Assistant) -> Conversation:
    return conversation(alice, agent, title="A talk")


@pytest.fixture
def service() -> Iterator[CountingService]:
    running = CountingService()
    yield running
    running.end()


def http_tool(agent: Assistant, service: CountingService, method: str) -> Tool:
    tool = Tool.objects.create(
        owner=agent.owner,
        name="Act",
        function_name="act",
        category=Category.QUERY,
        http_method=method,
        http_url=service.url,
    )
    agent.set_tools([tool.pk])
    return tool


def use_calculator(agent: Assistant) -> None:
    Tool.objects.create(pk="calculator", name="Calculator", category=Category.QUERY)
    agent.set_tools(["calculator"])


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


async def page_of(claim: Claim) -> Page:
    return await in_db(store.read, claim.run_id, first=0)


async def kinds_of(claim: Claim) -> list[str]:
    return [event.type for event in (await page_of(claim)).events]


async def eventually(claim: Claim, kind: str) -> None:
    """Waits until the log has an event of the type."""
    async with asyncio.timeout(30):
        while kind not in await kinds_of(claim):
            await asyncio.sleep(0.02)


def check_log(page: Page) -> None:
    assert page.is_last
    check_events([(event.idx, event.type, event.data) for event in page.events])


async def test_it_answers(talk: Conversation, upstream: FakeUpstream) -> None:
    claim = await in_db(claimed, talk, "Hello")
    upstream.script("chat", Step(text="".join(WORDS)))
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    assert page.status == RunStatus.SUCCEEDED
    answer = await in_db(Message.objects.get, conversation=talk, role="assistant")
    assert answer.text == "".join(WORDS)
    assert set(answer.metrics) == {"first_text_ms", "total_ms"}
    row = await in_db(Run.objects.get, pk=claim.run_id)
    assert row.output_tokens == answer.output_tokens > 0


async def test_it_goes_on_with_what_was_said_before(
    talk: Conversation, upstream: FakeUpstream
) -> None:
    for text in ("My name is Ann.", "Who am I?"):
        await execute(await in_db(claimed, talk, text))
    messages = upstream.stats.last("chat")[-1]["body"]["messages"]
    assert [m["content"] for m in messages if m["role"] == "user"] == [
        "My name is Ann.",
        "Who am I?",
    ]
    second = await latest(talk)
    events = (await page_of(second)).events
    update = next(event.data for event in events if event.type == "token_update")
    assert second.turn == 2
    assert update["cumulative_input_tokens"] > update["input_tokens"]


async def latest(talk: Conversation) -> Claim:
    row = await in_db(Run.objects.filter(conversation=talk).latest, "created_at")
    return store.claim_of(row)


async def test_it_uses_tools(talk: Conversation, agent: Assistant, upstream: FakeUpstream) -> None:
    await in_db(use_calculator, agent)
    claim = await in_db(claimed, talk, "6*7?")
    upstream.script(
        "chat", Step(tool_calls=[call("calculator", expression="6*7")]), Step(text="42.")
    )
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    actions = [event.data for event in page.events if event.type == "update_action"]
    assert [(each["status"], each["result"]) for each in actions] == [("completed", "42")]
    row = await in_db(Run.objects.get, pk=claim.run_id)
    assert not row.has_acted


async def test_it_writes_files_of_the_user_and_tells_of_it(
    talk: Conversation, upstream: FakeUpstream
) -> None:
    claim = await in_db(claimed, talk)
    upstream.script(
        "chat", Step(tool_calls=[call("write_file", path="a.txt", content="Hi")]), Step(text="Ok.")
    )
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    assert "file_tree_update" in {event.type for event in page.events}
    assert (await in_db(Run.objects.get, pk=claim.run_id)).has_acted


@pytest.mark.parametrize(("method", "has_acted"), [("GET", False), ("POST", True)])
async def test_it_notes_before_a_tool_acts(
    talk: Conversation,
    agent: Assistant,
    upstream: FakeUpstream,
    service: CountingService,
    method: str,
    has_acted: bool,
) -> None:
    await in_db(http_tool, agent, service, method)
    service.may_answer.clear()
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(tool_calls=[call("act")]), Step(text="Ok."))
    work = asyncio.create_task(execute(claim))
    async with asyncio.timeout(30):
        while not service.asked:
            await asyncio.sleep(0.02)
    assert (await in_db(Run.objects.get, pk=claim.run_id)).has_acted is has_acted
    service.may_answer.set()
    await work
    assert len(service.asked) == 1


async def test_it_tries_a_broken_answer_again(
    talk: Conversation, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conversations.turn.BACKOFF_S", (0.01,))
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(text="Hello there", break_after=1), Step(text="Hello!"))
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    assert page.status == RunStatus.SUCCEEDED
    assert [event.type for event in page.events].count("stream_reset") == 1
    assert (await in_db(Message.objects.get, role="assistant")).text == "Hello!"


async def test_it_fails_with_a_reason(talk: Conversation, upstream: FakeUpstream) -> None:
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(status=401, body={"error": {"message": "bad key"}}))
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    assert page.status == RunStatus.FAILED
    assert page.error == page.events[-1].data["message"] != ""


@pytest.mark.parametrize(
    "odd",
    [
        Step(text="Hi", usage={"prompt_tokens": 10**12, "completion_tokens": 1}),
        Step(text="Hi", usage={"prompt_tokens": 2**31 - 1, "completion_tokens": 2**31 - 1}),
        Step(tool_calls=[{"name": "a\x00b", "arguments": {}}]),
        Step(tool_calls=[{"name": "a\ud800b", "arguments": {}}]),
        Step(tool_calls=[{"name": "list_files", "arguments": {"path": "\x00"}}]),
        Step(tool_calls=[{"name": "list_files", "arguments": {}, "id": "\x00"}]),
        Step(text="a\x00b\ud83d"),
    ],
)
async def test_it_ends_whatever_a_vendor_sends(
    talk: Conversation, upstream: FakeUpstream, odd: Step
) -> None:
    claim = await in_db(claimed, talk)
    upstream.script("chat", odd, Step(text="Ok."))
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    assert page.status == RunStatus.SUCCEEDED, page.events[-1]


async def test_it_fails_where_the_preparation_does(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(claim: Claim) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(execution, "prepare", broken)
    claim = await in_db(claimed, talk)
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    assert (page.status, "bug" in page.error) == (RunStatus.FAILED, False)


async def test_it_closes_the_models_stream_when_it_is_stopped(
    talk: Conversation, upstream: FakeUpstream
) -> None:
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(text="".join(WORDS), hang_after=10))
    work = asyncio.create_task(execute(claim))
    await eventually(claim, "text_chunk")
    await in_db(lambda: store.request_cancel(Run.objects.get(pk=claim.run_id)))
    await work
    assert upstream.stats.wait_until(lambda stats: stats.of("chat").cancelled == 1)
    page = await page_of(claim)
    check_log(page)
    assert page.status == RunStatus.CANCELED
    assert [event.type for event in page.events[-2:]] == ["text_end", "task_stopped"]
    answer = await in_db(Message.objects.get, role="assistant")
    assert (answer.is_interrupted, answer.text.startswith("word0 ")) == (True, True)


async def test_it_stops_tools_when_it_is_stopped(
    talk: Conversation, agent: Assistant, upstream: FakeUpstream, service: CountingService
) -> None:
    await in_db(http_tool, agent, service, "POST")
    service.may_answer.clear()
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(tool_calls=[call("act")]))
    work = asyncio.create_task(execute(claim))
    await eventually(claim, "tool_start")
    await in_db(lambda: store.request_cancel(Run.objects.get(pk=claim.run_id)))
    await work
    page = await page_of(claim)
    check_log(page)
    assert page.events[-2].type == "update_action"
    assert page.events[-2].data["status"] == "cancelled"


async def test_it_writes_nothing_once_it_is_taken_over(
    talk: Conversation, upstream: FakeUpstream
) -> None:
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(text="".join(WORDS), hang_after=10))
    work = asyncio.create_task(execute(claim))
    await eventually(claim, "text_chunk")
    assert await in_db(store.give_back, claim, [], most_attempts=2)
    before = await page_of(claim)
    await work
    assert (await page_of(claim)).next_offset == before.next_offset
    assert upstream.stats.wait_until(lambda stats: stats.of("chat").cancelled == 1)


async def test_it_is_handed_on_when_the_process_stops(
    talk: Conversation, upstream: FakeUpstream
) -> None:
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(text="".join(WORDS), hang_after=10), Step(text="Anew."))
    work = asyncio.create_task(execute(claim))
    await eventually(claim, "text_chunk")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (await kinds_of(claim))[-2:] == ["stream_reset", "system_message"]
    broken = await in_db(Run.objects.get, pk=claim.run_id)
    assert broken.input_tokens > 0
    again = await in_db(store.claim, claim.run_id, worker="other")
    assert again is not None
    await execute(again)
    page = await page_of(claim)
    check_log(page)
    assert page.status == RunStatus.SUCCEEDED
    answer = await in_db(Message.objects.get, role="assistant")
    assert answer.text == "Anew."
    # Both attempts were paid for, and both are counted, also in the sums along the way.
    assert answer.input_tokens > broken.input_tokens
    updates = [event.data for event in page.events if event.type == "token_update"]
    assert updates[-1]["cumulative_input_tokens"] == answer.input_tokens


async def test_it_is_not_done_again_when_only_its_title_is_missing(
    talk: Conversation, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_arguments: object) -> str:
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(execution, "make_title", slow)
    monkeypatch.setattr(execution, "TITLE_WITHIN_S", 600)
    await in_db(Conversation.objects.filter(pk=talk.pk).update, title="")
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(text="All of it."))
    work = asyncio.create_task(execute(claim))
    await eventually(claim, "text_end")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    page = await page_of(claim)
    check_log(page)
    assert page.status == RunStatus.SUCCEEDED


async def test_it_is_stopped_rather_than_failed_when_the_process_stops(
    talk: Conversation, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process stops before the pulse has heard of it.
    monkeypatch.setattr(pulse, "LOOK_EVERY_S", 600)
    claim = await in_db(claimed, talk)
    upstream.script("chat", Step(text="".join(WORDS), hang_after=10))
    work = asyncio.create_task(execute(claim))
    await eventually(claim, "text_chunk")
    await in_db(lambda: store.request_cancel(Run.objects.get(pk=claim.run_id)))
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    page = await page_of(claim)
    check_log(page)
    assert page.status == RunStatus.CANCELED


async def test_it_ends_when_the_process_stops_after_it_acted(
    talk: Conversation, upstream: FakeUpstream
) -> None:
    claim = await in_db(claimed, talk)
    upstream.script(
        "chat",
        Step(tool_calls=[call("write_file", path="a.txt", content="Hi")]),
        Step(text="".join(WORDS), hang_after=10),
    )
    work = asyncio.create_task(execute(claim))
    await eventually(claim, "text_chunk")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    page = await page_of(claim)
    check_log(page)
    row = await in_db(Run.objects.get, pk=claim.run_id)
    assert (row.status, row.error_code) == (RunStatus.FAILED, "worker_stopped")
    answers = await in_db(lambda: list(Message.objects.filter(role="assistant")))
    assert (answers[-1].is_interrupted, answers[-1].error != "") == (True, True)


async def test_it_goes_on_after_the_database_was_away(
    talk: Conversation, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await in_db(claimed, talk)
    upstream.behaviour.llm_token_ms = 2
    upstream.script("chat", Step(text="".join(WORDS)))
    original, left = store.append_all, [OperationalError("away")] * 5

    def faulty(batches: Any) -> Any:
        if left:
            raise left.pop()
        return original(batches)

    monkeypatch.setattr(store, "append_all", faulty)
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    assert (page.status, left) == (RunStatus.SUCCEEDED, [])


async def test_it_finds_a_title_meanwhile(
    alice: User, agent: Assistant, upstream: FakeUpstream
) -> None:
    talk = await in_db(conversation, alice, agent)
    claim = await in_db(claimed, talk, "What is a fox?")
    upstream.behaviour.reply = "Foxes"
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    changed = [event.data for event in page.events if event.type == "conversation_changed"]
    assert [each["title"] for each in changed] == ["Foxes"]
    await in_db(talk.refresh_from_db)
    assert talk.title == "Foxes"
    # Both were paid for.
    answer = await in_db(Message.objects.get, role="assistant")
    updates = [event.data for event in page.events if event.type == "token_update"]
    assert answer.input_tokens > updates[-1]["cumulative_input_tokens"]
    assert answer.output_tokens > updates[-1]["cumulative_output_tokens"]


@pytest.mark.parametrize(("mode", "thinks"), [("fast", False), ("deep", True)])
async def test_it_thinks_as_its_mode_says(
    talk: Conversation, upstream: FakeUpstream, mode: str, thinks: bool
) -> None:
    claim = await in_db(claimed, talk, request=asked(run_mode=mode))
    upstream.script("chat", Step(thinking="Hm." if thinks else "", text="Ok."))
    await execute(claim)
    page = await page_of(claim)
    check_log(page)
    assert any(event.type == "thinking_start" for event in page.events) is thinks
