"""What a client learns of an upstream's error: enough to mend its request, nothing of ours."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

from gateway.neutral import Failed

_MAX_CHARS = 1_000
_SECRET = re.compile(r"(?i)\b(?:sk|pk|rk|api|key)[-_][\w\-*.]{6,}|\bbearer\s+\S+")
# Our account with the vendor, reported as if the client's request were wrong.
_OUR_BILL = re.compile(r"(?i)credit balance|billing|insufficient.{0,20}(?:quota|balance)|arrears")


def failure(status: int, message: str) -> Failed:
    """An upstream's answer of this status as the client is to see it.

    What is wrong with our own account, address or name for the model is no fault of the client's:
    502, without the vendor's words.
    """
    text = without_secrets(message)
    if status in (400, 422) and not _OUR_BILL.search(text):
        return Failed("invalid_request_error", text or _("The model refused the request."), 400)
    if status == 413:
        return Failed("request_too_large", text or _("The request is too large."), 413)
    if status == 429:
        return Failed("rate_limit_error", _("The model gets too many requests just now."), 429)
    if status in (503, 529):
        return Failed("overloaded_error", _("The model is overloaded just now."), 503)
    if status >= 500:
        return Failed("upstream_error", text or _("The model's server failed."))
    return Failed("upstream_error", _("The model cannot be asked just now."))


def broken_off() -> Failed:
    """A stream that ended before the answer did."""
    return Failed("upstream_error", _("The model's answer broke off."))


def unreadable() -> Failed:
    """What came is no answer in the upstream's dialect."""
    return Failed("upstream_error", _("The model's answer cannot be read."))


def without_secrets(text: str) -> str:
    """The text, cut to a readable length, with everything that looks like a key blotted out."""
    return _SECRET.sub("[…]", text[: 2 * _MAX_CHARS])[:_MAX_CHARS]
