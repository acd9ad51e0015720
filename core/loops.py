"""Event loops: resources that belong to one, and how synchronous code waits for what runs on one.

Connection pools must not be shared between loops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

from asgiref.sync import async_to_sync

from core.db import release_connections

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One `T` per event loop, made at first use and closed when that loop shuts down.

    Closing rides on the loop's own shutdown of asynchronous generators, which `asyncio.run`,
    uvicorn and pytest-asyncio all perform, so that nobody has to remember it.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        # The generator holds its loop anyway, so a weak key would only make looking it up dearer.
        self._held: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]] = {}

    def get(self) -> T:
        """The running loop's resource. Must be called on a loop."""
        loop = asyncio.get_running_loop()
        if (held := self._held.get(loop)) is None:
            resource = self._make()
            held = self._held[loop] = resource, self._hold(resource)
            _start(held[1])
        return held[0]

    async def _hold(self, resource: T) -> AsyncGenerator[None, None]:
        loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            self._held.pop(loop, None)
            await self._close(resource)


def _start(generator: AsyncGenerator[None, None]) -> None:
    """Runs a generator up to its first yield, which registers it with the running loop."""
    step = generator.__anext__()
    try:
        step.__await__().send(None)
    except StopIteration:
        return
    raise RuntimeError("the generator awaited something before its first yield")


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def wait_for(work: Awaitable[T]) -> T:
    """Waits for async work from synchronous code.

    Under the web server it runs on the server's own loop, with that loop's warm connections;
    anywhere else on a loop made for it, whose end closes what was opened. A vendor may take a
    minute: meanwhile no connection to the database is held, except by an open transaction.
    """
    release_connections()
    run: Any = async_to_sync(_awaited)
    return cast(T, run(work))
