"""Base URLs, each read once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import cast

import httpx
from django.utils.translation import gettext as _

from core.errors import InvalidRequest
from core.wire.types import DEFAULT_PORTS, Origin, Scheme

_PREFIX = re.compile(r"(?:/[!-~]*)?")


@lru_cache(maxsize=4096)
def parse_origin(base_url: str) -> Origin:
    """The origin of a base URL such as https://host/v1.

    Raises InvalidRequest for anything else: another scheme, a user name, a query, a fragment.
    """
    origin = _parsed(base_url)
    if origin is None:
        raise InvalidRequest(_("Expected an address such as https://host/path."))
    return origin


def _parsed(base_url: str) -> Origin | None:
    if "\\" in base_url or any(each.isspace() or not each.isprintable() for each in base_url):
        return None
    try:
        url = httpx.URL(base_url)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError):
        return None
    if url.scheme not in DEFAULT_PORTS or not host or url.userinfo or url.query or url.fragment:
        return None
    port = DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    prefix = url.raw_path.decode("ascii").rstrip("/")
    if not 0 < port < 65536 or not _PREFIX.fullmatch(prefix):
        return None
    return Origin(cast(Scheme, url.scheme), host, port, prefix)
