"""Server-sent events: how they are written, and the response that carries them.

Back-pressure comes from the reader: the source is asked for more only while what it made before is
being read. A reader that takes nothing for `STALLED_S` counts as gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from django.http import StreamingHttpResponse

from core import leaving
from core.lines import one_line

PING = b": ping\n\n"
PING_EVERY_S = 15.0
# Of what is made and not yet read: enough to join many small pieces to one write.
ROOM_BYTES = 64 * 1024
STALLED_S = 60.0

CONTENT_TYPE = "text/event-stream; charset=utf-8"
# The last: nginx would gather the answer until it is complete.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def data(payload: Any, *, event: str | None = None, id: str | int | None = None) -> bytes:
    """One event: the payload as JSON on one line, behind its type and its id where it has them."""
    head = ("" if event is None else f"event: {event}\n") + ("" if id is None else f"id: {id}\n")
    # Half characters, which no encoding has, become question marks.
    return f"{head}data: {one_line(payload)}\n\n".encode(errors="replace")


class EventStream(StreamingHttpResponse):
    """A response whose pieces go out as they are, not through two more generators of Django's."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        super().__init__(pieces, content_type=CONTENT_TYPE, headers=HEADERS)
        self._pieces = pieces

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._pieces


def _nothing() -> bytes:
    return b""


def response(
    source: AsyncGenerator[bytes, None],
    *,
    ping_every_s: float | None = None,
    parting: Callable[[], bytes] = _nothing,
) -> EventStream:
    """The events as they come, with a comment while none does. Closes the source at any end."""
    every_s = ping_every_s or PING_EVERY_S
    return EventStream(kept_alive(source, ping_every_s=every_s, parting=parting))


async def kept_alive(
    source: AsyncGenerator[bytes, None],
    *,
    ping_every_s: float = PING_EVERY_S,
    parting: Callable[[], bytes] = _nothing,
) -> AsyncGenerator[bytes, None]:
    """What the source makes, joined where several pieces are ready; `PING` in every silence.

    The source runs in a task of its own: it is cancelled when the reader goes, and awaited. It is
    ended in the same way when the process is told to stop; `parting` is what the reader gets then.
    """
    pipe = _Pipe(ping_every_s)
    pump = asyncio.create_task(_pump(source, pipe))
    pump.add_done_callback(lambda _task: pipe.end())
    try:
        with leaving.told(pipe.end):
            while (piece := await pipe.read()) is not None:
                yield piece
        # Where the source was stopped by its own side, or by ours, this is its end.
        if not pump.done():
            if last := parting():
                yield last
        elif not pump.cancelled():
            pump.result()
    finally:
        pipe.close()
        pump.cancel()
        await asyncio.wait([pump])


async def _pump(source: AsyncGenerator[bytes, None], pipe: _Pipe) -> None:
    async with aclosing(source):
        async for piece in source:
            if pipe.add(piece):
                continue
            try:
                async with asyncio.timeout(STALLED_S):
                    await pipe.has_room()
            except TimeoutError:
                return


class _Pipe:
    """A few pieces between one writer and one reader of the same loop. Close it."""

    def __init__(self, ping_every_s: float) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_over = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._ping_every_s = ping_every_s
        # One timer for the whole stream: one for each wait would cost more than the wait.
        self._silent_since = self._loop.time()
        self._timer = self._loop.call_later(ping_every_s, self._ping)

    def add(self, piece: bytes) -> bool:
        """Takes the piece; False asks the writer to wait for room before the next."""
        self._pieces.append(piece)
        self._size += len(piece)
        _wake(self._reader)
        return self._size < ROOM_BYTES

    def end(self) -> None:
        self._is_over = True
        _wake(self._reader)

    def close(self) -> None:
        self._timer.cancel()

    async def has_room(self) -> None:
        self._writer = self._loop.create_future()
        await self._writer

    async def read(self) -> bytes | None:
        """All that is there, a ping where nothing comes for long, None behind the end."""
        if not self._pieces and not self._is_over:
            self._silent_since = self._loop.time()
            self._reader = self._loop.create_future()
            await self._reader
        if not self._pieces:
            return None if self._is_over else PING
        taken = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        _wake(self._writer)
        return taken

    def _ping(self) -> None:
        """Wakes a reader who has waited for long, and looks again when the next may have."""
        now = self._loop.time()
        if now >= self._silent_since + self._ping_every_s:
            _wake(self._reader)
            self._silent_since = now
        due = self._silent_since + self._ping_every_s
        self._timer = self._loop.call_at(due, self._ping)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
