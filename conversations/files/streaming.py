"""Bytes that blocking code makes, as a body that an event loop can send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator


class Streamed:
    """Gives each piece as it is made, in a thread; what makes them is closed at any end.

    A response takes it as its content, and closes it also where nobody asked for a piece.
    """

    def __init__(
        self, pieces: Generator[bytes, None, None], release: Callable[[], None] | None = None
    ) -> None:
        self._pieces, self._release = pieces, release

    def close(self) -> None:
        self._pieces.close()
        if self._release is not None:
            self._release()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        making: asyncio.Task[bytes | None] | None = None
        try:
            while True:
                making = asyncio.create_task(asyncio.to_thread(next, self._pieces, None))
                piece = await asyncio.shield(making)
                if piece is None:
                    return
                yield piece
        finally:
            # The client may be gone while a thread is at work, and what it uses cannot be closed.
            if making is not None and not making.done():
                await asyncio.gather(making, return_exceptions=True)
            self.close()
