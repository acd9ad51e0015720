"""Frames between two web processes: a kind, a length and so many bytes."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import struct

# More than a web server takes of a client, and than a call sends at once.
MAX_PAYLOAD_BYTES = 2**24
_HEADER = struct.Struct("!BI")


class Kind(enum.IntEnum):
    """What a frame is. TEXT and AUDIO go both ways, as a client's socket has them."""

    # To the session's process: whose client wants what.
    HANDOVER = 1
    # Its answer.
    TAKEN = 2
    REFUSED = 3
    TEXT = 4
    AUDIO = 5
    # From the session's process with the code for the client; to it, the client has left.
    CLOSE = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    payload: bytes = b""


class Pipe:
    """One end of a connection between two processes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def put(self, kind: Kind, payload: bytes = b"") -> None:
        """Sends a frame without waiting. Raises ConnectionError when the connection is closed."""
        if self._writer.is_closing():
            raise ConnectionResetError("the other process is gone")
        self._writer.write(_HEADER.pack(kind, len(payload)) + payload)

    async def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Sends a frame, and waits while the other side is slow. Raises ConnectionError."""
        self.put(kind, payload)
        await self._writer.drain()

    async def receive(self) -> Frame | None:
        """The next frame; None when the other side is gone, or speaks something else."""
        try:
            kind, length = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
            if length > MAX_PAYLOAD_BYTES:
                return None
            return Frame(Kind(kind), await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return None

    def close(self) -> None:
        """Sends what waits, and no more; `receive` ends at once."""
        if not self._writer.is_closing():
            self._writer.close()
            # The connection closes when all is sent, which the other side may prevent for ever.
            self._reader.feed_eof()
