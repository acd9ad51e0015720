"""What must happen before Django sees a request: it would write any body to disk, of any size."""

from __future__ import annotations

import io
from typing import Any

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
)
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.families import error_response
from core.middleware import HARD_BODY_LIMIT_BYTES, body_too_large


def with_told_addresses(app: Any) -> Any:
    """The application, which sees the clients that trusted proxies tell of in their place."""
    return ProxyHeadersMiddleware(app, trusted_hosts=settings.TRUSTED_PROXIES)


def limit_body(app: Any) -> ASGI3Application:
    """The application behind a cap on request bodies; the exact limits of views come later."""

    async def limited(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        if _announced_size(scope) > HARD_BODY_LIMIT_BYTES:
            await _refuse(scope, send)
            return
        counted = _Counted(receive, send)
        await app(scope, counted.receive, counted.send)
        if counted.is_over:
            await _refuse(scope, send)

    return limited


class _Counted:
    """Ends a body that grows too long as if the client had gone, and swallows the answer to it."""

    def __init__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self._receive = receive
        self._send = send
        self._size = 0
        self.is_over = False

    async def receive(self) -> ASGIReceiveEvent:
        event = await self._receive()
        if event["type"] == "http.request":
            self._size += len(event.get("body", b""))
            if self._size > HARD_BODY_LIMIT_BYTES:
                self.is_over = True
                return {"type": "http.disconnect"}
        return event

    async def send(self, event: ASGISendEvent) -> None:
        if not self.is_over:
            await self._send(event)


def _announced_size(scope: HTTPScope) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0


async def _refuse(scope: HTTPScope, send: ASGISendCallable) -> None:
    request = ASGIRequest(scope, io.BytesIO())
    response = error_response(body_too_large(limit=HARD_BODY_LIMIT_BYTES), request)
    headers = [(name.encode(), value.encode()) for name, value in response.items()]
    # The rest of the body is not read, so the connection is of no further use.
    headers += [(b"connection", b"close"), (b"content-length", b"%d" % len(response.content))]
    start: Any = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    await send(start)
    body: Any = {"type": "http.response.body", "body": response.content, "more_body": False}
    await send(body)
