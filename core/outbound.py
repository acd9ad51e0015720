"""The guard of outbound connections: which addresses may be reached, decided when one connects.

The check sits where the connection is made, below the URL parser: the name is resolved, every
address it has must be public (or allowed by an operator), and the connection goes to an address
that was checked. Whoever opens a connection that a user can steer asks `checked_addresses` and
connects to what it gives, as `core.http` and `core.wire` do.
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
from functools import lru_cache

import httpx
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from core.db import in_db
from core.errors import OutboundRefused, ProviderError, ResponseTooLarge

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC = gettext_noop(
    "%(address)s is not a public address. An operator can allow it in the console under "
    "“Allowed private addresses” or with OUTBOUND_ALLOW."
)
OPERATOR_RULES_FRESH_S = 3.0

logger = logging.getLogger(__name__)


class Unresolved(OSError):
    """A name has no address, or a port cannot exist."""


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


async def checked_addresses(host: str, port: int) -> list[Address]:
    """The addresses of a name, every one of them allowed; connect to these and no others.

    Raises OutboundRefused if one is not allowed, Unresolved for a name without an address.
    """
    addresses = await _resolve(host, port)
    for address in addresses:
        await _check(address, host=host, port=port)
    return addresses


async def check_host(host: str, port: int) -> None:
    """Whether a connection would be allowed, without making it. Raises OutboundRefused.

    Raises ProviderError for a name that has no address. An answer for this moment only: whoever
    connects later is checked again.
    """
    try:
        await checked_addresses(host, port)
    except Unresolved:
        raise ProviderError(
            _("The name %(host)s has no address.") % {"host": host}, is_permanent=False
        ) from None


async def _resolve(host: str, port: int) -> list[Address]:
    if not 0 < port < 65536:
        # Nobody above looks at it; the socket would raise an error of its own kind.
        raise Unresolved(f"there is no port {port}")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unresolved(f"{host} cannot be resolved: {error}") from None
    addresses = (ipaddress.ip_address(entry[4][0]) for entry in found)
    return list(dict.fromkeys(getattr(each, "ipv4_mapped", None) or each for each in addresses))


# --- What every client shares ------------------------------------------------------------------


@lru_cache(maxsize=1)
def ssl_context() -> ssl.SSLContext:
    """Verifies servers by host name, offers HTTP/1.1. Kept: loading certificates takes its time."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


def too_large(limit_bytes: int) -> ResponseTooLarge:
    """The error for an answer beyond its cap."""
    text = _("The server's answer is larger than %(limit)d bytes.")
    return ResponseTooLarge(text % {"limit": limit_bytes})
