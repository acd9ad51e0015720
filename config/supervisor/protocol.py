"""How web processes speak HTTP: as uvicorn does, but with a whole answer in one write."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol; the head of an answer leaves together with its body.

    Two writes are two system calls here and wake the client twice, which takes longer than
    anything else in a small answer.
    """

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.transport = cast(asyncio.Transport, OneWrite(cycle))
        super()._start_asgi_task(cycle, app)


# Instead of a head that was held back, and behind which no body came.
_BROKEN = (
    b"HTTP/1.1 500 Internal Server Error\r\n"
    b"content-type: text/plain; charset=utf-8\r\n"
    b"content-length: 21\r\n"
    b"connection: close\r\n"
    b"\r\n"
    b"Internal Server Error"
)


class OneWrite:
    """A cycle's transport, which holds the head back until the body follows in the next event.

    A stream's head goes at once: what follows it may take its time. Then the cycle has its own
    transport again.
    """

    __slots__ = ("_cycle", "_head", "_transport", "is_closing")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        transport = cycle.transport
        self._cycle = cycle
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """What the cycle writes: perhaps "100 Continue", the head, and the body's first piece."""
        cycle, transport = self._cycle, self._transport
        if not cycle.response_started:
            transport.write(data)
        elif self._head:
            cycle.transport = transport
            transport.writelines((self._head, data))
        elif self._has_body():
            self._head = data
        else:
            cycle.transport = transport
            transport.write(data)

    def close(self) -> None:
        """The application broke: the client is told, where it does not know of a good answer."""
        if self._head and not self.is_closing():
            self._transport.write(_BROKEN)
        self._transport.close()

    def _has_body(self) -> bool:
        cycle = self._cycle
        is_whole = cycle.chunked_encoding is False and cycle.expected_content_length > 0
        return is_whole and cycle.scope["method"] != "HEAD"
