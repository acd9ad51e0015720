"""The client of a loop: what many tasks at once, and cancelled ones, find."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import redis.exceptions
from redis.asyncio.connection import Connection

from core.redis import MOST_CONNECTIONS, promptly, redis_async


async def test_a_burst_waits_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    connects = []
    connect: Any = Connection.connect

    async def counted(self: Connection) -> None:
        connects.append(self)
        await connect(self)

    monkeypatch.setattr(Connection, "connect", counted)
    words = await asyncio.gather(*(redis_async().echo(str(number)) for number in range(300)))
    assert words == [str(number) for number in range(300)]
    assert len(set(connects)) <= MOST_CONNECTIONS


async def test_a_cancellation_is_never_lost() -> None:
    """However the command stands that is under way."""
    asked = 0

    async def ask_for_ever() -> None:
        nonlocal asked
        while True:
            await redis_async().ping()
            asked += 1

    for turns in range(300):
        task = asyncio.create_task(ask_for_ever())
        for _turn in range(turns % 30):
            await asyncio.sleep(0)
        task.cancel()
        done, _pending = await asyncio.wait([task], timeout=10)
        assert done, f"lost after {turns % 30} turns of the loop"
        with contextlib.suppress(asyncio.CancelledError):
            task.result()
    assert asked


async def test_a_server_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_arguments: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("core.redis.ANSWER_TIMEOUT_S", 0.5)
    await redis_async().ping()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.StreamWriter, "drain", never)
        with pytest.raises(redis.exceptions.TimeoutError, match="writing"):
            await redis_async().ping()
    assert await redis_async().ping()


class Away:
    """A Redis that says nothing until it is back."""

    def __init__(self) -> None:
        self.is_back = asyncio.Event()
        self.asked = 0

    async def ping(self) -> bool:
        self.asked += 1
        return await self.is_back.wait()


async def test_only_the_first_waits_for_a_redis_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.redis.PROMPT_S", 0.05)
    monkeypatch.setattr("core.redis._LOOK_EVERY_S", 0.01)
    away = Away()
    monkeypatch.setattr("core.redis.redis_async", lambda: away)
    with pytest.raises(redis.exceptions.TimeoutError):
        await promptly(away.ping)
    # Nobody else asks it anything, but for the one who looks whether it is back.
    for _number in range(3):
        with pytest.raises(redis.exceptions.ConnectionError):
            await promptly(away.ping)
    assert away.asked <= 2
    away.is_back.set()
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(redis.exceptions.RedisError):
                assert await promptly(away.ping)
                return
            await asyncio.sleep(0.01)


async def test_a_question_that_it_refuses_is_no_outage() -> None:
    client: Any = redis_async()
    with pytest.raises(redis.exceptions.ResponseError):
        await promptly(lambda: client.execute_command("NONSENSE"))
    assert await promptly(lambda: redis_async().echo("still there")) == "still there"
