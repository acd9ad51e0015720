"""Connections to Redis: one client per event loop, one for synchronous code."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, TypeVar

import redis
import redis.asyncio
from django.conf import settings

from core.loops import PerLoop

# Redis answers in well under a millisecond; what takes longer is an outage, not a slow answer.
CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0
# Of a loop. A burst waits its turn for one of these: to connect costs far more than to ask.
MOST_CONNECTIONS = 32
# What a request waits at most for an answer that it can do without.
PROMPT_S = 0.5
_LOOK_EVERY_S = 0.25
_LOG_AGAIN_AFTER_S = 60.0

T = TypeVar("T")
logger = logging.getLogger(__name__)

AsyncRedis = redis.asyncio.Redis


class _Connection(redis.asyncio.connection.AbstractConnection):
    """Writes commands within the time-out, in the task that asks.

    redis-py has `asyncio.wait_for` do it, which costs a task per command, and before Python 3.12
    loses a cancellation that comes when the command was just written.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise redis.exceptions.TimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = limit_s


def _make_async() -> AsyncRedis:
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=MOST_CONNECTIONS,
        timeout=ANSWER_TIMEOUT_S,
        decode_responses=True,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
    )
    # With TLS or without, as the address says.
    pool.connection_class = type("Connection", (_Connection, pool.connection_class), {})
    return redis.asyncio.Redis.from_pool(pool)


async def _close_async(client: AsyncRedis) -> None:
    await client.aclose()


_ASYNC = PerLoop(_make_async, _close_async)


def redis_async() -> AsyncRedis:
    """The running loop's client; answers are text. It is closed together with the loop."""
    return _ASYNC.get()


@lru_cache(maxsize=1)
def redis_sync() -> redis.Redis:
    """The process's client for synchronous code; answers are text. Threads may share it."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
    )


class _Presence:
    """Whether Redis answers, as one event loop knows it."""

    def __init__(self) -> None:
        self._looking: asyncio.Task[None] | None = None

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        if self._looking is not None:
            raise redis.exceptions.ConnectionError("Redis is away")
        try:
            async with asyncio.timeout(PROMPT_S):
                return await question()
        except TimeoutError:
            self._look()
            raise redis.exceptions.TimeoutError("Redis did not answer promptly") from None
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            self._look()
            raise

    def _look(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._until_back())

    async def _until_back(self) -> None:
        client: Any = redis_async()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await client.ping()
            except (redis.exceptions.RedisError, OSError):
                continue
            self._looking = None
            return

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)


_PRESENCES = PerLoop(_Presence, _Presence.close)


async def promptly(question: Callable[[], Awaitable[T]]) -> T:
    """What Redis answers, for work that goes on without it.

    Raises RedisError after `PROMPT_S` at the latest, and at once while Redis is known to be away:
    whether it is back is looked at in the background, at nobody's expense.
    """
    return await _PRESENCES.get().ask(question)


class Outage:
    """Says once a minute that Redis is away, and what goes on without it."""

    def __init__(self, consequence: str) -> None:
        self._consequence = consequence
        self._logged_at = -_LOG_AGAIN_AFTER_S

    def report(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_AGAIN_AFTER_S:
            self._logged_at = now
            logger.error("Redis does not answer (%s): %s", type(error).__name__, self._consequence)
