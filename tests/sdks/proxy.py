"""A network between client and server that a test can cut, and make silent. Over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Proxy:
    """Carries bytes both ways between whoever connects and one server."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._writers: list[asyncio.StreamWriter] = []
        self._flows_onward, self._flows_back = asyncio.Event(), asyncio.Event()
        self._flows_onward.set()
        self._flows_back.set()
        self._has_held = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.is_refusing = False
        self.connections = 0

    @property
    def open_connections(self) -> int:
        """Those that neither side has closed."""
        return len(self._tasks)

    @property
    def http_url(self) -> str:
        return f"http://localhost:{self.port}"

    def freeze(self, *, only_back: bool = False) -> None:
        """Nothing gets through any more, or only from client to server; and nobody is told."""
        self._flows_back.clear()
        if not only_back:
            self._flows_onward.clear()

    async def held(self) -> None:
        """Returns when something has not got through, which is lost with the next `cut`."""
        await self._has_held.wait()

    def cut(self) -> None:
        """Breaks all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._flows_onward.set()
        self._flows_back.set()
        self._has_held.clear()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        self.connections += 1
        onward = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers += [writer, onward[1]]
        for source, sink, flows in (
            (reader, onward[1], self._flows_onward),
            (onward[0], writer, self._flows_back),
        ):
            task = asyncio.create_task(self._pump(source, sink, flows))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flows: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(65536):
                if not flows.is_set():
                    self._has_held.set()
                await flows.wait()
                sink.write(piece)
                await sink.drain()
        sink.close()

    async def close(self) -> None:
        self.cut()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """A proxy of a server, which serves while the block runs."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.carry, "localhost", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
