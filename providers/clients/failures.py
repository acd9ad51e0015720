"""Every way in which a vendor can fail, as one ProviderError in our words.

Temporary failures (`is_permanent` false) may go away by asking again: time-outs, connections that
broke, rate limits, 5xx, nonsense. Permanent ones need a person: a key, a model, an address.
No client asks again by itself except where a kept-alive connection broke before the answer began
(`transport.send`): how long a caller can wait, only the caller knows.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Callable
from typing import Any

import httpx
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.errors import AppError, ProviderError
from core.wire import WireError
from providers.profiles import PROFILES
from providers.types import Endpoint

_MAX_REASON_CHARS = 160
_MAX_RETRY_AFTER_S = 3600
# Of a longer reason only the beginning is looked at.
_MAX_READ_CHARS = 1_000
# Keys, tokens, addresses and whatever else a vendor may echo. Each character is looked at once.
_SECRET_LIKE = re.compile(r"(?:https?|wss?)://\S+|[A-Za-z0-9_\-.]{16,}")
_WORD_CHARS = string.ascii_letters + string.digits + "_-.:/"
_SECRET_TAIL = re.compile(r"\d[A-Za-z0-9_\-.]{15,}")
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error"})

# Status → (what happened, is permanent). A range of 5xx is below.
_STATUSES: dict[int, tuple[str | Promise, bool]] = {
    400: (gettext_lazy("%(vendor)s refused the request."), True),
    401: (gettext_lazy("%(vendor)s refused the API key."), True),
    402: (gettext_lazy("The account at %(vendor)s has no credit left."), True),
    403: (gettext_lazy("%(vendor)s does not allow this with the given API key."), True),
    404: (gettext_lazy("%(vendor)s knows no such model, or the base URL is wrong."), True),
    405: (gettext_lazy("%(vendor)s offers no such service at this base URL."), True),
    408: (gettext_lazy("%(vendor)s did not answer in time."), False),
    409: (gettext_lazy("%(vendor)s refused the request."), False),
    413: (gettext_lazy("The request is too large for %(vendor)s."), True),
    422: (gettext_lazy("%(vendor)s refused the request."), True),
    425: (gettext_lazy("%(vendor)s is not ready yet."), False),
    429: (gettext_lazy("%(vendor)s limits the number of requests; try again later."), False),
    504: (gettext_lazy("%(vendor)s did not answer in time."), False),
}
# Where the vendor's own reason helps: what was wrong with the request.
_EXPLAINED = frozenset({400, 404, 409, 413, 422})


def label(endpoint: Endpoint) -> str:
    """The vendor's name for people."""
    profile = PROFILES.get(endpoint.vendor)
    return profile.label if profile else endpoint.vendor


def sanitised(reason: object, endpoint: Endpoint) -> str:
    """A vendor's reason, short, in one line, without anything that could be a secret."""
    if not isinstance(reason, str):
        return ""
    if endpoint.api_key:
        reason = reason.replace(endpoint.api_key, "…")
    if len(reason) > _MAX_READ_CHARS:
        # Cut in the middle, a secret would no longer look like one.
        reason = reason[:_MAX_READ_CHARS].rstrip(_WORD_CHARS)
    flat = " ".join("".join(c if c.isprintable() else " " for c in reason).split())
    masked = _SECRET_LIKE.sub(_masked, flat)
    return masked if len(masked) <= _MAX_REASON_CHARS else masked[: _MAX_REASON_CHARS - 1] + "…"


def _masked(found: re.Match[str]) -> str:
    """Nothing of an address or of a long word with a digit well before its end."""
    is_secret = "://" in found[0] or _SECRET_TAIL.search(found[0])
    return "…" if is_secret else found[0]


def reason_in(body: object) -> tuple[str, str]:
    """The message and the code in an error body of any of the usual shapes."""
    if isinstance(body, bytes | str):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return "", ""
    if not isinstance(body, dict):
        return "", ""
    inner = body.get("error", body)
    if isinstance(inner, str):
        return inner, ""
    if not isinstance(inner, dict):
        return "", ""
    message = inner.get("message") or inner.get("detail") or ""
    code = inner.get("code") or inner.get("type") or ""
    return str(message) if isinstance(message, str) else "", str(code)


