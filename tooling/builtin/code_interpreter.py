"""The tool `code_interpreter`: Python in the sandbox."""

from __future__ import annotations

from typing import Any

from tooling.sandbox import SandboxResult, run_code
from tooling.types import ToolContext, ToolResult

TIME_LIMIT_S = 5.0


async def run(arguments: dict[str, Any], _context: ToolContext) -> ToolResult:
    """What the code prints, and the value of its last line. Raises SandboxUnavailable."""
    code = str(arguments.get("code", ""))
    if not code.strip():
        return ToolResult("", 400, "There is no code.")
    done = await run_code(code, timeout_s=TIME_LIMIT_S)
    if done.error is not None:
        return ToolResult(done.stdout, 400, done.error)
    return ToolResult(_output(done))


def _output(done: SandboxResult) -> str:
    if done.value is None:
        return done.stdout or "The code ran. It printed nothing and its last line has no value."
    separator = "\n" if done.stdout and not done.stdout.endswith("\n") else ""
    return f"{done.stdout}{separator}{done.value}"
