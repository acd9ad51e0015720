"""The one guarded HTTP client: every outbound request that a user can steer goes through it.

The check sits where the connection is made, below the URL parser: the name is resolved, every
address it has must be public (or allowed by an operator), and the connection goes to an address
that was checked. Other spellings of an address, names that resolve inwards and redirects therefore
all meet the same check, and stored URLs are checked anew each time they are used.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from core.db import in_db
from core.errors import OutboundRefused, ProviderError, ResponseTooLarge
from core.loops import PerLoop
from core.pool import ConnectionPool

__all__ = [
    "AllowRule",
    "OutboundRefused",
    "ResponseTooLarge",
    "check_host",
    "guarded_client",
    "parse_rule",
    "send_following_redirects",
    "shared_client",
    "too_large",
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC = gettext_noop(
    "%(address)s is not a public address. An operator can allow it in the console under "
    "“Allowed private addresses” or with OUTBOUND_ALLOW."
)
LEADS_ELSEWHERE = gettext_noop(
    "The server redirects the request to another address; what was sent is not sent on to it."
)
OPERATOR_RULES_FRESH_S = 3.0
_MAX_REDIRECTS = 3
_READING_METHODS = frozenset({"GET", "HEAD"})
# What a redirect to another origin may take along; anything else could be somebody's secret.
_HARMLESS_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-length", "content-type", "host",
     "transfer-encoding", "user-agent"}
)  # fmt: skip

logger = logging.getLogger(__name__)


# --- Which addresses are allowed ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class AllowRule:
    """Private addresses that may be reached after all; on one port, or on all."""

    network: Network
    port: int | None

    def covers(self, address: Address, port: int) -> bool:
        return (self.port is None or self.port == port) and address in self.network


_RULE = re.compile(
    r"\[(?P<v6>[0-9a-fA-F:./]+)\](?:/(?P<v6bits>\d+))?(?::(?P<v6port>\d+))?"
    r"|(?P<plain6>[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(?:/(?P<plain6bits>\d+)(?::(?P<plain6port>\d+))?)?"
    r"|(?P<v4>[0-9.]+)(?:/(?P<v4bits>\d+))?(?::(?P<v4port>\d+))?"
)


def parse_rule(text: str) -> AllowRule:
    """A rule as `CIDR[:port]`; IPv6 with a port as `[CIDR]:port`. Raises ValueError."""
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected CIDR[:port], found {text!r}")
    groups = match.groupdict()
    kind = next(name for name in ("v6", "plain6", "v4") if groups[name])
    bits, port = groups[f"{kind}bits"], groups[f"{kind}port"]
    network = ipaddress.ip_network(groups[kind] + (f"/{bits}" if bits else ""), strict=False)
    if port is not None and not 0 < int(port) < 65536:
        raise ValueError(f"expected a port between 1 and 65535, found {port}")
    return AllowRule(network, int(port) if port else None)


@lru_cache(maxsize=16)
def _parse_rules(texts: tuple[str, ...]) -> tuple[AllowRule, ...]:
    return tuple(parse_rule(text) for text in texts)


def configured_rules() -> tuple[AllowRule, ...]:
    """The rules of `OUTBOUND_ALLOW`. Raises ImproperlyConfigured."""
    try:
        return _parse_rules(tuple(settings.OUTBOUND_ALLOW))
    except ValueError as error:
        raise ImproperlyConfigured(f"OUTBOUND_ALLOW: {error}") from None


@dataclasses.dataclass(slots=True)
class _OperatorRules:
    """What operators allowed in the console, read from the database every few seconds at most."""

    rules: tuple[AllowRule, ...] = ()
    read_at: float = float("-inf")

    async def current(self) -> tuple[AllowRule, ...]:
        if not settings.OUTBOUND_RULES_SOURCE:
            return ()
        if time.monotonic() - self.read_at > OPERATOR_RULES_FRESH_S:
            source = import_string(settings.OUTBOUND_RULES_SOURCE)
            try:
                texts = await in_db(lambda: tuple(source()))
            except DatabaseError:
                logger.exception("The outbound rules cannot be read; only OUTBOUND_ALLOW holds")
                return ()
            self.rules = _parse_rules(texts)
            self.read_at = time.monotonic()
        return self.rules


_operator_rules = _OperatorRules()


def forget_operator_rules() -> None:
    """Makes a change of the rules hold at once in this process."""
    _operator_rules.read_at = float("-inf")


_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_V4_COMPATIBLE = ipaddress.ip_network("::/96")


def unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that tunnels or maps to it, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _V4_COMPATIBLE and int(address) > 1:
        return ipaddress.IPv4Address(int(address))
    return address


def is_public(address: Address) -> bool:
    """Whether an (unwrapped) address belongs to the open internet."""
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or getattr(address, "is_site_local", False)
    )


async def _check(address: Address, *, host: str, port: int) -> None:
    inner = unwrap(address)
    if is_public(inner) or any(rule.covers(inner, port) for rule in configured_rules()):
        return
    if any(rule.covers(inner, port) for rule in await _operator_rules.current()):
        return
    # What a name of the inner network resolves to is for the operator only.
    logger.warning("Refused an outbound connection to %s port %d (%s)", host, port, inner)
    raise OutboundRefused(_(NOT_PUBLIC) % {"address": f"{host}:{port}"})


async def check_host(host: str, port: int) -> None:
    """Whether a connection would be allowed, without making it. Raises OutboundRefused.

    Raises ProviderError for a name that has no address. An answer for this moment only: whoever
    connects later is checked again.
    """
    try:
        addresses = await _resolve(host, port)
    except httpcore.ConnectError:
        raise ProviderError(
            _("The name %(host)s has no address.") % {"host": host}, is_permanent=False
        ) from None
    for address in addresses:
        await _check(address, host=host, port=port)


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
                addresses = await _resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} could not be resolved in time") from None
        for address in addresses:
            await _check(address, host=host, port=port)
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


async def _resolve(host: str, port: int) -> list[Address]:
    if not 0 < port < 65536:
        # Neither httpx nor anyio look at it; the socket would raise an error of its own kind.
        raise httpcore.ConnectError(f"there is no port {port}")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from None
    addresses = (ipaddress.ip_address(entry[4][0]) for entry in found)
    return list(dict.fromkeys(getattr(each, "ipv4_mapped", None) or each for each in addresses))


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    """Loading the certificates takes milliseconds; once a process is enough."""
    return httpx.create_ssl_context(trust_env=False)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport on a pool that connects through `GuardedBackend`."""

    def __init__(self, *, limits: httpx.Limits, max_response_bytes: int | None) -> None:
        super().__init__(verify=_ssl_context(), trust_env=False)
        # httpx offers no way to pass a backend. The attribute is private, so httpx is pinned and
        # tests/core/test_http.py fails if the guard is ever bypassed.
        self._pool = ConnectionPool(
            ssl_context=_ssl_context(),
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


def too_large(limit_bytes: int) -> ResponseTooLarge:
    """The error for an answer beyond its cap."""
    text = _("The server's answer is larger than %(limit)d bytes.")
    return ResponseTooLarge(text % {"limit": limit_bytes})


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
