"""What a worker puts down reaches Postgres in order and once; what a reader waits for arrives."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisAway

from accounts.models import User
from conversations.models import Run, RunKind, RunStatus
from conversations.runs import hints, store
from conversations.runs.log import LostRun, RunLog, follow
from conversations.runs.types import Claim, NewEvent, Outcome, StoredEvent
from core.db import in_db
from tests.conversations.made import chunk, claimed, conversation, new_run

pytestmark = pytest.mark.django_db(transaction=True)

DONE = Outcome(status=RunStatus.SUCCEEDED, last=NewEvent("task_complete"), turn=None)


@pytest.fixture
def run(alice: User) -> Claim:
    return claimed(conversation(alice))


async def events_of(claim: Claim) -> tuple[StoredEvent, ...]:
    return (await in_db(store.read, claim.run_id, first=1)).events


@contextmanager
def faults(
    monkeypatch: pytest.MonkeyPatch, name: str, *errors: Exception, after: bool = False
) -> Iterator[list[Exception]]:
    """Calls of a function of `store` that fail, before or after they did their work."""
    left, original = list(errors), getattr(store, name)

    def faulty(*args: Any, **kwargs: Any) -> Any:
        if not left:
            return original(*args, **kwargs)
        if after:
            original(*args, **kwargs)
        raise left.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(store, name, faulty)
        yield left


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_it_writes_what_was_put_down_in_order(run: Claim) -> None:
    log = RunLog(run)
    log.add(NewEvent("text_start"))
    log.add(chunk("a"))
    log.add(NewEvent("text_end", {"full_content": "a"}))
    await log.flush()
    assert [(event.idx, event.type) for event in await events_of(run)] == [
        (1, "text_start"),
        (2, "text_chunk"),
        (3, "text_end"),
    ]


async def test_it_writes_by_itself_after_a_moment(run: Claim) -> None:
    log = RunLog(run)
    log.add(chunk("a"))
    page = await follow(run.run_id, first=1, wait_s=5)
    assert [event.data["content"] for event in page.events] == ["a"]


async def test_it_puts_deltas_of_a_moment_together(run: Claim) -> None:
    log = RunLog(run)
    for event in (NewEvent("text_start"), *map(chunk, "abc"), NewEvent("note"), chunk("d")):
        log.add(event)
    await log.flush()
    chunks = [event.data for event in await events_of(run) if event.type == "text_chunk"]
    assert [(each["content"], each["index"]) for each in chunks] == [("abc", 0), ("d", 1)]
    assert chunks[0]["elapsed"] <= chunks[1]["elapsed"]


async def test_it_begins_a_new_piece_where_one_is_long(run: Claim) -> None:
    log = RunLog(run)
    for _ in range(5):
        log.add(chunk("x" * 40))
    await log.flush()
    sizes = [len(event.data["content"]) for event in await events_of(run)]
    assert sizes == [80, 80, 40]


async def test_it_counts_pieces_of_each_text_from_zero(run: Claim) -> None:
    log = RunLog(run)
    for _ in range(2):
        for event in (NewEvent("text_start"), chunk("a"), NewEvent("text_end")):
            log.add(event)
    await log.flush()
    found = [event.data["index"] for event in await events_of(run) if event.type == "text_chunk"]
    assert found == [0, 0]


async def test_it_writes_for_many_runs_in_one_statement(
    run: Claim, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await in_db(lambda: claimed(conversation(bob)))
    sizes: list[int] = []
    original = store.append_all

    def counted(batches: Any) -> Any:
        sizes.append(len(batches))
        return original(batches)

    monkeypatch.setattr(store, "append_all", counted)
    logs = [RunLog(run), RunLog(other)]
    for log in logs:
        log.add(chunk("a"))
    await asyncio.gather(*(log.flush() for log in logs))
    assert sizes == [2]


async def test_it_waits_for_a_database_that_is_away(
    run: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RunLog(run)
    with faults(monkeypatch, "append_all", OperationalError("away"), OperationalError("away")):
        log.add(chunk("a"))
        await log.flush()
    assert len(await events_of(run)) == 1


async def test_it_writes_once_what_was_not_confirmed(
    run: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RunLog(run)
    with faults(monkeypatch, "append_all", OperationalError("closed"), after=True):
        log.add(chunk("a"))
        await log.flush()
    log.add(chunk("b"))
    with faults(monkeypatch, "finish", OperationalError("closed"), after=True):
        await log.finish(DONE)
    found = await events_of(run)
    assert [event.type for event in found] == ["text_chunk", "text_chunk", "task_complete"]
    assert [event.idx for event in found] == [1, 2, 3]


async def test_it_writes_once_what_was_on_its_way_when_the_writer_was_stopped(
    run: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_writing, may_go_on = threading.Event(), threading.Event()
    original = store.append_all

    def slow(batches: Any) -> Any:
        is_writing.set()
        may_go_on.wait(30)
        return original(batches)

    monkeypatch.setattr(store, "append_all", slow)
    log = RunLog(run)
    log.add(chunk("a"))
    await eventually(is_writing.is_set)
    (writer,) = (task for task in asyncio.all_tasks() if task.get_name() == "run log")
    writer.cancel()
    await asyncio.wait([writer])
    log.add(chunk("b"))
    may_go_on.set()
    await log.finish(DONE)
    found = await events_of(run)
    assert [event.data.get("content") for event in found] == ["a", "b", None]
    assert [event.idx for event in found] == [1, 2, 3]


async def test_it_gives_a_run_up_whose_log_grows_too_long(
    run: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conversations.runs.log.MAX_WAITING_CHARS", 1000)
    log = RunLog(run)
    log.add(NewEvent("a", {"content": "x" * 700}))
    with pytest.raises(LostRun):
        log.add(NewEvent("a", {"content": "x" * 700}))
    with pytest.raises(LostRun):
        await log.flush()
    assert await events_of(run) == ()


async def test_it_keeps_what_is_refused_of_one_log_from_the_others(
    run: Claim, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await in_db(lambda: claimed(conversation(bob)))
    broken, well = RunLog(run), RunLog(other)
    broken.add(NewEvent("a" * 33))  # longer than the column
    well.add(chunk("a"))
    await well.flush()
    with pytest.raises(Exception, match="too long"):
        await broken.flush()
    assert (len(await events_of(run)), len(await events_of(other))) == (0, 1)


async def test_it_says_that_the_attempt_is_lost(run: Claim) -> None:
    log = RunLog(dataclasses.replace(run, attempt=run.attempt + 1))
    log.add(chunk("late"))
    with pytest.raises(LostRun):
        await log.flush()
    with pytest.raises(LostRun):
        log.add(chunk("later"))
    with pytest.raises(LostRun):
        await log.finish(DONE)
    assert await events_of(run) == ()


async def test_it_notes_that_something_is_about_to_change(run: Claim) -> None:
    log = RunLog(run)
    log.add(chunk("a"))
    await log.acting()
    row = await in_db(Run.objects.get, pk=run.run_id)
    assert (row.has_acted, row.next_seq) == (True, 2)
    await log.acting()
    await log.finish(DONE)
    assert [event.idx for event in await events_of(run)] == [1, 2]


async def test_it_writes_what_waits_together_with_the_end(
    run: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "append_all", lambda batches: pytest.fail("it was written before"))
    log = RunLog(run)
    for event in (NewEvent("text_start"), chunk("a"), chunk("b")):
        log.add(event)
    with faults(monkeypatch, "finish", OperationalError("closed"), after=True):
        await log.finish(DONE)
    found = await events_of(run)
    assert [(event.idx, event.type) for event in found] == [
        (1, "text_start"),
        (2, "text_chunk"),
        (3, "task_complete"),
    ]


async def test_it_writes_the_log_of_a_long_chat_before_its_end(alice: User) -> None:
    talk = await in_db(conversation, alice, channel="chat")
    chat = new_run(talk, kind=RunKind.CHAT)
    claim = await in_db(store.start_claimed, chat, worker="tests")
    log = RunLog(claim, flush_every_s=0.05)
    log.add(chunk("a"))
    async with asyncio.timeout(30):
        while not await events_of(claim):
            await asyncio.sleep(0.01)
    log.add(chunk("b"))
    await log.finish(DONE)
    assert [event.data.get("content") for event in await events_of(claim)] == ["a", "b", None]


async def test_it_ends_a_run_once(run: Claim) -> None:
    log = RunLog(run)
    await log.finish(DONE)
    with pytest.raises(LostRun):
        await log.finish(DONE)
    with pytest.raises(LostRun):
        log.add(chunk("a"))


# --- Waiting -----------------------------------------------------------------------------------


@pytest.fixture(params=["with Redis", "without Redis"])
def redis_state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    # Who hears of news does not look for them.
    monkeypatch.setattr("conversations.runs.log.LOOK_WITH_HINTS_S", 600)
    if request.param == "without Redis":

        def away() -> Any:
            raise RedisAway("refused")

        monkeypatch.setattr(hints, "redis_async", away)
    return str(request.param)


async def test_a_reader_gets_what_comes_while_it_waits(run: Claim, redis_state: str) -> None:
    log = RunLog(run)
    waiting = [asyncio.create_task(follow(run.run_id, first=1, wait_s=600)) for _ in range(3)]
    if redis_state == "with Redis":
        await eventually(lambda: hints.listener().hears(run.run_id))
    log.add(chunk("a"))
    pages = await asyncio.gather(*waiting)
    assert [page.next_offset for page in pages] == [2, 2, 2]


async def test_a_reader_hears_of_the_end(run: Claim, redis_state: str) -> None:
    log = RunLog(run)
    waiting = asyncio.create_task(follow(run.run_id, first=2, wait_s=600))
    await log.finish(DONE)
    page = await waiting
    assert (page.is_last, page.events, page.next_offset) == (True, (), 2)


async def test_a_reader_waits_no_longer_than_it_wants(run: Claim, redis_state: str) -> None:
    page = await follow(run.run_id, first=1, wait_s=0.2)
    assert (page.events, page.is_last) == ((), False)
    assert (await follow(run.run_id, first=1, wait_s=0)).events == ()
