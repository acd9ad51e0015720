"""Django's ASGI handler, without the two threads that it starts for every request.

Django sends its signals of a request's beginning and end from a thread that it makes for that
request, as connections to the database belong to threads. A request whose view is a coroutine has
none there: its database work happens in `core.db.in_db`, which gives its connections back by
itself. That thread cost more of a processor than all the middleware: 0.8 ms of a poll, beside 0.3.
Requests that did need a thread of their own, for a synchronous view, are ended in it, as before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import IO, Any

from asgiref.sync import SyncToAsync, sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix


class Handler(ASGIHandler):
    """Answers HTTP as Django's own does, down to the signals; only the threads differ."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            body: IO[bytes] = await self.read_body(receive)
        except RequestAborted:
            return
        try:
            set_script_prefix(get_script_prefix(scope))
            signals.request_started.send(sender=self.__class__, scope=scope)
            request, refused = self.create_request(scope, body)
            if refused is not None:
                await self.send_response(refused, send)
                await _in_its_thread(refused.close)
                return
            assert request is not None
            response = await self._answer(request, receive, send)
            await _in_its_thread(response.close if response else self._finished)
        finally:
            body.close()

    async def _answer(
        self, request: ASGIRequest, receive: Any, send: Any
    ) -> HttpResponseBase | None:
        """The response that was sent; None where the client left before there was any."""
        # The first to be looked at: an error in it must not end the request.
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        answering = asyncio.create_task(self._respond(request, send))
        try:
            await asyncio.wait((leaving, answering), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(answering)
            await _cancelled(leaving)
        if not leaving.cancelled() and not isinstance(leaving.exception(), RequestAborted):
            leaving.result()
        return None if answering.cancelled() else answering.result()

    async def _respond(self, request: ASGIRequest, send: Any) -> HttpResponseBase:
        response: HttpResponseBase = await self.run_get_response(request)
        # The client may leave meanwhile; the response is to be closed all the same.
        with contextlib.suppress(asyncio.CancelledError):
            await self.send_response(response, send)
        return response

    def _finished(self) -> None:
        signals.request_finished.send(sender=self.__class__)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Has the task end, and waits for it; what came of it stays with the task."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])


async def _in_its_thread(work: Callable[[], None]) -> None:
    """Runs it where the request's connections are: in the thread of the request, if it has one."""
    if SyncToAsync.thread_sensitive_context.get() in SyncToAsync.context_to_thread_executor:
        await sync_to_async(work)()
    else:
        work()
