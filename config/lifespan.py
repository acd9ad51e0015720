"""What a web process does when it begins to serve, and when it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from conversations import journal, warming
from core import leaving
from core.http import shared_client
from gateway.metering import meter
from realtime import back_door, pipeline, relay

# How many new objects make it worth while to look for garbage among them; some megabytes.
GARBAGE_OBJECTS = 10_000

Receive = Callable[[], Awaitable[dict[str, Any]]]
SendMessage = Callable[[dict[str, Any]], Awaitable[None]]


async def lifespan(scope: dict[str, Any], receive: Receive, send: SendMessage) -> None:
    """The ASGI lifespan: warm up before the first call, leave in order after the last."""
    await receive()
    await warm_up()
    _end_calls_before_exit(asyncio.get_running_loop())
    async with back_door.opened(), warming.kept_warm():
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await end_calls()
    await journal.flush()
    await send({"type": "lifespan.shutdown.complete"})


async def end_calls() -> None:
    """Ends what clients talk to, here or through here to another process."""
    await asyncio.gather(relay.stop_all(), pipeline.close_all())


async def warm_up() -> None:
    """Loads what the first call would otherwise wait for. A part that fails is only logged."""
    shared_client()
    # Writes what a process that was killed left on disk, whether anybody asks the gateway or not.
    meter()
    await warming.warm_up()
    # Collecting garbage among all that was loaded would stop every call for a quarter of a second.
    gc.collect()
    gc.freeze()
    # What a request leaves behind is mostly no cycle: to look every 700 objects, which is Python's
    # default, is a twelfth of what a request on the gateway takes.
    gc.set_threshold(GARBAGE_OBJECTS, 20, 50)


def _end_calls_before_exit(loop: asyncio.AbstractEventLoop) -> None:
    """Has streams end, and calls with "going away", first: the server would only cut them off."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        server_exit = signal.getsignal(number)
        if callable(server_exit):
            signal.signal(number, _Exit(loop, server_exit).on_signal)


class _Exit:
    """Ends what goes on at the first signal, then lets the server exit; a second exits at once."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        server_exit: Callable[[int, FrameType | None], Any],
    ) -> None:
        self._loop = loop
        self._server_exit = server_exit
        self._ending: asyncio.Task[None] | None = None
        self._is_told = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_told:
            self._server_exit(number, frame)
            return
        self._is_told = True
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        self._ending = self._loop.create_task(self._end(number))

    async def _end(self, number: int) -> None:
        leaving.tell()
        try:
            await end_calls()
        finally:
            self._server_exit(number, None)
