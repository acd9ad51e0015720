"""What a model row may say: vendors, addresses, keys. Errors name the field."""

from __future__ import annotations

import asyncio
import logging
import re
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from core.errors import InvalidRequest, OutboundRefused, ProviderError
from core.http import check_host
from core.loops import wait_for
from providers.profiles import PROFILES, Kind, VendorProfile

logger = logging.getLogger(__name__)

RESOLVED_WITHIN_S = 3.0
_PORTS = {"http": 80, "https": 443}
# No scheme but these two, and nothing that could end an attribute of a page.
_PICTURE = re.compile(r"(https?://|(?!//|[a-z][a-z0-9+.\-]*:))[^\x00-\x1f\\\"'<>]*", re.IGNORECASE)


def vendor_named(text: str, kind: Kind) -> VendorProfile:
    """The vendor of that name or alias, in any case. Raises InvalidRequest listing the known."""
    wanted = text.strip().lower()
    capable = [profile for profile in PROFILES.values() if kind in profile.kinds]
    for profile in capable:
        if wanted in {profile.slug, profile.label.lower(), *profile.aliases}:
            return profile
    names = ", ".join(profile.slug for profile in capable)
    raise InvalidRequest(
        _("Unknown vendor for this kind of model. Known: %(names)s.") % {"names": names},
        param="vendor",
    )


def checked_url(text: str, *, param: str) -> str:
    """The address without trailing slashes. Raises InvalidRequest for what is no http(s) address.

    Whether the address may be reached is decided when it is, as names can change what they point
    to; `require_allowed` tells early what would be refused.
    """
    url = text.strip().rstrip("/")
    if not url:
        return ""
    if not _is_http_url(url):
        raise InvalidRequest(_("Expected an address such as https://host/v1."), param=param)
    return url


def require_allowed(url: str, *, param: str) -> None:
    """Raises InvalidRequest where nothing may be sent to the address, as things are now.

    It says what an operator can do. A name that has no address, or none in time, may get one.
    """
    if not url:
        return
    host, port = _destination(url)
    try:
        wait_for(_checked_in_time(host, port))
    except OutboundRefused as error:
        raise InvalidRequest(error.message, param=param) from None
    except (ProviderError, TimeoutError) as error:
        logger.warning("Whether %s may be reached is not known yet: %s", host, error)


async def _checked_in_time(host: str, port: int) -> None:
    async with asyncio.timeout(RESOLVED_WITHIN_S):
        await check_host(host, port)


def require_key_of_host(*, before: str, after: str, param: str) -> None:
    """Raises InvalidRequest where a kept key would go to another host than it was entered for.

    `before` and `after` are addresses, empty for none. Whoever moves a key has to know it.
    """
    if after and not (before and _destination(before) == _destination(after)):
        text = _("The address leads to another host: enter %(names)s again.")
        raise InvalidRequest(text % {"names": param}, param=param)


def _destination(url: str) -> tuple[str, int]:
    """The host, in lower case, and the port that requests to a checked address go to."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def checked_picture(text: str, *, param: str) -> str:
    """The address of a picture, here or elsewhere. Raises InvalidRequest for what is none."""
    url = text.strip()
    if url and not _PICTURE.fullmatch(url):
        raise InvalidRequest(_("Expected the address of a picture."), param=param)
    return url


def _is_http_url(url: str) -> bool:
    if any(character.isspace() or not character.isprintable() for character in url):
        return False
    try:
        parts = urlsplit(url)
        # Reading the port is what finds out that it is not a number.
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_plain = not (parts.username or parts.password or parts.fragment or parts.query)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and has_port and is_plain


def require_endpoint(profile: VendorProfile, *, base_url: str, api_key: str) -> None:
    """Raises InvalidRequest where a vendor needs an address or a key that is missing."""
    if not base_url and not profile.base_url and profile.protocol != "builtin":
        raise InvalidRequest(_("This vendor needs an address."), param="base_url")
    if not api_key and profile.needs_key:
        raise InvalidRequest(_("This vendor needs a key."), param="api_key")
