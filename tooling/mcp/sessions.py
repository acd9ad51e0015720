"""One short-lived session with an MCP server for each list and each call, in the caller's task.

Sessions are never shared. The SDK's cancel scopes must be left in the task that entered them, and
a session that served two users could show the one what the other asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from django.utils.translation import gettext as _
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.types import (
    HEADER_MISMATCH,
    METHOD_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    PaginatedRequestParams,
)
from pydantic import TypeAdapter

from core.errors import AppError, OutboundRefused, ProviderError, ResponseTooLarge
from tooling.mcp import failures
from tooling.mcp.content import readable
from tooling.mcp.names import digest_of
from tooling.mcp.types import ListedTool
from tooling.mcp.wire import Wire, streams
from tooling.types import McpEndpoint, McpTarget, ToolResult

T = TypeVar("T")
logger = logging.getLogger(__name__)

HANDSHAKE_S = 5.0
# A process has to start first.
PROCESS_HANDSHAKE_S = 10.0
LIST_S = 8.0
MAX_TOOLS = 500
MAX_PAGES = 50
_US = Implementation(name="ai-video-assistant", version="1")
# How servers say that they only know the protocol without a handshake.
_NO_HANDSHAKE = frozenset({UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND})
_CALLED: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(
    CallToolResult | InputRequiredResult
)


async def list_tools(endpoint: McpEndpoint) -> list[ListedTool]:
    """What the server can do now, in its order.

    Raises ProviderError, OutboundRefused, ResponseTooLarge.
    """

    async def listed(session: ClientSession) -> list[ListedTool]:
        async with asyncio.timeout(LIST_S):
            return await _all_pages(session)

    return await _in_session(endpoint, listed, limit_s=PROCESS_HANDSHAKE_S + LIST_S)


async def call(target: McpTarget, arguments: dict[str, Any], *, timeout_ms: int) -> ToolResult:
    """What a tool of a server answers; a failure is an answer too, with a code from 400 on.

    The caller's fixed arguments go over those of the model.
    """
    given = {**arguments, **target.fixed}

    async def called(session: ClientSession) -> ToolResult:
        return _result(target, await _called(session, target.tool_name, given))

    try:
        return await _in_session(target.endpoint, called, limit_s=timeout_ms / 1000)
    except ProviderError as error:
        is_late = error.upstream_status == 504
        return ToolResult("", 504 if is_late else error.http_status, error.message)
    except (OutboundRefused, ResponseTooLarge) as error:
        return ToolResult("", error.http_status, error.message)


async def _in_session(
    endpoint: McpEndpoint, work: Callable[[ClientSession], Awaitable[T]], *, limit_s: float
) -> T:
    wire = Wire(endpoint)
    # Cancelled from outside, the SDK may still raise an error of its own on the way out.
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    end = asyncio.get_running_loop().time() + limit_s
    try:
        async with asyncio.timeout(min(_handshake_s(endpoint), limit_s)) as limit:
            async with streams(wire, endpoint) as (read, write):
                async with ClientSession(read, write, client_info=_US) as session:
                    await _greet(session)
                    limit.reschedule(end)
                    return await work(session)
    except Exception as error:  # the outer edge of a session: servers and the SDK raise anything
        if task and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError from error
        raise _translated(endpoint, wire, error) from error


def _handshake_s(endpoint: McpEndpoint) -> float:
    return PROCESS_HANDSHAKE_S if endpoint.transport == "stdio" else HANDSHAKE_S


async def _greet(session: ClientSession) -> None:
    """Agrees on a version. Nearly all servers know the handshake; the others say so."""
    try:
        await session.initialize()
    except MCPError as error:
        if error.code not in _NO_HANDSHAKE:
            raise
        await session.discover()


async def _all_pages(session: ClientSession) -> list[ListedTool]:
    found: dict[str, ListedTool] = {}
    cursor: str | None = None
    for _page in range(MAX_PAGES):
        listing = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        for tool in listing.tools:
            if tool.execution and tool.execution.task_support == "required":
                # Runs only as a background task of the server, which outlives every session.
                continue
            description = tool.description or tool.title or ""
            digest = digest_of(tool.name, description, tool.input_schema)
            found.setdefault(
                tool.name, ListedTool(tool.name, description, tool.input_schema, digest)
            )
        if len(found) > MAX_TOOLS:
            text = _("The server lists more than %(count)d tools.")
            raise ProviderError(text % {"count": MAX_TOOLS}, is_permanent=True)
        cursor = listing.next_cursor
        if cursor is None:
            return list(found.values())
    text = _("The server's list has more than %(count)d pages.")
    raise ProviderError(text % {"count": MAX_PAGES}, is_permanent=True)


async def _called(
    session: ClientSession, name: str, arguments: dict[str, Any]
) -> CallToolResult | InputRequiredResult:
    # Not `session.call_tool`: it lists the tools once more, to check the result against a schema
    # that the server wrote, with patterns that may keep this process busy for hours.
    request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments))
    try:
        return await session.send_request(request, _CALLED)
    except MCPError as error:
        if error.code != HEADER_MISMATCH:
            raise
        # Refused before it ran: some arguments are to be headers too, which the list tells.
        await session.list_tools()
        return await session.send_request(request, _CALLED)


def _result(target: McpTarget, result: CallToolResult | InputRequiredResult) -> ToolResult:
    if isinstance(result, InputRequiredResult):
        raise failures.needs_somebody(target.endpoint)
    text = readable(result)
    if result.is_error:
        return ToolResult(text, 500, _("The tool reported an error."))
    return ToolResult(text)


def _translated(endpoint: McpEndpoint, wire: Wire, error: Exception) -> AppError:
    known = failures.of_session(
        endpoint, error, failure=wire.failure, refused_status=wire.refused_status
    )
    if known is not None:
        return known
    logger.error("The session with MCP server %s failed", endpoint.server_id, exc_info=error)
    return failures.unreadable(endpoint)
