"""The neutral forms in which the product talks to models; clients translate them to the wire."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is and how to speak to it: a model row with its provider's values filled in.

    Secrets are in it; never log or encode one.
    """

    row_id: str
    vendor: str
    base_url: str
    api_key: str = dataclasses.field(repr=False)
    model_name: str


@dataclasses.dataclass(frozen=True, slots=True)
class LlmSpec:
    """A language model, ready to be asked."""

    endpoint: Endpoint
    name: str
    temperature: float | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    # Whether it can be told to think, or not to; and whether it sees images.
    supports_thinking: bool = False
    accepts_images: bool = False


BrainKind = Literal["dify", "fastgpt"]


@dataclasses.dataclass(frozen=True, slots=True)
class BrainSpec:
    """A service that answers for an assistant and keeps the conversation, ready to be asked."""

    kind: BrainKind
    base_url: str
    api_key: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class AsrSpec:
    """A recogniser, ready to listen. `language`: zh, en or multi."""

    endpoint: Endpoint
    name: str
    language: str
    hotwords: tuple[str, ...] = ()
    enable_punctuation: bool = True
    enable_normalization: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class VoiceSpec:
    """A voice, ready to speak. Gain in decibels, pitch in semitones, speed 1.0 = normal."""

    endpoint: Endpoint
    name: str
    language: str
    voice_key: str
    speed: float = 1.0
    gain: float = 0.0
    pitch: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """An embedding model. `dimensions` is None where the model decides."""

    endpoint: Endpoint
    name: str
    dimensions: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RerankerSpec:
    """A rerank model, ready to be asked."""

    endpoint: Endpoint
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or several model calls."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the model wrote it: `arguments` is JSON text, not yet validated."""

    id: str
    name: str
    arguments: str


@dataclasses.dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as the model is told about it. `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class SystemMessage:
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ImagePart:
    """An image for a model that sees; `media_type` as image/png."""

    data: bytes = dataclasses.field(repr=False)
    media_type: str


@dataclasses.dataclass(frozen=True, slots=True)
class UserMessage:
    text: str
    images: tuple[ImagePart, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Thought:
    """What a model thought before it called tools, to be given back to it with their results.

    `kind` and `signature` are its vendor's own and mean nothing to others.
    """

    text: str
    kind: str = ""
    signature: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the model said and called. `thoughts` belong to a turn that is not over yet."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    thoughts: tuple[Thought, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ToolMessage:
    """The result of one call, answering `call_id`."""

    call_id: str
    name: str
    text: str
    is_error: bool = False


ChatMessage = SystemMessage | UserMessage | AssistantMessage | ToolMessage


@dataclasses.dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call of a language model.

    `tool_choice` "none" sends the tools but forbids their use, which a closing answer needs:
    vendors refuse a history with tool calls when no tools are sent.
    """

    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSchema, ...] = ()
    tool_choice: Literal["auto", "none"] = "auto"
    temperature: float | None = None
    max_tokens: int | None = None
    # None leaves it to the model; the others are said only to models that can be told.
    thinking: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ThinkingPart:
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ThoughtPart:
    """A thought as a whole, before the calls it led to; only where the vendor wants it back."""

    thought: Thought


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A complete call; clients assemble the fragments that vendors stream."""

    call: ToolCall


@dataclasses.dataclass(frozen=True, slots=True)
class ChatEnd:
    """The last part of every stream."""

    reason: FinishReason
    usage: Usage


ChatPart = TextPart | ThinkingPart | ThoughtPart | ToolCallPart | ChatEnd


@dataclasses.dataclass(frozen=True, slots=True)
class BrainRequest:
    """One message for a service that keeps the conversation: only what is new is sent.

    `user` tells callers apart without naming them. `conversation_id` is ours, `remote_id` the
    service's own, "" before it gave one. `variables` are what its application may ask for.
    """

    text: str
    user: str
    conversation_id: str
    remote_id: str = ""
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    images: tuple[ImagePart, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class LinkedPart:
    """The service keeps the conversation under this id, by which it goes on."""

    remote_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class RetractedPart:
    """The service takes back all that it said so far; what follows stands in its place."""


BrainPart = TextPart | ThinkingPart | LinkedPart | RetractedPart | ChatEnd


@dataclasses.dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. Confidence 0 to 1, or None where the recogniser gives none."""

    text: str
    language: str = ""
    confidence: float | None = None
