"""A language model that plays a script, and an assistant that uses it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from assistants.runtime import AssistantRuntime, TurnTaking
from providers.types import (
    ChatEnd,
    ChatPart,
    ChatRequest,
    Endpoint,
    LlmSpec,
    TextPart,
    ToolCall,
    ToolCallPart,
    Usage,
)
from tooling.types import BuiltinTarget, ToolSpec

LLM = LlmSpec(Endpoint("row", "openai_compatible", "http://127.0.0.1:9/v1", "", "scripted"), "Llm")


def says(*texts: str) -> list[ChatPart | Exception]:
    return [*map(TextPart, texts), ChatEnd("stop", Usage(10, 2))]


def call(name: str, arguments: dict[str, Any] | str, call_id: str = "") -> ToolCallPart:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCallPart(ToolCall(call_id or f"{name}-{text}", name, text))


def calls(*parts: ToolCallPart, text: str = "") -> list[ChatPart | Exception]:
    lead = [TextPart(text)] if text else []
    return [*lead, *parts, ChatEnd("tool_calls", Usage(10, 2))]


@dataclasses.dataclass
class ScriptedModel:
    """Answers its n-th request with the n-th script; an exception in a script is raised."""

    scripts: Sequence[Sequence[ChatPart | Exception]]
    hangs_at_end: bool = False
    requests: list[ChatRequest] = dataclasses.field(default_factory=list)
    opened: int = 0
    closed: int = 0

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatPart]]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[ChatPart]]:
        script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
        self.requests.append(request)
        self.opened += 1
        try:
            yield self._play(script)
        finally:
            self.closed += 1

    async def _play(self, script: Sequence[ChatPart | Exception]) -> AsyncIterator[ChatPart]:
        for part in script:
            if isinstance(part, Exception):
                raise part
            if self.hangs_at_end and isinstance(part, ChatEnd):
                await asyncio.Event().wait()
            yield part


def tool(tool_id: str = "calculator", **changes: Any) -> ToolSpec:
    spec = ToolSpec(
        id=tool_id,
        name=tool_id.title(),
        description=f"Does {tool_id}",
        parameters={
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        },
        defaults={},
        executor="server",
        wait_for_response=False,
        timeout_ms=5000,
        target=BuiltinTarget(tool_id),
    )
    return dataclasses.replace(spec, **changes)


def device_tool(tool_id: str, *, waits: bool, **changes: Any) -> ToolSpec:
    return tool(
        tool_id,
        executor="client",
        wait_for_response=waits,
        target=None,
        parameters={"type": "object", "properties": {}, "required": []},
        **changes,
    )


def assistant(**changes: Any) -> AssistantRuntime:
    runtime = AssistantRuntime(
        id="assistant1",
        owner_id=None,
        name="Ada",
        language="en",
        prompt="",
        first_turn="user_first",
        opener="",
        generates_opener=False,
        opener_tool_calls=(),
        opener_pcm=None,
        llm=LLM,
        recogniser=None,
        voice=None,
        voice_output=False,
        turn_taking=TurnTaking(True, 500, 500, False),
        tools=(),
        knowledge=None,
        embedder=None,
        time_zone="UTC",
    )
    return dataclasses.replace(runtime, **changes)
