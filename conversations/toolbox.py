"""The tools of one turn: which calls are admitted, who runs them, what the model is told."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Protocol

from assistants.runtime import AssistantRuntime
from conversations import intents
from conversations.events import ToolCalled, ToolReturned
from conversations.lookup import Lookup, is_registry_search
from conversations.tool_calls import MAX_NAME_CHARS, identity, is_returnable_id, parsed
from core.errors import AppError
from core.ids import prefixed_id
from providers.results import framed
from providers.types import ToolCall, ToolMessage, ToolSchema
from tooling.redaction import redact
from tooling.runner import capped, run_tool, secrets_of
from tooling.schema import argument_problems
from tooling.types import ToolContext, ToolResult, ToolSpec

logger = logging.getLogger(__name__)

# The same call: in a row, and with others between.
MAX_IDENTICAL_IN_A_ROW = 2
MAX_IDENTICAL_CALLS = 3
MAX_CALLS_IN_AN_ANSWER = 16
# Of a turn of the usual length; a longer one may make so many for each call of the model.
MAX_CALLS_IN_A_TURN = 40
CALLS_PER_MODEL_CALL = 4
MAX_MESSAGE_CHARS = 2_000
# Of the arguments of a refused call, for who looks into it.
MAX_REFUSED_CHARS = 2_000

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


class OwnTools(Protocol):
    """Tools that a surface brings along for a turn, besides the assistant's; they run here."""

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """Server tools without a target; a clash of names is the assistant's loss."""
        ...

    async def run(self, called: ToolCalled, arguments: dict[str, Any]) -> ToolResult:
        """The result; raises AppError for what went wrong. Cancelled when late."""
        ...


