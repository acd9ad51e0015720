"""What happens in a turn, as typed events. Every API encodes these and nothing else.

Order: one TurnStarted; then any number of the others; then exactly one TurnFinished or TurnFailed.
A ToolReturned follows each ToolCalled of the same `call_id`. A Cited comes before the text that
may cite its passages.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from providers.types import Usage

StopReason = Literal["stop", "length", "tool_limit", "content_filter", "interrupted"]
Executor = Literal["client", "server"]


@dataclasses.dataclass(frozen=True, slots=True)
class TurnStarted:
    """The turn was accepted; `turn` counts the turns of the conversation from 1."""

    turn: int


@dataclasses.dataclass(frozen=True, slots=True)
class ModelAsked:
    """A call of the model begins; `number` counts the calls of the turn from 1.

    A second `attempt` at one call means that the first broke off: what it brought since its
    ModelAsked is void. `prompt_tokens` estimates what it is given to read: of a call that breaks
    off nobody tells.
    """

    number: int
    attempt: int
    max_attempts: int
    is_thinking: bool
    model_name: str = dataclasses.field(default="", compare=False)
    prompt_tokens: int = dataclasses.field(default=0, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class ModelAnswered:
    """A call of the model ended. `context_tokens` is what it had read and written by then."""

    number: int
    model_name: str
    usage: Usage
    context_tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class Linked:
    """The service that answers for the assistant keeps the conversation under this id."""

    remote_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More of what the model thinks aloud; never part of the answer."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model asked for a tool. `arguments` were validated against the tool's schema.

    `intent` is what the model says that it is for, "" where it was not asked or did not say.
    """

    call_id: str
    name: str
    arguments: dict[str, Any]
    executor: Executor
    wait_for_response: bool
    timeout_ms: int
    intent: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolReturned:
    """What came back. `code` as in HTTP: 200 done or accepted, 4xx refused, 5xx failed, 504 late.

    A call that was refused and never ran has no ToolCalled before it; `refused_arguments` are then
    what the model wrote, as text of any kind.
    """

    call_id: str
    name: str
    output: str
    executor: Executor
    code: int
    message: str
    duration_ms: int
    refused_arguments: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Citation:
    """A passage that the answer may rest on; the answer cites it as `[index]`.

    `score` is the cosine of question and passage, None where only their words were compared.
    """

    index: int
    document: str
    text: str
    knowledge_base_id: str
    document_id: str
    chunk_id: str
    page: int | None
    score: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Cited:
    """A search was made: the passages that it put before the model, or none where nothing fits.

    A passage is told of once in a turn. `note` says, for operators, what the search went without.
    """

    citations: tuple[Citation, ...]
    note: str = ""
    duration_ms: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn ended well, or was cut short (`reason`)."""

    reason: StopReason
    usage: Usage


@dataclasses.dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn ended badly. `message` may be shown to the user; details are in the log."""

    code: str
    message: str
    is_retryable: bool
    usage: Usage


TurnEvent = (
    TurnStarted
    | ModelAsked
    | ModelAnswered
    | Linked
    | TextDelta
    | ThinkingDelta
    | ToolCalled
    | ToolReturned
    | Cited
    | TurnFinished
    | TurnFailed
)
