"""The tools of one turn: which calls are admitted, who runs them, what the model is told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Protocol

from assistants.runtime import AssistantRuntime
from conversations.events import ToolCalled, ToolReturned
from conversations.lookup import REGISTRY_TOOL, Lookup
from core.errors import AppError
from core.ids import prefixed_id
from providers.types import ToolCall, ToolMessage, ToolSchema
from tooling.runner import capped, run_tool
from tooling.schema import argument_problems
from tooling.types import ToolContext, ToolResult

logger = logging.getLogger(__name__)

MAX_IDENTICAL_CALLS = 2
MAX_ARGUMENT_CHARS = 32_000
MAX_ARGUMENT_DEPTH = 64

Adopt = Callable[["asyncio.Task[ToolReturned]"], None]


@dataclasses.dataclass(frozen=True, slots=True)
class ClientToolResult:
    """What the caller's device answered. `code` as in HTTP."""

    output: str
    code: int = 200
    message: str = "ok"


class ClientTools(Protocol):
    """Runs tools on the caller's device; each surface supplies its own."""

    async def call(self, called: ToolCalled) -> ClientToolResult:
        """The device's answer. Asked only where the answer is waited for; cancelled when late."""
        ...


class Toolbox:
    """What the model may call in this turn."""

    def __init__(
        self,
        runtime: AssistantRuntime,
        client_tools: ClientTools | None,
        lookup: Lookup | None = None,
    ) -> None:
        # Without a device to run them on, client tools are not offered at all.
        self._specs = {
            spec.id: spec
            for spec in runtime.tools
            if spec.executor == "server" or client_tools is not None
        }
        search = lookup.tool(self._specs) if lookup else None
        # Without knowledge bases there is nothing that the registry's tool could search.
        self._specs.pop(REGISTRY_TOOL, None)
        if search is not None:
            self._specs[search.id] = search
        self._lookup, self._search_id = lookup, search.id if search else None
        self._client_tools = client_tools
        self._context = ToolContext(
            runtime.owner_id, runtime.id, runtime.language, runtime.time_zone
        )
        self._last_call: tuple[str, str] | None = None
        self._times_in_a_row = 0
        self._used_ids: set[str] = set()
        self.has_refused_repeat = False

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        return tuple(
            ToolSchema(spec.id, spec.description or spec.name, spec.parameters)
            for spec in self._specs.values()
        )

    def with_own_id(self, call: ToolCall) -> ToolCall:
        """The call under an id that no other call of this turn has; vendors repeat some."""
        if call.id and call.id not in self._used_ids:
            self._used_ids.add(call.id)
            return call
        return dataclasses.replace(call, id=prefixed_id("call"))

    def admit(self, call: ToolCall) -> ToolCalled | ToolReturned:
        """The checked call, ready to run; or the refusal, which says precisely what is wrong."""
        spec = self._specs.get(call.name)
        if spec is None:
            known = ", ".join(self._specs) or "none"
            return _refused(call, 404, f"There is no tool {call.name[:64]!r}. Tools: {known}.")
        try:
            sent = _parsed(call.arguments)
        except ValueError as error:
            return _refused(call, 400, f"The arguments are not a JSON object: {error}.")
        arguments = {**spec.defaults, **sent}
        if self._is_repeated(call.name, arguments):
            self.has_refused_repeat = True
            return _refused(
                call, 429, "The same call was just made twice; answer with what you have."
            )
        problems = argument_problems(spec.parameters, arguments)
        if problems:
            return _refused(call, 400, f"Invalid arguments: {problems}.")
        return ToolCalled(
            call_id=call.id,
            name=spec.id,
            arguments=arguments,
            executor=spec.executor,
            wait_for_response=spec.wait_for_response or spec.executor == "server",
            timeout_ms=spec.timeout_ms,
        )

    async def run_all(
        self, calls: Sequence[ToolCalled], adopt: Adopt | None
    ) -> AsyncGenerator[ToolReturned, None]:
        """Runs the calls side by side and gives each result as it comes.

        Closing cancels what still runs; but calls of server tools, which may have had their effect
        already, are handed to `adopt` where there is one.
        """
        # Not a TaskGroup: closing a generator inside one raises out of `aclose` (PEP 789).
        running = {asyncio.create_task(self._run(called)): called for called in calls}
        try:
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task in done]:
                    yield task.result()
                    del running[task]
        finally:
            await _leave(running, adopt)

    async def _run(self, called: ToolCalled) -> ToolReturned:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(called.timeout_ms / 1000):
                result = await self._dispatch(called)
        except TimeoutError:
            result = ToolResult("", 504, f"No answer within {called.timeout_ms / 1000:g} s.")
        except AppError as error:
            result = ToolResult("", error.http_status, str(error.message))
        except Exception:  # the outer edge of a tool's call: the turn goes on
            logger.exception("Tool %s failed", called.name)
            result = ToolResult("", 500, "The tool failed.")
        return ToolReturned(
            call_id=called.call_id,
            name=called.name,
            output=result.output,
            executor=called.executor,
            code=result.code,
            message=result.message,
            duration_ms=round((clock() - started) * 1000),
        )

    async def _dispatch(self, called: ToolCalled) -> ToolResult:
        if called.name == self._search_id and self._lookup is not None:
            # As long as the token budget allows: passages that are cut off cannot be cited.
            return await self._lookup.answer(called.call_id, called.arguments)
        if called.executor == "server":
            return await run_tool(self._specs[called.name], called.arguments, self._context)
        if not called.wait_for_response or self._client_tools is None:
            return ToolResult("", 200, "accepted")
        answer = await self._client_tools.call(called)
        return ToolResult(capped(answer.output), answer.code, answer.message)

    def _is_repeated(self, name: str, arguments: dict[str, Any]) -> bool:
        call = (name, json.dumps(arguments, sort_keys=True))
        self._times_in_a_row = self._times_in_a_row + 1 if call == self._last_call else 1
        self._last_call = call
        return self._times_in_a_row > MAX_IDENTICAL_CALLS