class Toolbox:
    """What the model may call in this turn."""

    def __init__(
        self,
        runtime: AssistantRuntime,
        client_tools: ClientTools | None,
        lookup: Lookup | None = None,
        *,
        own_tools: OwnTools | None = None,
        max_model_calls: int = 0,
        asks_intents: bool = False,
    ) -> None:
        # Without a device to run them on, client tools are not offered at all.
        offered = {
            spec.id: spec
            for spec in runtime.tools
            if spec.executor == "server" or client_tools is not None
        }
        own = {spec.id: spec for spec in own_tools.specs} if own_tools is not None else {}
        offered |= own
        search = lookup.tool(offered) if lookup else None
        # Without knowledge bases there is nothing that the registry's tool could search.
        self._specs = {
            spec_id: spec for spec_id, spec in offered.items() if not is_registry_search(spec)
        }
        if search is not None:
            self._specs[search.id] = search
        self._lookup, self.search_id = lookup, search.id if search else None
        self._client_tools = client_tools
        self._own_tools, self._own_ids = own_tools, frozenset(own)
        self._asks_intents, self._language = asks_intents, runtime.language
        self._max_calls = max(MAX_CALLS_IN_A_TURN, CALLS_PER_MODEL_CALL * max_model_calls)
        self._context = ToolContext(
            runtime.owner_id,
            runtime.id,
            runtime.language,
            runtime.time_zone,
            user_id=runtime.caller_id,
            llm=runtime.llm,
        )
        # What tools are run with; the events show it without secrets.
        self._arguments: dict[str, dict[str, Any]] = {}
        self._repetition = _Repetition()
        self._used_ids: set[str] = set()
        self._refused_ids: set[str] = set()
        self.must_close = False

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        return tuple(
            ToolSchema(spec.id, spec.description or spec.name, self._parameters(spec))
            for spec in self._specs.values()
        )

    def _parameters(self, spec: ToolSpec) -> dict[str, Any]:
        """What the model may send, which the tool need not get."""
        if not self._asks_intents:
            return spec.parameters
        return intents.asking(spec.parameters, self._language)

    @property
    def brings_data(self) -> bool:
        """Whether there are tools whose results are marked as data."""
        return any(tool_id != self.search_id for tool_id in self._specs)

    def admit_all(
        self, calls: Sequence[ToolCall]
    ) -> list[tuple[ToolCall, ToolCalled | ToolReturned]]:
        """The calls of one answer, each under an id of its own and with what becomes of it.

        Of more calls than anyone needs at once, the first beyond is refused and the others are
        left out, as if the model had not made them.
        """
        considered = [self._with_own_id(call) for call in calls[: MAX_CALLS_IN_AN_ANSWER + 1]]
        admitted = [(call, self.admit(call)) for call in considered[:MAX_CALLS_IN_AN_ANSWER]]
        for call in considered[MAX_CALLS_IN_AN_ANSWER:]:
            count = len(calls) - MAX_CALLS_IN_AN_ANSWER
            message = (
                f"At most {MAX_CALLS_IN_AN_ANSWER} calls at once: "
                f"this and all after it ({count}) were not made."
            )
            admitted.append((call, self._refused(call, 429, message)))
        return admitted

    def admit(self, call: ToolCall) -> ToolCalled | ToolReturned:
        """The checked call, ready to run; or the refusal, which says precisely what is wrong."""
        spec = self._specs.get(call.name)
        arguments, problem, intent = self._read(call, spec)
        if self._repetition.is_too_much(identity(call, arguments)):
            self.must_close = True
            return self._refused(
                call, 429, "The same call was made again and again; answer with what you have."
            )
        if spec is None:
            known = ", ".join(self._specs) or "none"
            message = f"There is no tool {call.name[:MAX_NAME_CHARS]!r}. Tools: {known}."
            return self._refused(call, 404, message)
        secrets = tuple(secrets_of(spec.target))
        if arguments is None or problem:
            return self._refused(call, 400, redact(problem, secrets))
        if len(self._arguments) >= self._max_calls:
            self.must_close = True
            return self._refused(
                call, 429, f"{self._max_calls} calls were made; answer with what you have."
            )
        self._arguments[call.id] = arguments
        return ToolCalled(
            call_id=call.id,
            name=spec.id,
            arguments=_without_secrets(arguments, secrets),
            executor=spec.executor,
            wait_for_response=spec.wait_for_response or spec.executor == "server",
            timeout_ms=spec.timeout_ms,
            intent=redact(intent, secrets),
        )

    def message(self, returned: ToolReturned) -> ToolMessage:
        """The result as the model reads it: what came from outside is marked as such."""
        is_error = returned.code >= 400
        text = returned.output or returned.message
        if is_error:
            text = f"Error {returned.code}: {returned.message} {returned.output}".rstrip()
        message = ToolMessage(returned.call_id, returned.name, text, is_error=is_error)
        return message if returned.call_id in self._refused_ids else self.as_data(message)

    def as_data(self, message: ToolMessage) -> ToolMessage:
        """The result marked as data. Passages of our own search have marks of their own."""
        if message.name == self.search_id:
            return message
        return dataclasses.replace(message, text=framed(message.text))

    async def run_all(
        self, calls: Sequence[ToolCalled], adopt: Adopt | None
    ) -> AsyncGenerator[ToolReturned, None]:
        """Runs the calls side by side and gives each result as it comes.

        Closing cancels what still runs; but calls of server tools, which may have had their effect
        already, and results that nobody took yet are handed to `adopt` where there is one.
        """
        # Not a TaskGroup: closing a generator inside one raises out of `aclose` (PEP 789).
        running = {asyncio.create_task(self._run(called)): called for called in calls}
        try:
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task in done]:
                    # First: what was given away is not handed over as well.
                    del running[task]
                    yield task.result()
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
            message=result.message[:MAX_MESSAGE_CHARS],
            duration_ms=round((clock() - started) * 1000),
        )

    async def _dispatch(self, called: ToolCalled) -> ToolResult:
        arguments = self._arguments[called.call_id]
        if called.name == self.search_id and self._lookup is not None:
            # As long as the token budget allows: passages that are cut off cannot be cited.
            return await self._lookup.answer(called.call_id, arguments)
        if called.name in self._own_ids and self._own_tools is not None:
            result = await self._own_tools.run(called, arguments)
            return dataclasses.replace(result, output=capped(result.output))
        if called.executor == "server":
            return await run_tool(self._specs[called.name], arguments, self._context)
        if not called.wait_for_response or self._client_tools is None:
            return ToolResult("", 200, "accepted")
        answer = await self._client_tools.call(called)
        return ToolResult(capped(answer.output), answer.code, answer.message)

    def _with_own_id(self, call: ToolCall) -> ToolCall:
        """The call under an id that no other call of this turn has; vendors repeat some."""
        if not is_returnable_id(call.id) or call.id in self._used_ids:
            call = dataclasses.replace(call, id=prefixed_id("call"))
        self._used_ids.add(call.id)
        return call

    def _read(
        self, call: ToolCall, spec: ToolSpec | None
    ) -> tuple[dict[str, Any] | None, str, str]:
        """The arguments over the tool's defaults, what is wrong with them, what they are for."""
        try:
            sent = parsed(call.arguments)
        except ValueError as error:
            return None, f"The arguments are not a JSON object: {error}.", ""
        if spec is None:
            return sent, "", ""
        intent = ""
        if self._asks_intents:
            sent, intent = intents.parted(sent, spec.parameters)
        arguments = {**spec.defaults, **sent}
        problems = argument_problems(spec.parameters, arguments)
        return arguments, f"Invalid arguments: {problems}." if problems else "", intent

    def _refused(self, call: ToolCall, code: int, message: str) -> ToolReturned:
        self._refused_ids.add(call.id)
        secrets = {value for spec in self._specs.values() for value in secrets_of(spec.target)}
        written = call.arguments[:MAX_REFUSED_CHARS].encode(errors="replace").decode()
        return ToolReturned(
            call_id=call.id,
            name=call.name[:MAX_NAME_CHARS],
            output="",
            executor="server",
            code=code,
            message=message,
            duration_ms=0,
            refused_arguments=redact(written, secrets),
        )


class _Repetition:
    """Counts calls that ask the same, one after the other and with others between."""

    def __init__(self) -> None:
        # In a long turn, what was asked long before may be asked again.
        self._made: deque[tuple[str, str]] = deque(maxlen=MAX_CALLS_IN_A_TURN)
        self._in_a_row = 0

    def is_too_much(self, call: tuple[str, str]) -> bool:
        """Takes note of one more call."""
        is_again = bool(self._made) and self._made[-1] == call
        self._in_a_row = self._in_a_row + 1 if is_again else 1
        self._made.append(call)
        times = self._made.count(call)
        return self._in_a_row > MAX_IDENTICAL_IN_A_ROW or times > MAX_IDENTICAL_CALLS


def _without_secrets(value: Any, secrets: Sequence[str]) -> Any:
    """The same JSON with the secrets taken out of its strings."""
    if not secrets:
        return value
    match value:
        case str():
            return redact(value, secrets)
        case list():
            return [_without_secrets(item, secrets) for item in value]
        case dict():
            return {key: _without_secrets(item, secrets) for key, item in value.items()}
        case _:
            return value


async def _leave(
    running: dict[asyncio.Task[ToolReturned], ToolCalled], adopt: Adopt | None
) -> None:
    for task, called in running.items():
        if adopt is not None and (called.executor == "server" or task.done()):
            adopt(task)
        else:
            task.cancel()
    cancelled = [task for task in running if task.cancelling()]
    await asyncio.gather(*cancelled, return_exceptions=True)
