"""Django's own middleware without threads.

On an asynchronous server Django runs each step of its synchronous middleware in a thread: some
fifteen hops before a view is reached and after it, each of which waits for its turn on a busy event
loop. These steps only look at headers and set some. The few that may do more, reading a form or
saving a session, still get their thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.locale import LocaleMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin

_Before = Callable[[HttpRequest], HttpResponseBase | None]
_After = Callable[[HttpRequest, HttpResponseBase], HttpResponseBase]
_AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class _Inline(MiddlewareMixin):
    """Runs both steps on the event loop, the second in a thread where it may block."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        before: _Before | None = getattr(self, "process_request", None)
        after: _After | None = getattr(self, "process_response", None)
        response = before(request) if before else None
        if response is None:
            get_response = cast(_AsyncGetResponse, self.get_response)
            response = await get_response(request)
        if after is None:
            return response
        if self.may_block(request):
            return await sync_to_async(after, thread_sensitive=True)(request, response)
        return after(request, response)

    def may_block(self, request: HttpRequest) -> bool:
        """Whether the step after the view may ask the database."""
        return False


class Security(_Inline, SecurityMiddleware):
    pass


class Session(_Inline, SessionMiddleware):
    def may_block(self, request: HttpRequest) -> bool:
        is_touched: bool = request.session.accessed or request.session.modified
        return is_touched or settings.SESSION_SAVE_EVERY_REQUEST


class Locale(_Inline, LocaleMiddleware):
    pass


class Common(_Inline, CommonMiddleware):
    pass


class Csrf(_Inline, CsrfViewMiddleware):
    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if self.async_mode:
            self.process_view = self._process_view  # type: ignore[method-assign,assignment]  # awaited, where the chain is asynchronous

    async def _process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        check = super().process_view
        if request.method in _SAFE_METHODS or getattr(view, "csrf_exempt", False):
            return check(request, view, args, kwargs)
        # The token may have to be read from a form.
        return await sync_to_async(check, thread_sensitive=True)(request, view, args, kwargs)


class Authentication(_Inline, AuthenticationMiddleware):
    pass


class Messages(_Inline, MessageMiddleware):
    def may_block(self, request: HttpRequest) -> bool:
        # What was not shown yet is kept, in part in the session.
        storage: Any = getattr(request, "_messages", None)
        return storage is not None and (storage.used or storage.added_new)


class XFrameOptions(_Inline, XFrameOptionsMiddleware):
    pass
