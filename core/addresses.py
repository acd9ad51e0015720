"""What can be said of an outbound address when it is entered, before anybody connects to it.

A name may point anywhere, and elsewhere tomorrow: `core.http` decides at every connection. But an
address that is private as it stands can be refused at once, where its field can be named.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit

import httpx
from django.conf import settings
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from core.errors import InvalidRequest
from core.http import NOT_PUBLIC, Address, configured_rules, is_public, parse_rule, unwrap

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Placeholders, and what names an interface of this machine.
_NEVER_IN_HOSTS = frozenset("{}%")
_LOOPBACK = ipaddress.ip_address("127.0.0.1")


def checked_address(text: str, *, param: str) -> str:
    """The http(s) address without space around it; an empty text stays empty.

    Raises InvalidRequest naming `param` for what is no such address, for one that hides where it
    leads (user names, backslashes), and for one that is private as it stands, in whichever
    spelling, unless an operator allowed it.
    """
    url = text.strip()
    if not url:
        return ""
    parts = _split(url)
    if parts is None:
        raise InvalidRequest(_("Expected an address such as https://host/path."), param=param)
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
    literal = literal_address(host)
    if literal is not None and not _may_be_reached(unwrap(literal), port):
        raise InvalidRequest(_(NOT_PUBLIC) % {"address": f"{host}:{port}"}, param=param)
    return url


def _split(url: str) -> SplitResult | None:
    """The parts of a plain address, None for any other text."""
    if "\\" in url or any(letter.isspace() or not letter.isprintable() for letter in url):
        return None
    try:
        parts = urlsplit(url)
        # Reading the port is what finds out that it is not a number.
        port = parts.port
        # The parser that connects must see the same host.
        host = httpx.URL(url).raw_host.decode("ascii")
    except (ValueError, httpx.InvalidURL):
        return None
    is_plain = parts.scheme in _DEFAULT_PORTS and "@" not in parts.netloc and not parts.fragment
    if not is_plain or not parts.hostname or port == 0 or set(parts.netloc) & _NEVER_IN_HOSTS:
        return None
    is_same = host.lower() == parts.hostname or not parts.hostname.isascii()
    return parts if is_same and _can_be_asked_for(host) else None


def _can_be_asked_for(host: str) -> bool:
    """Whether it is an IPv6 address, or has the form of a name: no name server is asked."""
    labels = host.removesuffix(".").split(".")
    return ":" in host or (len(host) < 255 and all(0 < len(label) < 64 for label in labels))


def literal_address(host: str) -> Address | None:
    """The address that a host is without asking anybody (`127.1`, `0x7f.1`, `localhost`)."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return _LOOPBACK
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return ipaddress.ip_address(found[0][4][0])


def _may_be_reached(address: Address, port: int) -> bool:
    if is_public(address) or any(rule.covers(address, port) for rule in configured_rules()):
        return True
    if not settings.OUTBOUND_RULES_SOURCE:
        return False
    operators_rules = import_string(settings.OUTBOUND_RULES_SOURCE)()
    return any(parse_rule(text).covers(address, port) for text in operators_rules)
