"""The one guarded HTTP client: every outbound request that a user can steer goes through it.

The check (`core.outbound`) sits where the connection is made, below the URL parser. Other
spellings of an address, names that resolve inwards and redirects therefore all meet the same check,
and stored URLs are checked anew each time they are used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from core.errors import OutboundRefused, ResponseTooLarge
from core.loops import PerLoop
from core.outbound import (
    NOT_PUBLIC,
    OPERATOR_RULES_FRESH_S,
    Address,
    AllowRule,
    Unresolved,
    check_host,
    checked_addresses,
    configured_rules,
    forget_operator_rules,
    is_public,
    parse_rule,
    ssl_context,
    too_large,
    unwrap,
)
from core.pool import ConnectionPool

__all__ = [
    "NOT_PUBLIC",
    "OPERATOR_RULES_FRESH_S",
    "Address",
    "AllowRule",
    "OutboundRefused",
    "ResponseTooLarge",
    "check_host",
    "configured_rules",
    "forget_operator_rules",
    "guarded_client",
    "is_public",
    "parse_rule",
    "send_following_redirects",
    "shared_client",
    "too_large",
    "unwrap",
]

LEADS_ELSEWHERE = gettext_noop(
    "The server redirects the request to another address; what was sent is not sent on to it."
)
_MAX_REDIRECTS = 3
_READING_METHODS = frozenset({"GET", "HEAD"})
# What a redirect to another origin may take along; anything else could be somebody's secret.
_HARMLESS_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-length", "content-type", "host",
     "transfer-encoding", "user-agent"}
)  # fmt: skip


# --- Connecting --------------------------------------------------------------------------------


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await checked_addresses(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} could not be resolved in time") from None
        except Unresolved as error:
            raise httpcore.ConnectError(str(error)) from None
        return await self._connect_first(addresses, port, timeout, local_address, socket_options)

    async def _connect_first(
        self,
        addresses: list[Address],
        port: int,
        timeout: float | None,  # noqa: ASYNC109 - a share of httpcore's
        local_address: str | None,
        socket_options: Iterable[Any] | None,
    ) -> httpcore.AsyncNetworkStream:
        """The first address that accepts; the time is shared fairly by those still to be tried."""
        deadline = None if timeout is None else time.monotonic() + timeout
        failure: Exception | None = None
        for position, address in enumerate(addresses):
            left = None
            if deadline is not None:
                left = (deadline - time.monotonic()) / (len(addresses) - position)
            try:
                return await self._inner.connect_tcp(
                    str(address), port, left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("the name has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise OutboundRefused(_("Unix sockets cannot be reached."))

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport on a pool that connects through `GuardedBackend`."""

    def __init__(self, *, limits: httpx.Limits, max_response_bytes: int | None) -> None:
        super().__init__(verify=ssl_context(), trust_env=False)
        # httpx offers no way to pass a backend. The attribute is private, so httpx is pinned and
        # tests/core/test_http.py fails if the guard is ever bypassed.
        self._pool = ConnectionPool(
            ssl_context=ssl_context(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=GuardedBackend(),
        )
        self._max_response_bytes = max_response_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # A compressed answer could unfold to any size, and its small pieces would be delayed.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            await response.aclose()
            raise ResponseTooLarge(_("The server sent a compressed answer unasked."))
        if self._max_response_bytes is not None:
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _CappedStream(response.stream, self._max_response_bytes)
        return response


class _CappedStream(httpx.AsyncByteStream):
    """A response body that fails when it grows beyond its cap."""

    def __init__(self, inner: httpx.AsyncByteStream, cap_bytes: int) -> None:
        self._inner = inner
        self._cap_bytes = cap_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > self._cap_bytes:
                raise too_large(self._cap_bytes)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _no_cookies() -> CookieJar:
    """A jar that stays empty: a shared client must not carry one user's cookies to another."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def guarded_client(
    *,
    timeout_s: float,
    connect_timeout_s: float = 3,
    headers: dict[str, str] | None = None,
    max_response_bytes: int | None = None,
    limits: httpx.Limits | None = None,
) -> httpx.AsyncClient:
    """A client whose every connection is checked. Close it, or use it in `async with`.

    `timeout_s` bounds each wait (for the answer's start, for each further piece), not their sum;
    put `asyncio.timeout` around what needs a total. Raises OutboundRefused for an address
    that nobody allowed, ResponseTooLarge beyond the cap, and httpx's own errors. Redirects are not
    followed.
    """
    transport = GuardedTransport(
        limits=limits or httpx.Limits(), max_response_bytes=max_response_bytes
    )
    return httpx.AsyncClient(
        transport=transport,
        timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
        headers=headers,
        cookies=_no_cookies(),
        follow_redirects=False,
        trust_env=False,
    )


def _make_shared() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=200, keepalive_expiry=60)
    return guarded_client(timeout_s=60, limits=limits)


async def _close_shared(client: httpx.AsyncClient) -> None:
    await client.aclose()


_SHARED = PerLoop(_make_shared, _close_shared)


def shared_client() -> httpx.AsyncClient:
    """The running loop's client for model vendors: warm connections, never closed by its users.

    It has no cap of its own, which would cost every piece of every stream: `providers.clients`
    count what they read.
    """
    return _SHARED.get()


async def send_following_redirects(
    client: httpx.AsyncClient,
    request: httpx.Request,
    *,
    max_redirects: int = _MAX_REDIRECTS,
    stream: bool = False,
) -> httpx.Response:
    """Sends the request and follows redirects; another origin gets none of our secret headers.

    Nor does it get a body: a redirect that would take one there raises OutboundRefused. Every hop
    is checked like a first request. Raises httpx.TooManyRedirects.
    """
    for _hop in range(max_redirects + 1):
        response = await client.send(request, stream=stream, follow_redirects=False)
        following = response.next_request
        if following is None:
            return response
        await response.aclose()
        if _origin(following.url) != _origin(request.url):
            if following.method not in _READING_METHODS or _has_body(following):
                raise OutboundRefused(_(LEADS_ELSEWHERE))
            for name in [name for name in following.headers if name not in _HARMLESS_HEADERS]:
                del following.headers[name]
        request = following
    raise httpx.TooManyRedirects("too many redirects", request=request)


def _has_body(request: httpx.Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