def retry_after_s(value: str | float | None) -> int | None:
    """A Retry-After header in whole seconds, if it is a sensible number of them."""
    try:
        seconds = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return math.ceil(min(_MAX_RETRY_AFTER_S, seconds)) if seconds >= 0 else None


def from_status(
    endpoint: Endpoint, status: int, *, body: object = None, retry_after: str | float | None = None
) -> ProviderError:
    """The failure behind an HTTP status."""
    message, code = reason_in(body)
    if status == 429 and code in _QUOTA_CODES:
        status = 402
    fallback: tuple[str | Promise, bool] = (
        (gettext_lazy("%(vendor)s failed (status %(status)d)."), False)
        if status >= 500
        else (gettext_lazy("%(vendor)s answered with status %(status)d."), True)
    )
    template, is_permanent = _STATUSES.get(status, fallback)
    text = str(template) % {"vendor": label(endpoint), "status": status}
    reason = sanitised(message, endpoint) if status in _EXPLAINED else ""
    return ProviderError(
        f"{text} ({reason})" if reason else text,
        is_permanent=is_permanent,
        upstream_status=status,
        retry_after=retry_after_s(retry_after),
    )


def _temporary(template: str | Promise) -> Callable[[Endpoint], ProviderError]:
    def make(endpoint: Endpoint) -> ProviderError:
        text = str(template) % {"vendor": label(endpoint)}
        return ProviderError(text, is_permanent=False)

    return make


late = _temporary(gettext_lazy("%(vendor)s did not answer in time."))
unreachable = _temporary(gettext_lazy("%(vendor)s cannot be reached."))
broken_off = _temporary(gettext_lazy("The answer of %(vendor)s broke off."))
unreadable = _temporary(gettext_lazy("%(vendor)s sent an answer that cannot be read."))
empty = _temporary(gettext_lazy("%(vendor)s gave an empty answer."))


def not_an_api(endpoint: Endpoint, content_type: str) -> ProviderError:
    """The address answered, but with something else than was asked for."""
    text = _("The base URL of %(vendor)s does not lead to this service: it sent %(type)s.")
    shown = sanitised(content_type.partition(";")[0], endpoint) or _("nothing known")
    return ProviderError(text % {"vendor": label(endpoint), "type": shown}, is_permanent=True)


def bad_address(endpoint: Endpoint) -> ProviderError:
    """The row's base URL is no URL."""
    text = _("The base URL of %(vendor)s is not a valid http or https address.")
    return ProviderError(text % {"vendor": label(endpoint)}, is_permanent=True)


def from_app_error(error: AppError) -> ProviderError:
    """What our own HTTP client refused, such as a private address."""
    if isinstance(error, ProviderError):
        return error
    return ProviderError(error.message, is_permanent=True)


def from_http(endpoint: Endpoint, error: httpx.HTTPError | httpx.InvalidURL) -> ProviderError:
    """A failure of the connection, before or after the answer began."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return bad_address(endpoint)
    if isinstance(error, httpx.TimeoutException):
        return late(endpoint)
    if isinstance(error, httpx.ConnectError):
        return unreachable(endpoint)
    if isinstance(error, httpx.DecodingError):
        return unreadable(endpoint)
    return broken_off(endpoint)


def from_wire(endpoint: Endpoint, error: WireError) -> ProviderError:
    """The same of a request over `core.wire`."""
    if error.is_timeout:
        return late(endpoint)
    return unreachable(endpoint) if error.stage == "connect" else broken_off(endpoint)


def from_chain(endpoint: Endpoint, error: BaseException) -> ProviderError | None:
    """What we, the wire or httpx raised, wherever in the causes an SDK has wrapped it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, AppError):
            return from_app_error(current)
        if isinstance(current, httpx.HTTPError | httpx.InvalidURL):
            return from_http(endpoint, current)
        if isinstance(current, WireError):
            return from_wire(endpoint, current)
        hidden = None if current.__suppress_context__ else current.__context__
        current = current.__cause__ or hidden
    return None


def json_value(endpoint: Endpoint, data: bytes) -> object:
    """Any JSON that a vendor sent. Raises ProviderError for what is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise unreadable(endpoint) from None


def json_object(endpoint: Endpoint, data: bytes) -> dict[str, Any]:
    """A JSON object that a vendor sent. Raises ProviderError for anything else."""
    value = json_value(endpoint, data)
    if not isinstance(value, dict):
        raise unreadable(endpoint)
    return value
