"""Polls of tasks, in front of Django: a hundred clients that ask twice a second are most requests.

Only the plain case is answered here: a key that is good and has requests left, a task that may be
seen, nothing to wait for. Whatever else comes goes on to Django, where the same view says what is
wrong with it; here nothing is refused.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

from accounts.keyring import cached_key, key_for
from accounts.models import KEY_PREFIX, Scope
from accounts.polls import may_poll
from accounts.principals import Principal, credential_in
from conversations.api.tasks_runs import log_json
from conversations.runs import store
from core.db import in_db
from core.errors import AppError
from core.ids import prefixed_id
from core.languages import asked_language

_PREFIX = "/api/v1/tasks/"
_PATH = re.compile(_PREFIX + r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_QUERY = re.compile(rb"(?:from=([0-9]{1,18}))?")
# Who sends one of these wants more than a poll.
_NOT_PLAIN = frozenset({b"cookie", b"content-length", b"transfer-encoding"})


class _Poll(NamedTuple):
    task_id: str
    first: int
    credential: str
    language: str


def before(application: Any) -> ASGI3Application:
    """The application with the answers to plain polls in front of it."""

    async def routed(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        poll = _plain_poll(scope) if scope["type"] == "http" else None
        answer = None if poll is None else await _answer(poll)
        if poll is None or answer is None:
            await application(scope, receive, send)
        else:
            await _send(answer, poll.language, send)

    return routed


def _plain_poll(scope: HTTPScope) -> _Poll | None:
    """The poll that the request is, if it is one that can be answered here."""
    if not scope["path"].startswith(_PREFIX) or scope["method"] != "GET":
        return None
    path, query = _PATH.fullmatch(scope["path"]), _QUERY.fullmatch(scope["query_string"])
    sent = list(scope["headers"])
    headers = dict(sent)
    if not path or not query or len(headers) < len(sent) or not _is_plain(headers):
        return None
    try:
        credential = credential_in(_text(headers, b"authorization"), _text(headers, b"x-api-key"))
    except AppError:
        return None
    if credential is None or not credential.startswith(KEY_PREFIX):
        return None
    wanted = asked_language(_text(headers, b"accept-language") or "")
    return _Poll(path[1], int(query[1] or 0), credential, wanted or settings.LANGUAGE_CODE)


def _is_plain(headers: dict[bytes, bytes]) -> bool:
    """Whether it came to a host of ours as it should, with nothing beside the question."""
    if headers.keys() & _NOT_PLAIN:
        return False
    if settings.SECURE_SSL_REDIRECT and headers.get(b"x-forwarded-proto") != b"https":
        return False
    domain, _port = split_domain_port(_text(headers, b"host") or "")
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


async def _answer(poll: _Poll) -> bytes | None:
    """The body of the answer; None where it is for Django to say what is wrong."""
    try:
        record = cached_key(poll.credential) or await key_for(poll.credential)
        record.principal.require(Scope.TASKS)
        body = await in_db(_read, record.principal, poll)
    except (AppError, DatabaseError, InterfaceError):
        return None
    return body if await may_poll(record.principal) else None


def _read(principal: Principal, poll: _Poll) -> bytes:
    return log_json(store.read_as(principal, poll.task_id, first=poll.first))


async def _send(body: bytes, language: str, send: Any) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"allow", b"GET, HEAD, OPTIONS"),
        (b"vary", b"Accept-Language"),
        (b"content-language", language.encode()),
        (b"x-request-id", prefixed_id("req").encode()),
        *fixed_headers(),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@cache
def fixed_headers() -> tuple[tuple[bytes, bytes], ...]:
    """What Django's middleware adds to every answer of this installation."""
    request = HttpRequest()
    request.META["HTTP_X_FORWARDED_PROTO"] = "https"
    response: Any = HttpResponse()
    for middleware in (SecurityMiddleware, XFrameOptionsMiddleware):
        middleware(HttpResponse).process_response(request, response)
    del response.headers["Content-Type"]
    return tuple((name.lower().encode(), text.encode()) for name, text in response.items())
