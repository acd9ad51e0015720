"""Runs the tools that live on the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, assert_never

from django.utils import translation
from django.utils.translation import gettext as _

from core.errors import AppError
from tooling import http_tool
from tooling.builtin import (
    calculator,
    code_interpreter,
    current_time,
    search,
    translate,
    weather,
)
from tooling.mcp import client as mcp_client
from tooling.placeholders import is_sensitive, secret_parts
from tooling.redaction import redact
from tooling.schema import argument_problems
from tooling.types import (
    Backend,
    BuiltinTarget,
    HttpTarget,
    McpTarget,
    Target,
    ToolContext,
    ToolResult,
    ToolSpec,
)

logger = logging.getLogger(__name__)

MAX_RESULT_BYTES = 8_000
_HARMLESS_HEADERS = frozenset({"accept", "accept-language", "content-type", "user-agent"})

Builtin = Callable[[dict[str, Any], ToolContext], Awaitable[ToolResult]]
BackedBuiltin = Callable[[dict[str, Any], ToolContext, Backend], Awaitable[ToolResult]]

_BUILTIN: dict[str, Builtin] = {
    "calculator": calculator.run,
    "code_interpreter": code_interpreter.run,
    "current_time": current_time.run,
    "translate": translate.run,
}
# Those that ask a service, which an operator sets.
_BACKED: dict[str, BackedBuiltin] = {
    "search": search.run,
    "weather": weather.run,
}


async def run_tool(spec: ToolSpec, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    """The result of a tool, at most 8 kB and without secrets; its failure is a result too.

    The arguments are complete and checked; the caller sets the time limit.
    """
    try:
        # What is refused or fails is told in the language of the conversation.
        with translation.override("zh-hans" if context.language == "zh" else "en"):
            result = await _ran(spec, arguments, context)
    except AppError as error:
        result = ToolResult("", error.http_status, error.message)
    secrets = tuple(secrets_of(spec.target))
    # Before it is cut, since half a secret would not be found; but without the NULs that UTF-16
    # has between the letters of one.
    output = redact(result.output.replace("\0", ""), secrets)
    return ToolResult(capped(output), result.code, redact(result.message, secrets))


async def try_tool(spec: ToolSpec, sent: Mapping[str, Any], context: ToolContext) -> ToolResult:
    """A tool run outside of a conversation: defaults, checks and time limit as inside of one."""
    arguments = {**spec.defaults, **sent}
    if problems := argument_problems(spec.parameters, arguments):
        return ToolResult("", 400, _("Invalid arguments: %(why)s.") % {"why": problems})
    try:
        async with asyncio.timeout(spec.timeout_ms / 1000):
            return await run_tool(spec, arguments, context)
    except TimeoutError:
        message = _("No answer within %(seconds)g s.") % {"seconds": spec.timeout_ms / 1000}
        return ToolResult("", 504, message)
    except Exception:  # the outer edge of a tool's call
        logger.exception("Tool %s failed", spec.id)
        return ToolResult("", 500, _("The tool failed."))


def capped(text: str) -> str:
    """At most 8 kB of a result, with a mark where something is missing.

    Without what cannot be stored or sent: NUL, and halves of surrogate pairs.
    """
    data = text.replace("\0", "").encode(errors="replace")
    if len(data) <= MAX_RESULT_BYTES:
        return data.decode()
    mark = f"\n[cut: the first {MAX_RESULT_BYTES} of {len(data)} bytes are shown]"
    kept = data[: MAX_RESULT_BYTES - len(mark)]
    return kept.decode(errors="ignore") + mark


async def _ran(spec: ToolSpec, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    match spec.target:
        case None:
            return _not_configured(spec)
        case BuiltinTarget():
            return await _ran_builtin(spec, spec.target, arguments, context)
        case HttpTarget():
            return await http_tool.run(spec.target, arguments, timeout_ms=spec.timeout_ms)
        case McpTarget():
            return await mcp_client.call(spec.target, arguments, timeout_ms=spec.timeout_ms)
        case _:
            assert_never(spec.target)


async def _ran_builtin(
    spec: ToolSpec, target: BuiltinTarget, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    if builtin := _BUILTIN.get(target.tool_id):
        return await builtin(arguments, context)
    backed = _BACKED.get(target.tool_id)
    if backed is None or target.backend is None:
        return _not_configured(spec)
    return await backed(arguments, context, target.backend)


def _not_configured(spec: ToolSpec) -> ToolResult:
    message = _("The tool %(name)s is not configured in this installation.")
    return ToolResult("", 501, message % {"name": spec.id})


def secrets_of(target: Target | None) -> Iterator[str]:
    """The values that nobody may see of what a tool sends or brings back."""
    match target:
        case BuiltinTarget(backend=Backend(api_key=key)):
            yield key
        case HttpTarget():
            yield from http_tool.secret_values(target)
        case McpTarget(endpoint=endpoint, fixed=fixed):
            for name, value in endpoint.headers.items():
                if name.lower() not in _HARMLESS_HEADERS:
                    yield from secret_parts(value)
            # Of these, many are no secrets: a time zone must stay readable.
            for name, value in (*endpoint.environment.items(), *fixed.items()):
                if is_sensitive(name):
                    yield from secret_parts(str(value))
        case _:
            return
