"""One request to a service of a tool and its answer, within limits. Nothing is ever sent twice."""

from __future__ import annotations

import asyncio
import codecs
import dataclasses
import http
import json
import ssl
from collections.abc import Mapping
from typing import Any

import httpx
from django.utils.translation import gettext as _

from core.errors import OutboundRefused, ResponseTooLarge
from core.http import guarded_client, send_following_redirects
from core.loops import PerLoop

CONNECT_S = 3.0
MAX_RESPONSE_BYTES = 1024 * 1024
USER_AGENT = "ai-video-assistant"
_ACCEPT = "application/json, text/*;q=0.9, */*;q=0.1"
_TEXTS = ("text/", "application/json", "application/xml", "application/x-ndjson",
          "application/yaml", "application/x-yaml", "application/javascript")  # fmt: skip
_TEXT_SUFFIXES = ("+json", "+xml", "+yaml")
# Of what a header may name: Python has text codecs that take forever.
_CHARSETS = ("utf", "ascii", "iso8859", "cp125", "gb", "big5", "shift_jis", "euc", "koi8", "cp93")


class Unanswered(Exception):
    """There is no answer that could be read. `code` is HTTP-like; `message` is for people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a service said, as text; `status` is any."""

    status: int
    text: str

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def status_line(self) -> str:
        """The status as people know it, such as `404 Not Found`."""
        try:
            return f"{self.status} {http.HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)

    def json(self) -> Any:
        """The answer as JSON. Raises Unanswered for what is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            raise Unanswered(502, _("The service's answer is not JSON.")) from None


async def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    timeout_s: float,
) -> Answer:
    """The answer to one request, after at most three redirects. Raises Unanswered.

    `timeout_s` bounds all of it, connecting is bounded by three seconds, the answer by 1 MiB, and
    it must be text.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchanged(method, url, headers or {}, content)
    except TimeoutError:
        message = _("The service gave no answer within %(seconds)g s.")
        raise Unanswered(504, message % {"seconds": timeout_s}) from None
    except (OutboundRefused, ResponseTooLarge) as error:
        raise Unanswered(error.http_status, error.message) from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise _unanswered(error) from None


def _make_client() -> httpx.AsyncClient:
    # Of its own: services that hang must not use up the connections to the models. Those kept open
    # are left before most servers would close them, since nothing is sent a second time.
    limits = httpx.Limits(max_connections=500, max_keepalive_connections=100, keepalive_expiry=4)
    return guarded_client(
        timeout_s=60,
        connect_timeout_s=CONNECT_S,
        headers={"User-Agent": USER_AGENT, "Accept": _ACCEPT},
        max_response_bytes=MAX_RESPONSE_BYTES,
        limits=limits,
    )


async def _close_client(client: httpx.AsyncClient) -> None:
    await client.aclose()


_CLIENT = PerLoop(_make_client, _close_client)


async def _exchanged(
    method: str, url: str, headers: Mapping[str, str], content: bytes | None
) -> Answer:
    client = _CLIENT.get()
    request = client.build_request(method, url, headers=dict(headers), content=content)
    response = await send_following_redirects(client, request, stream=True)
    try:
        if not _is_text(response):
            if response.is_success:
                raise Unanswered(502, _not_text(response))
            return Answer(response.status_code, "")
        return Answer(response.status_code, _decoded(await response.aread(), response))
    finally:
        await response.aclose()


def _is_text(response: httpx.Response) -> bool:
    type_ = _content_type(response)
    # Without a type it is believed to be text, as most small services mean it.
    return not type_ or type_.startswith(_TEXTS) or type_.endswith(_TEXT_SUFFIXES)


def _content_type(response: httpx.Response) -> str:
    type_: str = response.headers.get("content-type", "")
    return type_.partition(";")[0].strip().lower()


def _not_text(response: httpx.Response) -> str:
    return _("The service answered with %(type)s, which is not text.") % {
        "type": _content_type(response)[:80]
    }


def _decoded(data: bytes, response: httpx.Response) -> str:
    return data.decode(_charset(response.charset_encoding), errors="replace")


def _charset(named: str | None) -> str:
    try:
        name = codecs.lookup(named or "utf-8").name
    except (LookupError, ValueError):
        return "utf-8"
    is_usual = name.startswith(_CHARSETS) and name not in {"utf-7", "utf_7"}
    return "utf-8-sig" if name == "utf-8" or not is_usual else name


def _unanswered(error: httpx.HTTPError | httpx.InvalidURL | UnicodeError) -> Unanswered:
    match error:
        case httpx.ConnectTimeout():
            message = _("The service did not accept the connection within %(seconds)g s.")
            return Unanswered(504, message % {"seconds": CONNECT_S})
        case httpx.PoolTimeout():
            return Unanswered(503, _("Too many requests of tools are under way; try again later."))
        case httpx.TimeoutException():
            return Unanswered(504, _("The service did not answer in time."))
        case httpx.TooManyRedirects():
            return Unanswered(502, _("The service redirects too often."))
        case httpx.ConnectError():
            return Unanswered(502, _why_unreachable(error))
        # httpx finds out late that a name in punycode stands for nothing.
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | UnicodeError():
            return Unanswered(400, _("The service's address is not a valid http or https address."))
        case _:
            return Unanswered(502, _("The service's answer broke off."))


def _why_unreachable(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _("The service's certificate is not valid.")
        cause = cause.__cause__ or cause.__context__
    return _("The service cannot be reached.")
