"""Runs say that they live, and stop when they are to end."""

from __future__ import annotations

import asyncio
import datetime

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.models import User
from conversations.models import Run
from conversations.runs import pulse, store
from conversations.runs.pulse import Guard, beating
from conversations.runs.types import Claim
from core.db import in_db
from tests.conversations.made import claimed, conversation

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(alice: User) -> Claim:
    return claimed(conversation(alice))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(pulse, "BEAT_EVERY_S", 0.05)


async def works_for_ever(claim: Claim) -> Guard:
    async with beating(claim) as guard:
        await asyncio.Event().wait()
    return guard


async def test_it_stops_what_the_user_wants_to_end(run: Claim) -> None:
    work = asyncio.create_task(works_for_ever(run))
    await in_db(lambda: store.request_cancel(Run.objects.get(pk=run.run_id)))
    async with asyncio.timeout(30):
        guard = await work
    assert (guard.is_cancel_requested, guard.is_lost) == (True, False)
    assert work.cancelling() == 0


@pytest.mark.parametrize("way", ["given back", "deleted", "claimed anew"])
async def test_it_stops_what_is_somebody_elses(run: Claim, way: str) -> None:
    work = asyncio.create_task(works_for_ever(run))
    if way == "deleted":
        await in_db(Run.objects.all().delete)
    else:
        assert await in_db(store.give_back, run, [], most_attempts=9)
    if way == "claimed anew":
        assert await in_db(store.claim, run.run_id, worker="other")
    async with asyncio.timeout(30):
        guard = await work
    assert (guard.is_cancel_requested, guard.is_lost) == (False, True)


async def test_it_leaves_a_cancellation_from_elsewhere_alone(run: Claim) -> None:
    work = asyncio.create_task(works_for_ever(run))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_it_says_that_a_run_lives(run: Claim) -> None:
    old = timezone.now() - datetime.timedelta(minutes=1)
    await in_db(Run.objects.update, heartbeat_at=old)

    def is_fresh() -> bool:
        return Run.objects.filter(heartbeat_at__gt=old).exists()

    async with beating(run), asyncio.timeout(30):
        while not await in_db(is_fresh):
            await asyncio.sleep(0.01)


async def test_it_goes_on_after_the_database_was_away(
    run: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 0
    original = pulse._states

    def faulty(*args: object, **kwargs: object) -> object:
        nonlocal failures
        if failures < 3:
            failures += 1
            raise OperationalError("away")
        return original(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(pulse, "_states", faulty)
    work = asyncio.create_task(works_for_ever(run))
    await in_db(lambda: store.request_cancel(Run.objects.get(pk=run.run_id)))
    async with asyncio.timeout(30):
        assert (await work).is_cancel_requested
    assert failures == 3
