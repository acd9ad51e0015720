"""Hints that a run's log has grown, sent through Redis to whoever waits for it.

A hint may be lost, and Redis may be away: readers then look into Postgres by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError

from core.loops import PerLoop
from core.redis import Outage, redis_async

logger = logging.getLogger(__name__)

_CHANNEL = "run:"
# Until Redis is tried again.
PAUSE_S = 1.0
_OUTAGE = Outage("readers of runs look for news three times a second")


class _Teller:
    """Sends the hints of one event loop, those of a moment together."""

    def __init__(self) -> None:
        self._grown: set[UUID] = set()
        self._task: asyncio.Task[None] | None = None

    def tell(self, run_id: UUID) -> None:
        self._grown.add(run_id)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send(), name="hints")

    async def _send(self) -> None:
        while self._grown:
            grown, self._grown = self._grown, set()
            try:
                async with redis_async().pipeline(transaction=False) as pipe:
                    for run_id in grown:
                        pipe.publish(f"{_CHANNEL}{run_id}", "")
                    await pipe.execute()
            except (RedisError, OSError) as error:
                _OUTAGE.report(error)
                await asyncio.sleep(PAUSE_S)

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


class _Listener:
    """The one subscription of an event loop, shared by all who wait on it."""

    def __init__(self) -> None:
        self._waiting: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._heard_of: set[UUID] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listening(self, run_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when the run's log has grown."""
        news = asyncio.Event()
        self._waiting[run_id].add(news)
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve(), name="listener")
        try:
            yield news
        finally:
            self._waiting[run_id].discard(news)
            if not self._waiting[run_id]:
                del self._waiting[run_id]
            self._changed.set()

    def hears(self, run_id: UUID) -> bool:
        """Whether a hint about the run would arrive."""
        return run_id in self._heard_of

    async def _serve(self) -> None:
        while self._waiting:
            try:
                async with redis_async().pubsub() as channel:
                    await self._listen(channel)
            except (RedisError, OSError) as error:
                _OUTAGE.report(error)
                self._heard_of.clear()
                await asyncio.sleep(PAUSE_S)

    async def _listen(self, channel: Any) -> None:
        """Subscribes to what is waited for, and hands on what comes, while somebody waits."""
        subscribed: set[UUID] = set()
        while self._waiting:
            self._changed.clear()
            wanted = set(self._waiting)
            if gone := subscribed - wanted:
                await channel.unsubscribe(*(f"{_CHANNEL}{run_id}" for run_id in gone))
                self._heard_of -= gone
            if new := wanted - subscribed:
                await channel.subscribe(*(f"{_CHANNEL}{run_id}" for run_id in new))
            subscribed = wanted
            await self._read(channel)
        self._heard_of.clear()

    async def _read(self, channel: Any) -> None:
        """Reads until somebody else is waited for."""
        while not self._changed.is_set():
            message = await channel.get_message(timeout=0.05)
            if message is None:
                continue
            run_id = UUID(message["channel"].removeprefix(_CHANNEL))
            if message["type"] == "subscribe":
                self._heard_of.add(run_id)
            # A subscription is news as well: what came before it was not heard.
            for news in self._waiting.get(run_id, ()):
                news.set()

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


_TELLERS: PerLoop[_Teller] = PerLoop(_Teller, _Teller.end)
_LISTENERS: PerLoop[_Listener] = PerLoop(_Listener, _Listener.end)


def tell(run_id: UUID) -> None:
    """Has readers of the run look for news. Returns at once; must be called on a loop."""
    _TELLERS.get().tell(run_id)


def listener() -> _Listener:
    """The running loop's subscription."""
    return _LISTENERS.get()
