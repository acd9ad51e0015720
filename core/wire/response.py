"""An answer as its reader sees it: a head, and a body that comes in pieces."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from core.outbound import too_large
from core.wire.types import Headers, WireError

# A reader that is slower than its server has so much waiting here, and the rest at the server.
BUFFERED_BYTES = 262_144
_RESUMED_BYTES = BUFFERED_BYTES // 2


class Source(Protocol):
    """The connection that an answer comes from."""

    def expect(self, seconds: float) -> None:
        """Fails the answer unless something comes of it within so many seconds."""

    def expect_nothing(self) -> None:
        """Nobody waits for anything any more."""

    def pause(self) -> None:
        """Reads nothing more from the socket."""

    def resume(self) -> None:
        """Reads again."""

    def abandon(self, response: Response) -> None:
        """Closes the connection if it is still this answer's."""


class Response:
    """The answer to one request. Close it, or use it in `async with`.

    Iterating gives the body in the pieces in which it came, with the transfer coding taken off and
    nothing decompressed; it raises WireError when the body breaks off. At most one task reads it.
    A body that is complete has given its connection back; closing before that, or being cancelled
    in a read, closes the connection.
    """

    __slots__ = (
        "_buffered",
        "_failure",
        "_idle_s",
        "_is_complete",
        "_is_paused",
        "_loop",
        "_pieces",
        "_source",
        "_waiter",
        "headers",
        "status",
    )

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop, idle_s: float) -> None:
        # 0 until the head has come, which is before anybody but the connection has the answer.
        self.status = 0
        # In the order in which they came, names in lower case.
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self._source: Source | None = source
        self._loop = loop
        self._idle_s = idle_s
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._is_paused = False
        self._is_complete = False
        self._failure: WireError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header; `name` in lower case."""
        for each, value in self.headers:
            if each == name:
                return value
        return None

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises ResponseTooLarge, and closes, once it is longer than that."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > limit:
                await self.aclose()
                raise too_large(limit)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._is_complete:
                raise StopAsyncIteration
            if self._failure is not None:
                raise self._failure
            await self.change(self._idle_s)
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        if self._is_paused and self._buffered <= _RESUMED_BYTES:
            self._is_paused = False
            if self._source is not None:
                self._source.resume()
        return piece

    async def aclose(self) -> None:
        """Ends the answer; what was not read of it is lost. May be called again."""
        self._pieces.clear()
        self._buffered = 0
        if self._source is not None:
            self._source.abandon(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- For the connection --------------------------------------------------------------------

    @property
    def failure(self) -> WireError | None:
        """Why no more of the answer will come."""
        return self._failure

    async def change(self, seconds: float) -> None:
        """Waits until something has happened to the request; its failure is one such thing.

        Cancelled, it closes the connection.
        """
        source = self._source
        assert source is not None, "an answer that has ended does not change"
        source.expect(seconds)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            source.abandon(self)
            raise
        finally:
            self._waiter = None
            if self._source is source:
                source.expect_nothing()

    def wake(self) -> None:
        """Something has happened."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def begin(self, status: int, headers: Headers) -> None:
        """The head has come."""
        self.status = status
        self.headers = headers
        self.wake()

    def add(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self._buffered > BUFFERED_BYTES and not self._is_paused and self._source is not None:
            self._is_paused = True
            self._source.pause()
        self.wake()

    def end(self, failure: WireError | None = None) -> None:
        """No more will come. What has come can still be read."""
        self._source = None
        self._failure = failure
        self._is_complete = failure is None
        self.wake()
