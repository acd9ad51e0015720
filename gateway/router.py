"""The door of `/v1`: in front of Django, so that a request costs what its answer costs.

No middleware runs, no thread is changed, no query is made: what the checks need is in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope
from django.utils.translation import gettext as _

from accounts.keyring import KeyRecord, cached_key, key_for
from accounts.models import Scope
from accounts.principals import credential_in, no_credential
from core.errors import AppError, MethodNotAllowed, RateLimited, RouteNotFound
from core.families import Gateway
from gateway import catalogue, chat, counting, embeddings, metrics
from gateway.dialects.table import CHAT_COMPLETIONS, MESSAGES
from gateway.exchange import ClientGone, Exchange, Stopping, restarting
from gateway.quotas import Admission, quotas
from gateway.request import GatedRequest
from gateway.types import Endpoint

logger = logging.getLogger(__name__)

PREFIX = "/v1/"
_MODEL = "/v1/models/"

Answer = Callable[[GatedRequest], Awaitable[None]]


async def _messages(request: GatedRequest) -> None:
    await chat.answer(request, MESSAGES)


async def _chat_completions(request: GatedRequest) -> None:
    await chat.answer(request, CHAT_COMPLETIONS)


# What costs tokens, and is counted.
POSTS: Mapping[str, tuple[Endpoint, Answer]] = {
    "/v1/messages": ("messages", _messages),
    "/v1/messages/count_tokens": ("count_tokens", counting.answer),
    "/v1/chat/completions": ("chat_completions", _chat_completions),
    "/v1/embeddings": ("embeddings", embeddings.answer),
}


def before(application: Any) -> ASGI3Application:
    """The application with the gateway in front of it."""

    async def routed(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await serve(scope, receive, send)
        else:
            await application(scope, receive, send)

    return routed


async def serve(scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answers one request, whatever happens. The outermost edge of the gateway."""
    exchange = Exchange(scope, receive, send)
    try:
        await _answer(exchange)
    except AppError as error:
        await exchange.break_off(error)
    except ClientGone:
        pass
    except asyncio.CancelledError:
        # The client's leaving may be noticed just when the answer was done.
        if not exchange.is_gone:
            raise
    except Exception:
        logger.exception("request %s failed", exchange.request_id)
        await exchange.break_off(_unexpected())
    finally:
        exchange.let_go()


def _unexpected() -> AppError:
    return AppError(_("Something went wrong on our side."), code="internal_error")


async def _answer(exchange: Exchange) -> None:
    exchange.speak()
    if exchange.method == "OPTIONS":
        await _preflight(exchange)
        return
    try:
        path, post = _aim(exchange)
        record = await _key(exchange)
        await _admit(exchange, record)
    except AppError as error:
        metrics.refused(Gateway.status(error))
        raise
    if post is None:
        await catalogue.answer(exchange, record, path.removeprefix(_MODEL))
        return
    endpoint, answer = post
    await counted(GatedRequest.of(exchange, record, endpoint), answer)


def _aim(exchange: Exchange) -> tuple[str, tuple[Endpoint, Answer] | None]:
    """What is asked for, without a slash at its end; None: of the list of models."""
    path = exchange.path.rstrip("/")
    post = POSTS.get(path)
    is_list = path == "/v1/models" or path.startswith(_MODEL)
    if post is None and not is_list:
        raise RouteNotFound(_("There is no such path in this API."))
    if exchange.method != ("GET" if is_list else "POST"):
        exchange.extra.append((b"allow", b"GET" if is_list else b"POST"))
        raise MethodNotAllowed(_("This path does not take that method."))
    exchange.check_size()
    return path, post


async def counted(request: GatedRequest, answer: Answer) -> None:
    """The answer, with what it took put down however it ends."""
    try:
        await answer(request)
    except AppError as error:
        request.fail(error)
        request.close()
        raise
    except (ClientGone, asyncio.CancelledError):
        request.close(is_aborted=True)
        raise
    except Stopping:
        unavailable = restarting()
        request.fail(unavailable)
        request.close()
        raise unavailable from None
    except Exception:
        request.fail(_unexpected())
        raise
    finally:
        request.close()


async def _key(exchange: Exchange) -> KeyRecord:
    credential = credential_in(exchange.header(b"authorization"), exchange.header(b"x-api-key"))
    if credential is None:
        raise no_credential()
    record = cached_key(credential) or await key_for(credential)
    record.principal.require(Scope.GATEWAY)
    return record


async def _admit(exchange: Exchange, record: KeyRecord) -> None:
    try:
        admission = quotas().try_enter(record) or await quotas().enter(record)
    except RateLimited as error:
        metrics.limited(error.error_code)
        if known := quotas().known(record):
            exchange.extra += _limits(known)
        raise
    exchange.extra += _limits(admission)


def _limits(admission: Admission) -> list[tuple[bytes, bytes]]:
    """What both kinds of clients read of their limit, in answers and in refusals."""
    limit, remaining = b"%d" % admission.limit, b"%d" % admission.remaining
    return [
        (b"x-ratelimit-limit-requests", limit),
        (b"x-ratelimit-remaining-requests", remaining),
        (b"x-ratelimit-reset-requests", b"%ds" % admission.reset_s),
        (b"anthropic-ratelimit-requests-limit", limit),
        (b"anthropic-ratelimit-requests-remaining", remaining),
    ]


async def _preflight(exchange: Exchange) -> None:
    asked = exchange.headers.get(b"access-control-request-headers", b"*")
    await exchange.no_content(
        [
            (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", b"86400"),
        ]
    )
