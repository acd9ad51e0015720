"""One connection: a request after another is written to it, and the answers are read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, cast

import httptools

from core.wire.response import Response
from core.wire.types import ConnectionLost, Headers, Stage, Timeouts, WireError

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 200
# A large piece of a request is handed to the transport in slices of this size, without copying.
_SLICE_BYTES = 262_144
_NEVER = float("inf")
# Event loops round their timers to milliseconds.
_TICK_S = 0.002
_BODILESS = frozenset({204, 304})
_TOO_LARGE = "the head of the answer is too large"


class Owner(Protocol):
    """Who lends connections to requests."""

    def released(self, connection: Connection) -> None:
        """The connection has done its request and can take another."""

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""


class Connection(asyncio.Protocol):
    """A connection to one origin, for one request at a time.

    It holds the state of the transport and of the parser; what has come of an answer is in the
    `Response`, which it lets go of as soon as the answer is complete or has failed. One timer
    serves all waits: a new deadline only changes a number, unless it is earlier than the timer.
    """

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._response: Response | None = None
        self.is_reused = False
        # Whether anything of the current answer has come.
        self.has_answered = False
        self._is_head_request = False
        self._is_sending = False
        self._is_write_paused = False
        self._is_read_paused = False
        self._begin_message()
        self._deadline = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER

    def _begin_message(self) -> None:
        self._headers: Headers = []
        # Bytes that brought nothing of a body: heads, extensions of chunks, trailers.
        self._barren_bytes = 0
        self._bodies: list[bytes] = []
        self._has_head = False
        self._status = 0
        self._is_parsed = False
        self._can_stay = False
        self._flaw = ""

    @property
    def is_open(self) -> bool:
        """Whether a request can be written to it."""
        return self._transport is not None and not self._transport.is_closing()

    # --- A request ------------------------------------------------------------------------------

    async def exchange(
        self, writes: Sequence[bytes | memoryview], *, is_head: bool, timeouts: Timeouts
    ) -> Response:
        """Writes the request and gives the answer once its head has come. Raises WireError.

        The head may come while the request is still being written; the rest is not sent then.
        """
        response = self._response = Response(self, self._loop, timeouts.idle_s)
        self.has_answered = False
        self._is_head_request = is_head
        transport = self._transport
        if transport is None or transport.is_closing():
            self._fail(ConnectionLost("the connection was closed", stage="send"))
        elif len(writes) == 1 and not self._is_write_paused:
            transport.write(writes[0])
        else:
            await self._write(transport, response, writes, timeouts.write_s)
        while not response.status and response.failure is None:
            await response.change(timeouts.head_s)
        if not response.status and response.failure is not None:
            raise response.failure
        return response

    async def _write(
        self,
        transport: asyncio.Transport,
        response: Response,
        writes: Sequence[bytes | memoryview],
        write_s: float,
    ) -> None:
        self._is_sending = True
        for piece in writes:
            for start in range(0, len(piece), _SLICE_BYTES):
                transport.write(memoryview(piece)[start : start + _SLICE_BYTES])
                while self._is_write_paused and not response.status and response.failure is None:
                    await response.change(write_s)
                if response.status or response.failure is not None:
                    return
        self._is_sending = False

    @property
    def _stage(self) -> Stage:
        if self._has_head:
            return "body"
        return "send" if self._is_sending else "head"

    # --- For the answer -------------------------------------------------------------------------

    def pause(self) -> None:
        """Reads nothing more from the socket: the reader of the answer is slow."""
        if self._transport is not None and not self._transport.is_closing():
            self._is_read_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._is_read_paused:
            self._is_read_paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def abandon(self, response: Response) -> None:
        """Closes the connection, if it is still this answer's."""
        if self._response is response:
            self._fail(WireError("the answer was closed", stage=self._stage))

    # --- For the pool ---------------------------------------------------------------------------

    def rest(self, seconds: float) -> None:
        """Idle from now on: closed after so long, or at the first thing that comes."""
        self.is_reused = True
        self.expect(seconds)

    def abort(self) -> None:
        """Closes at once. May be called again."""
        self._disarm()
        if self._transport is not None:
            self._transport.abort()

    def break_off(self) -> None:
        """Closes at once; an answer that is under way fails."""
        self._fail(WireError("the client was closed", stage=self._stage))

    # --- Time -----------------------------------------------------------------------------------

    def expect(self, seconds: float) -> None:
        """Something has to happen within so many seconds."""
        at = self._deadline = self._loop.time() + seconds
        if self._timer is None or at < self._timer_at:
            self._arm(at)

    def expect_nothing(self) -> None:
        """Nobody waits; the timer finds that out by itself."""
        self._deadline = _NEVER

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._tick)

    def _disarm(self) -> None:
        self._deadline = _NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        if self._deadline == _NEVER:
            return
        if self._deadline - self._loop.time() > _TICK_S:
            self._arm(self._deadline)
        else:
            self._fail(WireError("the server was silent", stage=self._stage, is_timeout=True))

    # --- Called by the transport ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opened, with TLS where it is wanted."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def pause_writing(self) -> None:
        """The server takes less than is written."""
        self._is_write_paused = True

    def resume_writing(self) -> None:
        """The server has taken what was written."""
        self._is_write_paused = False
        if self._response is not None:
            self._response.wake()

    def data_received(self, data: bytes) -> None:
        """Something of the answer, or something that nobody asked for."""
        response, parser = self._response, self._parser
        if response is None or parser is None:
            self.abort()
            return
        self.has_answered = True
        had_head = self._has_head
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # What follows a complete answer on a connection that ends is of no interest.
            self._can_stay = False
            if not self._is_parsed:
                self._flaw = self._flaw or "the server sent what is no HTTP"
        if self._bodies or self._is_parsed:
            # Only a read that is larger than a head may be can have brought one that is too large.
            if not had_head and self._barren_bytes + len(data) > MAX_HEAD_BYTES:
                self._weigh_head()
            self._barren_bytes = 0
        else:
            self._barren_bytes += len(data)
            if self._barren_bytes > MAX_HEAD_BYTES:
                self._flaw = self._flaw or _TOO_LARGE
        if self._flaw:
            self._has_head = had_head
            self._fail(WireError(self._flaw, stage=self._stage))
            return
        self._hand_over(response, had_head=had_head)

    def _weigh_head(self) -> None:
        if sum(len(name) + len(value) for name, value in self._headers) > MAX_HEAD_BYTES:
            self._flaw = self._flaw or _TOO_LARGE

    def _hand_over(self, response: Response, *, had_head: bool) -> None:
        """What a read brought, to the answer and its reader."""
        if self._has_head and not had_head:
            response.begin(self._status, self._headers)
        if self._bodies:
            bodies = self._bodies
            response.add(bodies[0] if len(bodies) == 1 else b"".join(bodies))
            self._bodies = []
        if self._is_parsed:
            self._finish(response)

    def _finish(self, response: Response) -> None:
        """The answer is complete; the connection takes another request, if both sides can."""
        transport = self._transport
        assert transport is not None
        can_stay = (
            self._can_stay
            and not self._is_sending
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )
        if self._is_head_request or response.status in _BODILESS:
            self._parser = httptools.HttpResponseParser(self)
        self._response = None
        self._begin_message()
        self._deadline = _NEVER
        response.end()
        if can_stay:
            self.resume()
            self._owner.released(self)
        else:
            self.abort()

    def _fail(self, error: WireError) -> None:
        """The first failure is the one that counts."""
        response, self._response = self._response, None
        if response is not None:
            response.end(error)
        self.abort()

    def eof_received(self) -> None:
        """The server has said all. That is the end of a body which has no other."""
        response = self._response
        if response is not None and self._has_head and _ends_with_connection(response):
            self._can_stay = False
            self._finish(response)
        else:
            self._lose()

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by whomever. Also ends the cycles of references."""
        self._lose()
        self._parser = None
        self._transport = None
        self._owner.lost(self)

    def _lose(self) -> None:
        self._fail(ConnectionLost("the server closed the connection", stage=self._stage))

    # --- Called by the parser -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A second answer to one request is none."""
        if self._is_parsed:
            self._can_stay = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is dropped."""
        if not self._has_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The end of a head, which may be one that only announces another."""
        if self._has_head:
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                self._flaw = "the server changed the protocol unasked"
            self._headers.clear()
            return
        if len(self._headers) > MAX_HEADERS:
            self._flaw = _TOO_LARGE
        self._has_head = True
        self._status = status
        self._can_stay = self._parser.should_keep_alive()
        if self._is_head_request or status in _BODILESS:
            self._is_parsed = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body, the transfer coding taken off."""
        if self._is_parsed:
            self._can_stay = False
        else:
            self._bodies.append(body)

    def on_message_complete(self) -> None:
        """The end of an answer."""
        if self._has_head:
            self._is_parsed = True


def _ends_with_connection(response: Response) -> bool:
    codings = b",".join(value for name, value in response.headers if name == b"transfer-encoding")
    if codings:
        return codings.rpartition(b",")[2].strip().lower() != b"chunked"
    return response.header(b"content-length") is None
