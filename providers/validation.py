"""What a model row may say: vendors, addresses, keys. Errors name the field."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from core.errors import InvalidRequest
from providers.profiles import PROFILES, Kind, VendorProfile

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

    Whether the address may be reached is decided when it is: names can change what they point to.
    """
    url = text.strip().rstrip("/")
    if not url:
        return ""
    if not _is_http_url(url):
        raise InvalidRequest(_("Expected an address such as https://host/v1."), param=param)
    return url


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
