"""An assistant as a conversation needs it: read once, frozen, without any ORM object."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from providers.types import AsrSpec, EmbedderSpec, LlmSpec, VoiceSpec


@dataclasses.dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the assistant may use. Client tools run on the caller's device."""

    id: str
    name: str
    description: str
    parameters: dict[str, Any]
    defaults: dict[str, Any]
    executor: Literal["client", "server"]
    wait_for_response: bool
    timeout_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class OpenerToolCall:
    tool_name: str
    arguments: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class TurnTaking:
    """When the assistant listens, answers and yields. Times in milliseconds."""

    can_be_interrupted: bool
    interruption_ms: int
    end_of_turn_silence_ms: int
    interim_transcripts: bool


@dataclasses.dataclass(frozen=True, slots=True)
class AssistantRuntime:
    """The snapshot. `recogniser` and `voice` are None where no enabled row can serve."""

    id: str
    owner_id: int | None
    name: str
    language: Literal["zh", "en"]
    prompt: str
    first_turn: Literal["bot_first", "user_first"]
    opener: str
    generates_opener: bool
    opener_tool_calls: tuple[OpenerToolCall, ...]
    opener_pcm: bytes | None
    llm: LlmSpec | None
    recogniser: AsrSpec | None
    voice: VoiceSpec | None
    voice_output: bool
    turn_taking: TurnTaking
    tools: tuple[ToolSpec, ...]
    knowledge_base_ids: tuple[str, ...]
    embedder: EmbedderSpec | None
    time_zone: str
