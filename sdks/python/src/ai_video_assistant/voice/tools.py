"""Tools of the client: functions that the assistant calls."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from ai_video_assistant.errors import ConversationError
from ai_video_assistant.voice.events import ToolCall, ToolResult
from ai_video_assistant.voice.protocol import MAX_FRAME_BYTES, result_frame

logger = logging.getLogger(__name__)

ToolFunction = Callable[..., Any]
Send = Callable[[dict[str, Any]], Awaitable[object]]

_TAKEN_BACK = {499, 504}


class ToolError(Exception):
    """Raised by a tool's function to tell the model why it failed, in words meant for it."""


class Refused(Exception):
    """A call that was not made; `code` as in HTTP."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Toolbox:
    """The functions by name, and the calls that are running."""

    def __init__(self, functions: Mapping[str, ToolFunction], send: Send) -> None:
        self._functions = dict(functions)
        self._send = send
        self._running: dict[str, asyncio.Task[None]] = {}

    def add(self, name: str, function: ToolFunction) -> None:
        """Registers a function; one of the same name is replaced."""
        self._functions[name] = function

    def start(self, call: ToolCall) -> None:
        """Makes the call, if it is one for this client. Awaits nothing."""
        if call.executor != "client" or call.id in self._running:
            return
        task = asyncio.create_task(self._answer(call))
        self._running[call.id] = task
        task.add_done_callback(lambda _task: self._running.pop(call.id, None))

    def note(self, result: ToolResult) -> None:
        """Stops a call that the server no longer waits for."""
        task = self._running.get(result.tool_call_id)
        if task is not None and result.code in _TAKEN_BACK:
            task.cancel()

    async def stop(self) -> None:
        """Stops all calls."""
        running = [*self._running.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _answer(self, call: ToolCall) -> None:
        """Makes the call, and says what came of it where that is of interest."""
        output, code, message = await self._outcome(call)
        frame = result_frame(call.id, call.name, output, code, message)
        if len(json.dumps(frame, ensure_ascii=False).encode()) > MAX_FRAME_BYTES:
            # The server would close the conversation.
            logger.error("the tool %s returned more than %d bytes", call.name, MAX_FRAME_BYTES)
            code = 500
            frame = result_frame(call.id, call.name, None, code, "The tool returned too much.")
        # What nobody waits for was taken as done; only a failure is news.
        if call.wait_for_response or code >= 400:
            with suppress(ConversationError):  # told to whoever waits for the conversation
                await self._send(frame)

    async def _outcome(self, call: ToolCall) -> tuple[Any, int, str]:
        """What the call returns, and how that is told: a code as in HTTP, and a message."""
        try:
            return to_jsonable_python(await self._made(call), inf_nan_mode="null"), 200, "ok"
        except Refused as refused:
            logger.warning("the tool %s was not called: %s", call.name, refused)
            return None, refused.code, str(refused)
        except ToolError as error:
            logger.warning("the tool %s failed: %s", call.name, error)
            return None, 500, str(error)
        except PydanticSerializationError:
            logger.exception("the tool %s returned what is not JSON", call.name)
            return None, 500, "The tool returned nothing that can be sent."
        except Exception:  # the outer edge of a call: what it is about is nobody's but the caller's
            logger.exception("the tool %s failed", call.name)
            return None, 500, "The tool failed."

    async def _made(self, call: ToolCall) -> Any:
        function = self._functions.get(call.name)
        if function is None:
            raise Refused(501, "This client has no such tool.")
        try:
            inspect.signature(function).bind(**call.arguments)
        except TypeError as error:
            raise Refused(400, f"The arguments do not fit: {error}") from None
        if inspect.iscoroutinefunction(function):
            return await function(**call.arguments)
        # In a thread: a slow one must not keep the connection waiting.
        made = await asyncio.to_thread(_called, function, call.arguments)
        return await made if inspect.isawaitable(made) else made


def _called(function: ToolFunction, arguments: Mapping[str, Any]) -> Any:
    try:
        return function(**arguments)
    except StopIteration as error:
        # No future takes one: whoever waits for the thread would wait for ever.
        raise RuntimeError("the tool raised StopIteration") from error
