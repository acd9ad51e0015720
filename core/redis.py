"""Connections to Redis: one client per event loop, one for synchronous code."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import lru_cache
from typing import Any

import redis
import redis.asyncio
from django.conf import settings

from core.loops import PerLoop

# Redis answers in well under a millisecond; what takes longer is an outage, not a slow answer.
CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0
# Of a loop. A burst waits its turn for one of these: to connect costs far more than to ask.
MOST_CONNECTIONS = 32
_LOG_AGAIN_AFTER_S = 60.0

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
