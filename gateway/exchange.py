"""One request of a client and its answer, on ASGI's terms: no Django request is ever made of it."""

from __future__ import annotations

import asyncio
import codecs
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any

import msgspec
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
from django.utils import translation
from django.utils.translation import gettext as _

from core import leaving
from core.errors import AppError, PayloadTooLarge, Unavailable, UnsupportedMediaType
from core.families import Gateway
from core.ids import prefixed_id
from core.languages import asked_language

logger = logging.getLogger(__name__)
Headers = Iterable[tuple[bytes, bytes]]
# An error as an event of the stream, in the client's dialect.
ErrorEvent = Callable[[AppError], bytes]

MAX_BODY_BYTES = 50 * 2**20
# Of all bodies that are being read or answered in a process. More wait for nobody: they are told
# to come again, or four clients with pictures could take all memory.
MAX_BYTES_IN_FLIGHT = 256 * 2**20
# Bodies up to here come whole in ASGI's first event, and cost no more than any small request.
_SMALL_BYTES = 64 * 1024
# When a client has waited so long, somebody looks whether it is still there. Sooner would cost
# every short request a task.
_WATCH_AFTER_S = 0.05
# A client that takes nothing is looked at this often, and given up the second time: after a minute
# at least, and two at most.
_STALLED_AFTER_S = 60.0
# Of a whole answer that is written at once; the next is written when this is about to be taken.
_PIECE_BYTES = 256 * 1024

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
# Credentials come in headers that no browser adds by itself, so any page may ask. Others need not
# be told: each header of an answer is another microsecond.
CORS: tuple[tuple[bytes, bytes], ...] = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"request-id, x-request-id, retry-after, x-cache, x-ratelimit-limit-requests, "
        b"x-ratelimit-remaining-requests, x-ratelimit-reset-requests",
    ),
)


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Stopping(Exception):
    """The process is about to stop, and the answer would go on for longer."""


class BytesInFlight:
    """How much of a process's memory the bodies of requests take."""

    def __init__(self, limit: int = MAX_BYTES_IN_FLIGHT) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, size: int) -> None:
        """Raises Unavailable when it would be too much."""
        if self.taken + size > self.limit:
            raise Unavailable(
                _("Too many large requests are being answered at once."),
                code="overloaded",
                retry_after=1,
            )
        self.taken += size

    def count(self, size: int) -> None:
        """Takes what is there already. While that is too much, nothing large is let in."""
        self.taken += size

    def give_back(self, size: int) -> None:
        self.taken -= size


_in_flight = BytesInFlight()