def tool_message(returned: ToolReturned) -> ToolMessage:
    """The result as the model reads it."""
    if returned.code >= 400:
        text = f"Error {returned.code}: {returned.message} {returned.output}".rstrip()
        return ToolMessage(returned.call_id, returned.name, text, is_error=True)
    return ToolMessage(returned.call_id, returned.name, returned.output or returned.message)


def is_json_object(arguments: str) -> bool:
    """Whether a vendor would take these arguments back."""
    try:
        _parsed(arguments)
    except ValueError:
        return False
    return bool(arguments)


def _parsed(arguments: str) -> dict[str, Any]:
    if len(arguments) > MAX_ARGUMENT_CHARS:
        raise ValueError(f"longer than {MAX_ARGUMENT_CHARS} characters")
    try:
        value = json.loads(arguments or "{}")
        is_deep = _is_deeper(value, MAX_ARGUMENT_DEPTH)
    except RecursionError:
        is_deep = True
    if is_deep:
        raise ValueError("nested too deeply")
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} instead of an object")
    return value


def _is_deeper(value: object, levels: int) -> bool:
    if levels == 0:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_deeper(item, levels - 1) for item in inner)


def _refused(call: ToolCall, code: int, message: str) -> ToolReturned:
    return ToolReturned(
        call_id=call.id,
        name=call.name[:64],
        output="",
        executor="server",
        code=code,
        message=message,
        duration_ms=0,
    )


async def _leave(
    running: dict[asyncio.Task[ToolReturned], ToolCalled], adopt: Adopt | None
) -> None:
    for task, called in running.items():
        if adopt is not None and called.executor == "server":
            adopt(task)
        else:
            task.cancel()
    cancelled = [task for task in running if task.cancelling()]
    await asyncio.gather(*cancelled, return_exceptions=True)
