"""The transport of the synchronous client."""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, TypeVar

import httpx

from ai_video_assistant._operation import Operation, upload_of
from ai_video_assistant._retries import Retries
from ai_video_assistant._settings import Settings
from ai_video_assistant._sse import EventLines, ServerSentEvent
from ai_video_assistant._transport.shared import (
    Deadline,
    allow_silence,
    check_open,
    check_success,
    fate_of,
    is_event_stream,
    pauses,
    retry_after_of,
    sent,
    translated,
)
from ai_video_assistant.pages import Page

T = TypeVar("T")
C = TypeVar("C")


class Transport:
    """Sends operations, and makes failures errors of this package."""

    def __init__(self, settings: Settings, http: httpx.Client | None = None) -> None:
        self.settings = settings
        self._http = http or httpx.Client()
        self._opened_by: Transport | None = None
        # Closes what nobody closed, at the latest when the program ends; but only what is our own.
        self._closing = None if http else weakref.finalize(self, self._http.close)

    def with_settings(self, settings: Settings) -> Transport:
        """Another over the same connections, which live as long as both."""
        other = Transport(settings, self._http)
        other._opened_by = self
        return other

    def without_retries(self) -> Transport:
        """Another for who tries again in a way of their own."""
        return self.with_settings(dataclasses.replace(self.settings, max_retries=0))

    def close(self) -> None:
        """Closes the connections that this one opened."""
        if self._closing is not None:
            self._closing()

    def call(self, operation: Operation[T]) -> T:
        """The answer. Raises APIError, APIConnectionError, UnexpectedAnswerError."""
        with self._answered(operation, _content) as (response, content):
            check_success(response, content)
            return operation.read(response.status_code, content)

    @contextmanager
    def events(self, operation: Operation[Any]) -> Iterator[Iterator[ServerSentEvent] | None]:
        """The events of a stream; None where nothing more will come (204)."""
        with self._answered(operation, _content_unless_stream) as answered:
            response, content = answered
            if content is None:
                with closing(self._read_events(response)) as events:
                    yield events
                return
            check_success(response, content)
            operation.read(response.status_code, content)
            yield None

    def _read_events(self, response: httpx.Response) -> Generator[ServerSentEvent, None, None]:
        lines = EventLines()
        try:
            for piece in response.iter_bytes():
                yield from lines.feed(piece)
        except httpx.RequestError as error:
            raise translated(error, self.settings) from error

    @contextmanager
    def _answered(
        self,
        operation: Operation[Any],
        read: Callable[[httpx.Response, Deadline], C],
    ) -> Iterator[tuple[httpx.Response, C]]:
        """A response and what `read` makes of it, after as many attempts as may be."""
        response, content = self._persist(operation, read)
        with closing(response):
            yield response, content

    def _persist(
        self,
        operation: Operation[Any],
        read: Callable[[httpx.Response, Deadline], C],
    ) -> tuple[httpx.Response, C]:
        retries = Retries(self.settings.max_retries, operation.is_repeatable)
        uploads = {name: upload_of(file) for name, file in operation.files.items()}
        arguments = sent(operation, self.settings, uploads)
        while True:
            check_open(self._http)
            request = self._http.build_request(**arguments, timeout=pauses(self.settings))
            try:
                response, content = self._attempt(request, read)
            except httpx.RequestError as error:
                wait_s = retries.after_failure(fate_of(error))
                if wait_s is None:
                    raise translated(error, self.settings) from error
            else:
                wait_s = retries.after_status(response.status_code, retry_after_of(response))
                if wait_s is None:
                    return response, content
                response.close()
            time.sleep(wait_s)

    def _attempt(
        self, request: httpx.Request, read: Callable[[httpx.Response, Deadline], C]
    ) -> tuple[httpx.Response, C]:
        deadline = Deadline(self.settings.timeout_s)
        response = self._http.send(request, stream=True)
        with ExitStack() as undo:
            undo.callback(response.close)
            content = read(response, deadline)
            undo.pop_all()
        return response, content


def _content(response: httpx.Response, deadline: Deadline) -> bytes:
    pieces = []
    for piece in response.iter_bytes():
        pieces.append(piece)
        deadline.check()
    return b"".join(pieces)


def _content_unless_stream(response: httpx.Response, deadline: Deadline) -> bytes | None:
    if not is_event_stream(response):
        return _content(response, deadline)
    allow_silence(response)
    return None


class Resource:
    """A group of operations."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _call(self, operation: Operation[T]) -> T:
        return self._transport.call(operation)

    def _pages(self, fetch: Callable[[int], Page[T]]) -> Iterator[T]:
        """All entries of a list that has numbered pages."""
        number, seen = 1, 0
        while True:
            page = fetch(number)
            yield from page
            number, seen = number + 1, seen + len(page)
            if not page.items or seen >= page.total:
                return

    def _offsets(self, fetch: Callable[[int], Page[T]]) -> Iterator[T]:
        """All entries of a list that is read from an offset on."""
        seen = 0
        while True:
            page = fetch(seen)
            yield from page
            seen += len(page)
            if not page.items or seen >= page.total:
                return
