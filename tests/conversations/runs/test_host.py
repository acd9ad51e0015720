"""The loop that carries out a worker's tasks: how many, which, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from celery import current_app
from django.db import connections
from kombu.exceptions import OperationalError as BrokerAway

from accounts.models import User
from conversations.models import Run, RunStatus
from conversations.runs import host, store
from conversations.runs.host import Host
from conversations.runs.types import Claim, NewEvent, Outcome
from core.db import in_db
from tests.conversations.made import conversation, new_run

pytestmark = pytest.mark.django_db(transaction=True)

DONE = Outcome(status=RunStatus.SUCCEEDED, last=NewEvent("task_complete"), turn=None)


@contextmanager
def running(work: Callable[[Claim], object], *, capacity: int) -> Iterator[Host]:
    running_host = Host(capacity=capacity, execute=work)  # type: ignore[arg-type]  # coroutines
    running_host.start()
    try:
        yield running_host
    finally:
        running_host.stop()
        assert running_host.join(20)
        connections.close_all()


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def tasks(db: None) -> list[Run]:
    """Five tasks that wait."""
    users = [User.objects.create(username=f"user{n}") for n in range(5)]
    return [store.start_task(new_run(conversation(user))) for user in users]


def test_it_carries_out_what_waits_within_its_capacity(tasks: list[Run]) -> None:
    under_way: list[Claim] = []
    most = 0
    may_end = threading.Event()

    async def work(claim: Claim) -> None:
        nonlocal most
        under_way.append(claim)
        most = max(most, len(under_way))
        while not may_end.is_set():
            await asyncio.sleep(0.01)
        under_way.remove(claim)
        await in_db(store.finish, claim, DONE)

    with running(work, capacity=2) as running_host:
        running_host.wake()
        assert within(40, lambda: len(under_way) == 2)
        assert {claim.run_id for claim in under_way} == {run.pk for run in tasks[:2]}
        may_end.set()
        assert within(
            10, lambda: Run.objects.filter(status=RunStatus.SUCCEEDED).count() == len(tasks)
        )
    assert most == 2


def test_it_is_woken_for_new_tasks(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "LOOK_EVERY_S", 600)
    done = threading.Event()

    async def work(claim: Claim) -> None:
        await in_db(store.finish, claim, DONE)
        done.set()

    with running(work, capacity=2) as running_host:
        store.start_task(new_run(conversation(alice)))
        running_host.wake()
        assert done.wait(10)


def test_it_finds_tasks_whose_announcement_was_lost(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "LOOK_EVERY_S", 0.05)
    done = threading.Event()

    async def work(claim: Claim) -> None:
        await in_db(store.finish, claim, DONE)
        done.set()

    with running(work, capacity=2):
        store.start_task(new_run(conversation(alice)))
        assert done.wait(10)


def test_it_cancels_what_it_has_when_it_stops(tasks: list[Run]) -> None:
    begun, left = threading.Semaphore(0), threading.Semaphore(0)

    async def work(claim: Claim) -> None:
        begun.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            left.release()
            raise

    with running(work, capacity=2):
        assert begun.acquire(timeout=10)
        assert begun.acquire(timeout=10)
    assert left.acquire(blocking=False)
    assert left.acquire(blocking=False)
    assert Run.objects.filter(status=RunStatus.PENDING).count() == len(tasks) - 2


def test_it_survives_a_task_that_breaks(tasks: list[Run], caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Claim] = []

    async def work(claim: Claim) -> None:
        seen.append(claim)
        raise RuntimeError("a bug")

    with running(work, capacity=1):
        assert within(40, lambda: len(seen) == len(tasks))
    assert "a bug" in caplog.text


def test_a_broker_that_is_away_neither_fails_nor_delays_a_task(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_hanging, may_go_on = threading.Event(), threading.Event()

    def hang(*_arguments: object, **_options: object) -> None:
        is_hanging.set()
        may_go_on.wait(30)
        raise BrokerAway("away")

    monkeypatch.setattr(current_app, "send_task", hang)
    try:
        started = time.monotonic()
        run = store.start_task(new_run(conversation(alice)))
        assert time.monotonic() - started < 5
        assert is_hanging.wait(10)
        assert run.status == RunStatus.PENDING
    finally:
        may_go_on.set()
