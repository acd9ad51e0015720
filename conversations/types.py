"""What is kept of a conversation: one entry per message."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Literal, TypedDict

from conversations.events import Citation
from providers.types import ToolCall, Usage

Role = Literal["user", "assistant", "tool", "system"]


class ToolCallRow(TypedDict):
    """A call as it is stored on the assistant's message; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class ToolResultRow(TypedDict):
    """What answered a call, as it is stored on the tool's message."""

    call_id: str
    name: str
    code: int
    message: str
    is_error: bool
    duration_ms: int


class CitationRow(TypedDict):
    """A passage that was put before the model, as it is stored on the assistant's message."""

    index: int
    document: str
    page: int | None
    text: str
    score: float | None
    knowledge_base_id: str
    document_id: str
    chunk_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class ToolOutcome:
    """Which call a tool message answers, and how it went (`code` as in HTTP)."""

    call_id: str
    name: str
    code: int = 200
    message: str = "ok"
    duration_ms: int = 0

    @property
    def is_error(self) -> bool:
        return self.code >= 400


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MessageEntry:
    """One message. `text` is what the other side got: of an interrupted answer, what was heard.

    `start_ms` and `end_ms` count from the start of the call. `metrics` are times in milliseconds.
    `citations` are the passages that the answer may rest on; `knowledge_note` says what the search
    for them went without. Without `at`, the moment of recording counts.
    """

    turn: int
    role: Role
    text: str
    generated_text: str = ""
    is_interrupted: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    outcome: ToolOutcome | None = None
    confidence: float | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    usage: Usage = dataclasses.field(default_factory=Usage)
    metrics: dict[str, int] = dataclasses.field(default_factory=dict)
    error: str = ""
    citations: tuple[Citation, ...] = ()
    knowledge_note: str = ""
    at: datetime.datetime | None = None
