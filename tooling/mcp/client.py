"""The door to MCP servers: listing their tools and calling them, each in a session of its own.

The SDK takes 15 MB and up to a second to load, so it is loaded with the first session, or ahead of
it by `warm_up`: processes that speak with no server do without it.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from core.late import Late
from tooling.mcp.types import ListedTool
from tooling.types import McpEndpoint, McpTarget, ToolResult

__all__ = ["ListedTool", "call", "list_tools", "warm_up"]


def _load_sessions() -> ModuleType:
    return importlib.import_module("tooling.mcp.sessions")


_SESSIONS = Late(_load_sessions)


async def list_tools(endpoint: McpEndpoint) -> list[ListedTool]:
    """What the server can do now, in its order.

    Raises ProviderError, OutboundRefused, ResponseTooLarge.
    """
    sessions = await _SESSIONS.get()
    found: list[ListedTool] = await sessions.list_tools(endpoint)
    return found


async def call(target: McpTarget, arguments: dict[str, Any], *, timeout_ms: int) -> ToolResult:
    """What a tool of a server answers; a failure is an answer too, with a code from 400 on.

    The caller's fixed arguments go over those of the model.
    """
    sessions = await _SESSIONS.get()
    result: ToolResult = await sessions.call(target, arguments, timeout_ms=timeout_ms)
    return result


def warm_up() -> None:
    """Loads the SDK. Blocks up to a second; to be run off the event loop."""
    _SESSIONS.load()
