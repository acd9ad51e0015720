"""Every way in which an MCP server can fail, as one error in our words."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import httpx2
from django.utils.translation import gettext as _
from mcp.shared.exceptions import MCPError

from core.errors import AppError, ProviderError
from tooling.types import McpEndpoint

MAX_REASON_CHARS = 300
# What the SDK puts in the place of an answer; the HTTP status says more.
_SDK_WORDS = frozenset({"Server returned an error response", "Not Found", "Session terminated"})
# Its code for this is also the one that servers use for whatever has none of its own.
_SDK_SAYS_BROKEN = ("Connection closed", "SSE stream ", "server answered a request with 202")

# What follows these is the validator's report, which means nothing to people.
_SDK_CANNOT_READ = (
    "Failed to parse JSON response: ",
    "Failed to parse SSE message: ",
    "Unexpected content type: ",
)


def late(endpoint: McpEndpoint) -> ProviderError:
    """`upstream_status` is 504, by which callers tell it from the others."""
    return _failed(endpoint, _("%(name)s did not answer in time."), status=504)


def broken_off(endpoint: McpEndpoint) -> ProviderError:
    return _failed(endpoint, _("The answer of %(name)s broke off."))


def unreadable(endpoint: McpEndpoint) -> ProviderError:
    return _failed(endpoint, _("%(name)s sent an answer that cannot be read."))


def needs_somebody(endpoint: McpEndpoint) -> ProviderError:
    """The server wants to ask a person or a model; nobody here can answer."""
    return _failed(
        endpoint, _("%(name)s asks for input in between, which is not supported."), permanent=True
    )


def of_http(
    endpoint: McpEndpoint, error: AppError | httpx.HTTPError | httpx.InvalidURL
) -> AppError:
    """A connection that was refused by our guard, or that failed."""
    if isinstance(error, AppError):
        return error
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        text = _("The address of %(name)s is not a valid http or https address.")
        return _failed(endpoint, text, permanent=True)
    if isinstance(error, httpx.TimeoutException):
        return late(endpoint)
    if isinstance(error, httpx.ConnectError):
        return _failed(endpoint, _("%(name)s cannot be reached."))
    return broken_off(endpoint)


def of_status(endpoint: McpEndpoint, status: int) -> ProviderError:
    """A server that refused a request by its HTTP status."""
    if status in (401, 403):
        text = _("%(name)s refused the credential (status %(status)d).")
    elif status in (404, 405):
        text = _("There is no MCP server of this transport at this address (status %(status)d).")
    elif 300 <= status < 400:
        text = _("%(name)s redirects elsewhere (status %(status)d); enter that address.")
    else:
        text = _("%(name)s failed (status %(status)d).")
    return _failed(endpoint, text, status=status, permanent=status < 500 and status != 429)


def of_session(
    endpoint: McpEndpoint,
    error: Exception,
    *,
    failure: AppError | None,
    refused_status: int | None,
) -> AppError | None:
    """What ended a session; None where nothing is known of it.

    `failure` and `refused_status` are what the wire saw: the SDK keeps some of it to itself.
    """
    causes = list(_leaves(error))
    known = failure or next((cause for cause in causes if isinstance(cause, AppError)), None)
    if known is not None:
        return known
    answered = next((cause for cause in causes if isinstance(cause, MCPError)), None)
    is_redirected = refused_status is not None and 300 <= refused_status < 400
    if answered is not None and answered.message not in _SDK_WORDS and not is_redirected:
        if answered.message.startswith(_SDK_SAYS_BROKEN):
            return broken_off(endpoint)
        if answered.message.startswith(_SDK_CANNOT_READ):
            return unreadable(endpoint)
        return _reported(endpoint, answered.message)
    if refused_status is not None:
        return of_status(endpoint, refused_status)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return late(endpoint)
    # Of a process; connections have their own errors.
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        message = _("%(name)s cannot be started: its program was not found.")
        return _failed(endpoint, message, permanent=True)
    if any(isinstance(cause, OSError) for cause in causes):
        return _failed(endpoint, _("%(name)s cannot be started."), permanent=True)
    if any(isinstance(cause, MCPError | ValueError | httpx2.HTTPError) for cause in causes):
        return unreadable(endpoint)
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside groups, which task groups make of whatever is raised in them."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def one_line(text: str) -> str:
    """A server's words, short, in one line of printable characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= MAX_REASON_CHARS else flat[: MAX_REASON_CHARS - 1] + "…"


def _reported(endpoint: McpEndpoint, reason: str) -> ProviderError:
    text = _("%(name)s reported an error: %(reason)s")
    return ProviderError(
        text % {"name": endpoint.name, "reason": one_line(reason[: 4 * MAX_REASON_CHARS])},
        is_permanent=True,
    )


def _failed(
    endpoint: McpEndpoint, text: str, *, status: int | None = None, permanent: bool = False
) -> ProviderError:
    return ProviderError(
        text % {"name": endpoint.name, "status": status or 0},
        is_permanent=permanent,
        upstream_status=status,
    )
