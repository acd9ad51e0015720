"""The door to MCP servers: listing their tools and calling them, each in a session of its own.

The SDK takes up to a second to load, so it is loaded with the first session, or ahead of it by
`warm_up`: commands that speak with no server start without it.
"""

from __future__ import annotations

import importlib
from typing import Any

from tooling.mcp.types import ListedTool
from tooling.types import McpEndpoint, McpTarget, ToolResult

__all__ = ["ListedTool", "call", "list_tools", "warm_up"]

_SESSIONS = "tooling.mcp.sessions"


async def list_tools(endpoint: McpEndpoint) -> list[ListedTool]:
    """What the server can do now, in its order.

    Raises ProviderError, OutboundRefused, ResponseTooLarge.
    """
    found: list[ListedTool] = await importlib.import_module(_SESSIONS).list_tools(endpoint)
    return found


async def call(target: McpTarget, arguments: dict[str, Any], *, timeout_ms: int) -> ToolResult:
    """What a tool of a server answers; a failure is an answer too, with a code from 400 on.

    The caller's fixed arguments go over those of the model.
    """
    sessions = importlib.import_module(_SESSIONS)
    result: ToolResult = await sessions.call(target, arguments, timeout_ms=timeout_ms)
    return result


def warm_up() -> None:
    """Loads the SDK. Blocks up to a second; to be run off the event loop."""
    importlib.import_module(_SESSIONS)
