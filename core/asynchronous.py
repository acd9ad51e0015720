"""REST views whose handlers are coroutines, for answers that are streamed.

They have the door, the limits, the parsers and the schema of every other view. What the REST
framework does itself is synchronous: it runs with the database work of the handler, in one hop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.views import APIView

from core.db import in_db
from core.families import as_app_error, error_response

T = TypeVar("T")


class AsyncView(APIView):
    """A handler is `async def post(self, request)`; it awaits `enter` before anything else."""

    async def enter(self, request: Request, work: Callable[[], T]) -> T:
        """Lets the caller in and does the database work, off the event loop. Raises as both do."""

        def entered() -> T:
            self.initial(request, *self.args, **self.kwargs)
            return work()

        return await in_db(entered)

    # The base class's is synchronous, and so is what it is declared to return.
    async def dispatch(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        self.args, self.kwargs = args, kwargs
        asked = self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        method = (request.method or "").lower()
        handler = self.http_method_not_allowed
        if method in self.http_method_names:
            handler = getattr(self, method, handler)
        try:
            for door in self.get_authenticators():
                # What is known without the database need not be asked there.
                if prepare := getattr(door, "prepare", None):
                    await prepare(request)
            if iscoroutinefunction(handler):
                response = await handler(asked, *args, **kwargs)
            else:
                response = await self.enter(asked, lambda: handler(asked, *args, **kwargs))
        except Exception as error:
            known = as_app_error(error)
            if known is None:
                raise
            return error_response(known, request)
        self.response = self.finalize_response(asked, response, *args, **kwargs)
        return self.response
