"""Which tools may change something. What has used one is not repeated when its process dies."""

from __future__ import annotations

from typing import assert_never

from tooling.types import BuiltinTarget, HttpTarget, McpTarget, ToolSpec


def has_side_effects(spec: ToolSpec) -> bool:
    """Whether a call of the tool may change something beyond the run.

    Built-in tools look things up or compute in a sandbox. A request may unless it is a GET. What a
    tool of an MCP server does nobody knows; nor what one does that is run by whoever brought it.
    """
    match spec.target:
        case BuiltinTarget():
            return False
        case HttpTarget(method=method):
            return method != "GET"
        case McpTarget() | None:
            return True
        case _:
            assert_never(spec.target)
