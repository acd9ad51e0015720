"""Runs the tools that live on the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tooling.builtin import calculator, current_time
from tooling.types import ToolContext, ToolResult, ToolSpec

MAX_RESULT_BYTES = 8_000

_BUILTIN: dict[str, Callable[[dict[str, Any], ToolContext], Awaitable[ToolResult]]] = {
    "calculator": calculator.run,
    "current_time": current_time.run,
}


async def run_tool(spec: ToolSpec, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    """The result of a tool; its failure is a result too. The caller sets the time limit."""
    builtin = _BUILTIN.get(spec.id)
    if builtin is None:
        return ToolResult("", 501, f"The tool {spec.id} is not configured in this installation.")
    result = await builtin(arguments, context)
    return ToolResult(capped(result.output), result.code, result.message)


def capped(text: str) -> str:
    """At most 8 kB of a result, with a mark where something is missing."""
    data = text.encode()
    if len(data) <= MAX_RESULT_BYTES:
        return text
    mark = f"\n[cut: the first {MAX_RESULT_BYTES} of {len(data)} bytes are shown]"
    kept = data[: MAX_RESULT_BYTES - len(mark)]
    return kept.decode(errors="ignore") + mark
