"""How clients reach their vendors: through the guarded client of `core.http`, with time-outs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx
from django.utils.translation import gettext as _

from core.errors import AppError, InvalidRequest, ProviderError, ResponseTooLarge
from core.http import shared_client, too_large
from core.wire import Response, Timeouts, parse_origin, wire
from providers.clients import failures
from providers.types import Endpoint

CONNECT_S = 3.0
# The longest silence, before the first byte and between any two; thinking models need some.
SILENCE_S = 30.0
MAX_ERROR_BYTES = 65_536
# Of a stream: half an hour of the fastest model, ten minutes of speech.
MAX_STREAM_BYTES = 32 * 1024 * 1024
# A kept-alive connection that the vendor had closed shows itself in these, before any answer.
_STALE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Refusal(Protocol):
    """How a vendor says no: the error behind a status and the beginning of its body."""

    def __call__(
        self,
        endpoint: Endpoint,
        status: int,
        *,
        body: object = None,
        retry_after: str | float | None = None,
    ) -> ProviderError: ...


def timeout(silence_s: float) -> httpx.Timeout:
    """The limits of a request whose vendor may say nothing for so long."""
    return httpx.Timeout(silence_s, connect=CONNECT_S, pool=CONNECT_S)


TIMEOUT = timeout(SILENCE_S)


async def send(request: httpx.Request) -> httpx.Response:
    """The head of the answer, its body still to be read. A stale connection is replaced once."""
    client = shared_client()
    try:
        return await client.send(request, stream=True)
    except _STALE:
        return await client.send(request, stream=True)


async def send_json(
    endpoint: Endpoint,
    path: str,
    body: object,
    *,
    headers: Mapping[str, str],
    silence_s: float,
) -> Response:
    """The head of the answer, its body still to be read, over the wire that streams are fast on.

    Raises WireError, ProviderError for an address that is none, and what the guard raises.
    """
    try:
        origin = parse_origin(endpoint.base_url)
    except InvalidRequest:
        raise failures.bad_address(endpoint) from None
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    response = await wire().send(
        "POST",
        origin,
        path,
        headers=[
            (b"content-type", b"application/json"),
            *((name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()),
        ],
        body=(content,),
        timeouts=Timeouts(CONNECT_S, silence_s, silence_s, silence_s),
    )
    if (response.header(b"content-encoding") or b"identity").lower() != b"identity":
        await response.aclose()
        raise ResponseTooLarge(_("The server sent a compressed answer unasked."))
    return response


def headers_for(endpoint: Endpoint) -> dict[str, str]:
    """What says who is asking."""
    return {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}


@asynccontextmanager
async def post(
    endpoint: Endpoint,
    path: str,
    *,
    base_url: str = "",
    expects: tuple[str, ...],
    timeout: httpx.Timeout = TIMEOUT,  # noqa: ASYNC109 - httpx's, for each wait
    refusal: Refusal = failures.from_status,
    **content: Any,
) -> AsyncIterator[httpx.Response]:
    """A request and its answer, checked for status and content type; the body is the caller's.

    `base_url` takes the place of the endpoint's where it is given. `content` is httpx's json, data
    and files; `refusal` makes the error of a status. Everything that goes wrong, also while the
    caller reads the body inside the context, is raised as ProviderError.
    """
    try:
        request = shared_client().build_request(
            "POST",
            f"{(base_url or endpoint.base_url).rstrip('/')}{path}",
            headers=headers_for(endpoint),
            timeout=timeout,
            **content,
        )
        response = await send(request)
        try:
            await _check(endpoint, response, expects, refusal)
            yield response
        finally:
            await response.aclose()
    except AppError as error:
        raise failures.from_app_error(error) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise (failures.from_chain(endpoint, error) or failures.broken_off(endpoint)) from error


async def read(response: httpx.Response, *, max_bytes: int) -> bytes:
    """The whole body. Raises ResponseTooLarge as soon as it is longer than that."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise too_large(max_bytes)
    return bytes(body)


async def _check(
    endpoint: Endpoint, response: httpx.Response, expects: tuple[str, ...], refusal: Refusal
) -> None:
    content_type = response.headers.get("content-type", "").lower()
    if response.is_success:
        if not content_type.startswith(expects):
            raise failures.not_an_api(endpoint, content_type)
        return
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk[: MAX_ERROR_BYTES - len(body)]
        if len(body) >= MAX_ERROR_BYTES:
            break
    raise refusal(
        endpoint,
        response.status_code,
        body=bytes(body),
        retry_after=response.headers.get("retry-after"),
    )
