"""The transport of the asynchronous client."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, TypeVar

import httpx

from ai_video_assistant._operation import Operation, Upload, upload_of
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


class AsyncTransport:
    """Sends operations, and makes failures errors of this package."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient | None = None) -> None:
        self.settings = settings
        self._http = http or httpx.AsyncClient()
        self._is_own = http is None

    def with_settings(self, settings: Settings) -> AsyncTransport:
        """Another over the same connections."""
        return AsyncTransport(settings, self._http)

    def without_retries(self) -> AsyncTransport:
        """Another for who tries again in a way of their own."""
        return self.with_settings(dataclasses.replace(self.settings, max_retries=0))

    async def close(self) -> None:
        """Closes the connections that this one opened."""
        if self._is_own:
            await self._http.aclose()

    async def call(self, operation: Operation[T]) -> T:
        """The answer. Raises APIError, APIConnectionError, UnexpectedAnswerError."""
        async with self._answered(operation, _content) as (response, content):
            check_success(response, content)
            return operation.read(response.status_code, content)

    @asynccontextmanager
    async def events(
        self, operation: Operation[Any]
    ) -> AsyncIterator[AsyncIterator[ServerSentEvent] | None]:
        """The events of a stream; None where nothing more will come (204)."""
        async with self._answered(operation, _content_unless_stream) as answered:
            response, content = answered
            if content is None:
                async with aclosing(self._read_events(response)) as events:
                    yield events
                return
            check_success(response, content)
            operation.read(response.status_code, content)
            yield None

    async def _read_events(self, response: httpx.Response) -> AsyncGenerator[ServerSentEvent, None]:
        lines = EventLines()
        try:
            async for piece in response.aiter_bytes():
                for event in lines.feed(piece):
                    yield event
        except httpx.RequestError as error:
            raise translated(error, self.settings) from error

    @asynccontextmanager
    async def _answered(
        self,
        operation: Operation[Any],
        read: Callable[[httpx.Response, Deadline], Awaitable[C]],
    ) -> AsyncIterator[tuple[httpx.Response, C]]:
        """A response and what `read` makes of it, after as many attempts as may be."""
        response, content = await self._persist(operation, read)
        async with aclosing(response):
            yield response, content

    async def _persist(
        self,
        operation: Operation[Any],
        read: Callable[[httpx.Response, Deadline], Awaitable[C]],
    ) -> tuple[httpx.Response, C]:
        retries = Retries(self.settings.max_retries, operation.is_repeatable)
        uploads = await _uploads(operation)
        arguments = sent(operation, self.settings, uploads)
        while True:
            check_open(self._http)
            request = self._http.build_request(**arguments, timeout=pauses(self.settings))
            try:
                response, content = await self._attempt(request, read)
            except httpx.RequestError as error:
                wait_s = retries.after_failure(fate_of(error))
                if wait_s is None:
                    raise translated(error, self.settings) from error
            else:
                wait_s = retries.after_status(response.status_code, retry_after_of(response))
                if wait_s is None:
                    return response, content
                await response.aclose()
            await asyncio.sleep(wait_s)

    async def _attempt(
        self, request: httpx.Request, read: Callable[[httpx.Response, Deadline], Awaitable[C]]
    ) -> tuple[httpx.Response, C]:
        deadline = Deadline(self.settings.timeout_s)
        response = await self._http.send(request, stream=True)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(response.aclose)
            content = await read(response, deadline)
            undo.pop_all()
        return response, content


async def _content(response: httpx.Response, deadline: Deadline) -> bytes:
    pieces = []
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        deadline.check()
    return b"".join(pieces)


async def _content_unless_stream(response: httpx.Response, deadline: Deadline) -> bytes | None:
    if not is_event_stream(response):
        return await _content(response, deadline)
    allow_silence(response)
    return None


async def _uploads(operation: Operation[Any]) -> dict[str, Upload]:
    return {
        name: await asyncio.to_thread(upload_of, file) for name, file in operation.files.items()
    }


class AsyncResource:
    """A group of operations."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def _call(self, operation: Operation[T]) -> T:
        return await self._transport.call(operation)

    async def _pages(self, fetch: Callable[[int], Awaitable[Page[T]]]) -> AsyncIterator[T]:
        """All entries of a list that has numbered pages."""
        number, seen = 1, 0
        while True:
            page = await fetch(number)
            for entry in page:
                yield entry
            number, seen = number + 1, seen + len(page)
            if not page.items or seen >= page.total:
                return

    async def _offsets(self, fetch: Callable[[int], Awaitable[Page[T]]]) -> AsyncIterator[T]:
        """All entries of a list that is read from an offset on."""
        seen = 0
        while True:
            page = await fetch(seen)
            for entry in page:
                yield entry
            seen += len(page)
            if not page.items or seen >= page.total:
                return
