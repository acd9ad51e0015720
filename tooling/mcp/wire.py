"""What carries a session: HTTP through the guarded client, or the pipes of a process."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import httpx
import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from core.errors import AppError
from core.http import shared_client, too_large
from tooling.mcp import failures
from tooling.types import McpEndpoint

CONNECT_S = 3.0
# The session as a whole has a limit of its own; this only ends what nobody waits for any more.
SILENCE_S = 130.0
# The last request tells the server that it may forget the session. Nobody waits for it.
GOODBYE_S = 0.5
# Pictures and files included, of which a model only learns that they are there.
MAX_SESSION_BYTES = 4 * 1024 * 1024
_TIMEOUT = httpx.Timeout(SILENCE_S, connect=CONNECT_S, pool=CONNECT_S)


class Wire(httpx2.AsyncBaseTransport):
    """Carries the requests of one session over `core.http`, past the guard that all others meet.

    The first failure ends it: the SDK would ask again, and would tell nobody what went wrong.
    """

    def __init__(self, endpoint: McpEndpoint) -> None:
        self._endpoint = endpoint
        self._bytes_left = MAX_SESSION_BYTES
        self.failure: AppError | None = None
        self.refused_status: int | None = None
        self._listening: httpx.Response | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.failure is not None:
            raise self.failure
        if self._listens_only(request):
            # Spares a connection per call: a server's own requests would find nobody here. 405 is
            # how a server says that it has no such stream.
            return httpx2.Response(405, request=request)
        async with asyncio.timeout(GOODBYE_S if request.method == "DELETE" else None):
            response = await self._sent(request)
        await self._look_at(response, request.method)
        return httpx2.Response(
            response.status_code,
            headers=response.headers.raw,
            stream=_Body(self, response),
            extensions={"http_version": b"HTTP/1.1"},
        )

    def _listens_only(self, request: httpx2.Request) -> bool:
        return (
            self._endpoint.transport == "streamable_http"
            and request.method == "GET"
            and "last-event-id" not in request.headers
        )

    async def _look_at(self, response: httpx.Response, method: str) -> None:
        if response.is_success:
            if method == "GET" and self._endpoint.transport == "sse":
                self._listening = response
        elif method != "DELETE":
            self.refused_status = response.status_code
            if self._listening is not None:
                # The SDK tells nobody that a message was refused, and goes on listening.
                self.failure = failures.of_status(self._endpoint, response.status_code)
                await self._listening.aclose()

    async def _sent(self, request: httpx2.Request) -> httpx.Response:
        try:
            ours = httpx.Request(
                request.method,
                str(request.url),
                headers=request.headers.raw,
                content=await request.aread(),
                extensions={"timeout": _TIMEOUT.as_dict()},
            )
            # Never sent twice: nobody knows whether a call had its effect already.
            return await shared_client().send(ours, stream=True)
        except (AppError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.failed(error) from error

    def failed(self, error: AppError | httpx.HTTPError | httpx.InvalidURL) -> AppError:
        """Notes the failure and gives it in our words."""
        if self.failure is None:
            self.failure = failures.of_http(self._endpoint, error)
        return self.failure

    def count(self, size: int) -> None:
        """Raises ResponseTooLarge when the session has brought more than is read of one."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise self.failed(too_large(MAX_SESSION_BYTES))


class _Body(httpx2.AsyncByteStream):
    """The body of an httpx response in httpx2's terms."""

    def __init__(self, wire: Wire, response: httpx.Response) -> None:
        self._wire = wire
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_raw():
                self._wire.count(len(chunk))
                yield chunk
        except httpx.HTTPError as error:
            raise self._wire.failed(error) from error

    async def aclose(self) -> None:
        await self._response.aclose()


def _client(wire: Wire, endpoint: McpEndpoint, *_ignored: Any, **_also: Any) -> httpx2.AsyncClient:
    """What the SDK is given as its HTTP client. It owns no connection."""
    return httpx2.AsyncClient(
        transport=wire,
        headers=dict(endpoint.headers),
        trust_env=False,
        follow_redirects=False,
        timeout=None,
    )


def streams(wire: Wire, endpoint: McpEndpoint) -> AbstractAsyncContextManager[Any]:
    """The two streams of messages of a new session, to be entered and left in one task."""
    match endpoint.transport:
        case "streamable_http":
            return streamable_http_client(
                endpoint.url,
                http_client=_client(wire, endpoint),
                # The wire counts all of a session.
                max_sse_event_size=None,
            )
        case "sse":
            return sse_client(endpoint.url, httpx_client_factory=partial(_client, wire, endpoint))
        case "stdio":
            return _process(endpoint)
        case _:
            assert_never(endpoint.transport)


def _process(endpoint: McpEndpoint) -> AbstractAsyncContextManager[Any]:
    program, *arguments = endpoint.command
    parameters = StdioServerParameters(
        command=_found(program),
        args=arguments,
        env=dict(endpoint.environment),
        encoding_error_handler="replace",
    )
    # What the process says beside the protocol belongs in the log, where the operator looks.
    return stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr)


def _found(program: str) -> str:
    """A program of PATH, else of our own virtual environment, which is in no PATH at a start."""
    beside_python = Path(sys.executable).parent
    return shutil.which(program) or shutil.which(program, path=beside_python) or program