class Exchange:
    """A request, and the one place where its answer is written.

    `answered` tells whether the answer's head has been sent; from then on errors are events of the
    stream. `extra` are headers that every answer to this request carries.
    """

    __slots__ = (
        "_error_event", "_held", "_receive", "_send", "answered", "extra", "headers", "is_gone",
        "method", "path", "pieces_begun", "pieces_done", "request_id", "started",
    )  # fmt: skip

    def __init__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        self.started = time.perf_counter()
        self.request_id = prefixed_id("req")
        self.method = scope["method"]
        self.path = scope["path"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.extra: list[tuple[bytes, bytes]] = []
        self.answered = False
        self.is_gone = False
        self._receive: Any = receive
        self._send: Any = send
        self._held = 0
        self._error_event: ErrorEvent | None = None
        # Of the answer. While they differ, the client has to take something first.
        self.pieces_begun = self.pieces_done = 0

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def elapsed_ms(self) -> float:
        """Since the request's head came."""
        return (time.perf_counter() - self.started) * 1000

    def speak(self) -> None:
        """Has messages in the language that the client asks for."""
        if (wanted := self.header(b"accept-language")) and (language := asked_language(wanted)):
            translation.activate(language)

    # --- Reading ---------------------------------------------------------------------------------

    def check_size(self) -> None:
        """Refuses by its announced length what is too large. Raises PayloadTooLarge."""
        announced = self.headers.get(b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > MAX_BODY_BYTES:
            raise _too_large()

    async def body(self) -> bytes | bytearray:
        """The whole body. Raises PayloadTooLarge, Unavailable, ClientGone."""
        encoding = self.headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b""):
            raise UnsupportedMediaType(_("Compressed request bodies are not understood."))
        event = await self._receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        if _in_flight.taken > _in_flight.limit:
            # Answers that nobody takes can be of small requests.
            _in_flight.take(0)
        first: bytes = event.get("body", b"")
        if not event.get("more_body", False):
            if len(first) > _SMALL_BYTES:
                self._hold(len(first))
            return first.removeprefix(codecs.BOM_UTF8)
        return await self._rest(first)

    async def _rest(self, first: bytes) -> bytearray:
        # Held as it comes: what was announced may never be sent.
        body = bytearray(first)
        while True:
            if len(body) > MAX_BODY_BYTES:
                raise _too_large()
            if len(body) > self._held:
                self._hold(len(body) - self._held)
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            body += event.get("body", b"")
            if not event.get("more_body", False):
                if body.startswith(codecs.BOM_UTF8):
                    del body[: len(codecs.BOM_UTF8)]
                return body

    def _hold(self, size: int) -> None:
        _in_flight.take(size)
        self._held += size

    def let_go(self) -> None:
        """Gives back what the body took of the process's share."""
        _in_flight.give_back(self._held)
        self._held = 0

    # --- Waiting ---------------------------------------------------------------------------------

    def watched(self) -> AbstractContextManager[None]:
        """Ends what is inside, with ClientGone, when the client leaves."""
        return _Watch(self, self._receive)

    @contextmanager
    def until_stopping(self) -> Iterator[None]:
        """Ends what is inside, with Stopping, when the process is told to stop."""
        owner = asyncio.current_task()
        assert owner is not None
        is_told = False

        def cancel() -> None:
            nonlocal is_told
            is_told = True
            owner.cancel()

        with leaving.told(cancel):
            try:
                yield
            except asyncio.CancelledError:
                # One who leaves in the same moment is told nothing.
                if not is_told or owner.uncancel():
                    raise
                raise Stopping from None

    # --- Answering -------------------------------------------------------------------------------

    async def json(self, body: bytes, *, status: int = 200, headers: Headers = ()) -> None:
        """Sends a whole answer."""
        size = len(body)
        if size > _PIECE_BYTES:
            _in_flight.count(size)
            self._held += size
        await self._start(
            status,
            [
                (b"content-type", JSON),
                (b"content-length", str(size).encode()),
                *headers,
            ],
        )
        if size > _PIECE_BYTES:
            rest = memoryview(body)
            while len(rest) > _PIECE_BYTES:
                await self.write(bytes(rest[:_PIECE_BYTES]))
                rest = rest[_PIECE_BYTES:]
            body = bytes(rest)
        await self._end(body)

    async def begin_stream(self, error_event: ErrorEvent) -> None:
        """Sends the head of a stream of events, and keeps how an error is said in it."""
        self._error_event = error_event
        await self._start(
            200,
            [
                (b"content-type", EVENT_STREAM),
                (b"cache-control", b"no-cache"),
                # Proxies would collect the stream before passing it on.
                (b"x-accel-buffering", b"no"),
            ],
        )

    async def write(self, piece: bytes) -> None:
        """Sends a piece of the stream; waits while the client reads slower than it is told."""
        self.pieces_begun += 1
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self.pieces_done += 1

    async def end_stream(self) -> None:
        self._error_event = None
        await self._end(b"")

    async def _end(self, piece: bytes) -> None:
        """Sends the last piece; it, too, waits until those before it are about to be taken."""
        self.pieces_begun += 1
        await self._send({"type": "http.response.body", "body": piece})
        self.pieces_done += 1

    async def break_off(self, error: AppError) -> None:
        """Ends the answer with an error: the last event of its stream, or else the whole of it."""
        if not self.answered:
            await self._fail(error)
        elif self._error_event is not None:
            await self.write(self._error_event(error))
            await self.end_stream()

    async def _fail(self, error: AppError) -> None:
        status = Gateway.status(error)
        headers = []
        if error.retry_after is not None:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if isinstance(error, PayloadTooLarge | Unavailable | UnsupportedMediaType):
            # The rest of the body may be unread, so the connection is of no further use.
            headers.append((b"connection", b"close"))
        body = msgspec.json.encode(Gateway.body_of(error, self.request_id))
        await self.json(body, status=status, headers=headers)

    async def no_content(self, headers: Headers) -> None:
        await self._start(204, [*headers])
        await self._end(b"")

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        own = self.request_id.encode()
        self.answered = True
        if b"origin" in self.headers:
            headers += CORS
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    *headers,
                    (b"request-id", own),
                    (b"x-request-id", own),
                    (b"x-content-type-options", b"nosniff"),
                    *self.extra,
                ],
            }
        )


class _Watch:
    """Cancels the task that answers when the client leaves or takes nothing of its answer any more,
    or the process is about to stop.

    Every request enters one: as a generator it would take three times as long. Answers that have
    begun see to the end of the process themselves.
    """

    __slots__ = (
        "_exchange", "_handle", "_has_cancelled", "_is_stopping", "_loop", "_owner", "_receive",
        "_seen_done", "_task", "_told",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, receive: Any) -> None:
        self._exchange = exchange
        self._receive = receive
        self._has_cancelled = False
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._told: ExitStack | None = None

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        owner = asyncio.current_task()
        assert owner is not None
        self._owner = owner
        self._handle = self._loop.call_later(_WATCH_AFTER_S, self._look)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._told is not None:
            self._told.close()
        if self._has_cancelled and isinstance(error, asyncio.CancelledError):
            self._owner.uncancel()
            raise (Stopping if self._is_stopping else ClientGone) from None

    def _look(self) -> None:
        self._told = ExitStack()
        self._told.enter_context(leaving.told(self._stop))
        self._task = self._loop.create_task(self._until_gone())
        self._seen_done = -1
        self._handle = self._loop.call_later(_STALLED_AFTER_S, self._look_at_pieces)

    def _look_at_pieces(self) -> None:
        begun, done = self._exchange.pieces_begun, self._exchange.pieces_done
        if begun != done == self._seen_done:
            logger.info("the client of %s takes nothing any more", self._exchange.request_id)
            self._give_up()
            return
        self._seen_done = done
        self._handle = self._loop.call_later(_STALLED_AFTER_S, self._look_at_pieces)

    def _stop(self) -> None:
        if not (self._exchange.answered or self._has_cancelled):
            self._is_stopping = self._has_cancelled = True
            self._owner.cancel()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._give_up()

    def _give_up(self) -> None:
        self._exchange.is_gone = True
        if not self._has_cancelled:
            self._has_cancelled = True
            self._owner.cancel()


def restarting() -> Unavailable:
    """What is told to whoever still waits when the process stops."""
    text = _("The service is being restarted; ask again.")
    return Unavailable(text, code="overloaded", retry_after=1)


def _too_large() -> PayloadTooLarge:
    text = _("The request body is too large; {limit} MB are possible.")
    return PayloadTooLarge(text.format(limit=MAX_BODY_BYTES // 2**20), code="request_too_large")
