"""The event loop of a worker process that carries out its tasks, many at once.

One thread, one loop: connections to vendors stay warm, and a task costs no thread. A wake-up tells
it to look for work; it looks by itself as well, so that a lost one costs seconds. What it has room
for it claims from Postgres, the oldest first.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from django.conf import settings
from django.db import Error as DatabaseFailure

from conversations import warming
from conversations.background import execution
from conversations.runs import processes, store
from conversations.runs.types import Claim
from core.db import in_db

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
# Of the time that a process is given to stop; what it cannot end by then the sweeper does.
STOP_WITHIN_S = 5.0


class Host:
    """Carries out tasks until it is stopped. `wake` and `stop` may be called from any thread."""

    def __init__(
        self,
        *,
        capacity: int,
        execute: Callable[[Claim], Coroutine[Any, Any, None]] = execution.execute,
        warm_up: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._capacity = capacity
        self._execute = execute
        self._warm_up = warm_up
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_up = threading.Event()
        self._news = asyncio.Event()
        self._is_stopping = False
        self._running: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="runs", daemon=True)

    def start(self) -> None:
        """Returns when it takes wake-ups."""
        self._thread.start()
        self._is_up.wait()

    def wake(self) -> None:
        """Has it look for work. Returns at once."""
        self._call(self._news.set)

    def stop(self) -> None:
        """Has it take no more, and hand on or end what it has. Returns at once."""
        self._call(self._stop)

    def join(self, timeout_s: float) -> bool:
        """Waits until it has stopped; False if time ran out."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(function)
            except RuntimeError:
                return  # It has stopped since.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_up.set()
        first = asyncio.create_task(self._warm_up(), name="warm up") if self._warm_up else None
        while not self._is_stopping:
            self._news.clear()
            await self._take_up()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._news.wait()
            except TimeoutError:
                pass
        if first is not None:
            first.cancel()
        await self._end_all()

    async def _take_up(self) -> None:
        """Claims what there is room for."""
        room = self._capacity - len(self._running)
        if room <= 0:
            return
        try:
            worker = processes.this_process()
            claims = await in_db(store.claim_waiting, limit=room, worker=worker)
        except DatabaseFailure as error:
            logger.warning("Waiting tasks cannot be read: %s", error)
            return
        except Exception:  # the outer edge of a look: without this loop its process would be deaf
            logger.exception("Waiting tasks cannot be taken up")
            return
        for claim in claims:
            task = asyncio.create_task(self._execute(claim), name=f"run {claim.run_id}")
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        was_full = len(self._running) >= self._capacity
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=error)
        if was_full:
            self._news.set()

    def _stop(self) -> None:
        self._is_stopping = True
        self._news.set()

    async def _end_all(self) -> None:
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=STOP_WITHIN_S)


async def _warm_up() -> None:
    """Loads what the first task would otherwise wait for."""
    await warming.warm_up(workers=False)


class _Only:
    """The host of this process, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._host: Host | None = None

    def get(self) -> Host:
        with self._lock:
            if self._host is None:
                self._host = Host(capacity=settings.RUN_CAPACITY, warm_up=_warm_up)
                self._host.start()
            return self._host

    def stop(self) -> None:
        if self._host is not None:
            self._host.stop()

    def join(self, timeout_s: float) -> None:
        if self._host is not None and not self._host.join(timeout_s):
            logger.error("Tasks are cut off: they could not be ended in time")


ONLY = _Only()
