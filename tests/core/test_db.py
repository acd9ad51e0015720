"""Database work from async code runs side by side and gives its connections back."""

from __future__ import annotations

import asyncio
import time

import pytest
from django.db import DatabaseError, connection
from django.utils import translation

from core.db import in_db


def sleep_in_db(seconds: float) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select 7 from pg_sleep(%s)", [seconds])
        row: tuple[int] = cursor.fetchone()
    return row[0]


@pytest.mark.django_db(transaction=True)
async def test_it_runs_calls_side_by_side() -> None:
    await asyncio.gather(*(in_db(sleep_in_db, 0.0) for _number in range(5)))  # connects
    start = time.monotonic()
    answers = await asyncio.gather(*(in_db(sleep_in_db, 0.2) for _number in range(5)))
    took_s = time.monotonic() - start
    assert answers == [7] * 5
    assert 0.2 <= took_s < 0.8  # one after the other would take 1.0 s


@pytest.mark.django_db(transaction=True)
async def test_it_leaves_the_loop_free() -> None:
    ticks = 0
    work = asyncio.create_task(in_db(sleep_in_db, 0.2))
    while not work.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert await work == 7
    assert ticks > 5


@pytest.mark.django_db(transaction=True)
async def test_it_raises_what_the_work_raises_and_works_on() -> None:
    def broken() -> None:
        with connection.cursor() as cursor:
            cursor.execute("select nonsense")

    for _number in range(20):
        with pytest.raises(DatabaseError):
            await in_db(broken)
    assert await in_db(sleep_in_db, 0.0) == 7


@pytest.mark.django_db(transaction=True)
async def test_it_keeps_no_connection_after_its_work() -> None:
    def backends() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and state = 'idle in transaction'"
            )
            row: tuple[int] = cursor.fetchone()
        return row[0]

    await asyncio.gather(*(in_db(sleep_in_db, 0.01) for _number in range(40)))
    assert await in_db(backends) == 0


async def test_it_works_in_the_language_of_its_caller() -> None:
    with translation.override("zh-hans"):
        assert await in_db(translation.get_language) == "zh-hans"
    with translation.override("en"):
        assert await in_db(translation.get_language) == "en"
