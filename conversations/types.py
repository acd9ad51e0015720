"""What is kept of a conversation: one entry per message."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Literal, NotRequired, TypedDict

from conversations.events import Citation
from providers.types import ToolCall, Usage

Role = Literal["user", "assistant", "tool", "system"]


RunModeName = Literal["fast", "thinking", "deep"]


class SettingsRow(TypedDict, total=False):
    """How a conversation is carried on, where its messages do not say otherwise; names and ids."""

    run_mode: RunModeName | None
    model_key: str | None
    prompt_name: str | None
    personalization_name: str | None
    # Of a dialog of the agentchat family: what its client calls its agent.
    agent_type: str
    # Of a workspace session: what the user chose for it.
    tool_ids: list[str]
    mcp_server_ids: list[str]


class TodoRow(TypedDict):
    """One entry of the to-do list that the agent keeps."""

    text: str
    status: Literal["pending", "in_progress", "done"]


class AttachmentRow(TypedDict):
    """What was sent along with a message. Of a text, what was read of it; of an image, its file.

    `source` is `upload:<id>` or `file:<path in the user's folder>`.
    """

    kind: Literal["text", "image"]
    name: str
    source: str
    media_type: str
    text: str


class RunRequestRow(TypedDict):
    """What a run was asked, with every name resolved to what it stood for when it was asked."""

    message: str
    images: list[str]
    run_mode: RunModeName
    llm_id: str | None
    max_iterations: int
    prompt: str
    personalization: PersonalizationRow | None
    language: str


class PersonalizationRow(TypedDict, total=False):
    """How the agent of a user's tasks speaks and works (contract: tasks, §2)."""

    enabled: bool
    self_identify: str
    user_name: str
    profession: str
    tone: str
    considerations: list[str]
    thinking_interval: int | None
    disabled_tool_categories: list[str]
    default_run_mode: RunModeName | None
    auto_generate_title: bool
    tool_intent_enabled: bool
    default_model: str | None


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
    # Of a call that never ran.
    is_refused: NotRequired[bool]


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
    """Which call a tool message answers, and how it went (`code` as in HTTP).

    `is_refused`: the call never ran.
    """

    call_id: str
    name: str
    code: int = 200
    message: str = "ok"
    duration_ms: int = 0
    is_refused: bool = False

    @classmethod
    def of(cls, row: ToolResultRow) -> ToolOutcome:
        """As it is kept with a message."""
        return cls(
            call_id=row["call_id"],
            name=row["name"],
            code=row["code"],
            message=row["message"],
            duration_ms=row["duration_ms"],
            is_refused=row.get("is_refused", False),
        )

    @property
    def is_error(self) -> bool:
        return self.code >= 400


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MessageEntry:
    """One message. `text` is what the other side got: of an interrupted answer, what was heard.

    `start_ms` and `end_ms` count from the start of the call. `metrics` are times in milliseconds.
    `citations` are the passages that the answer may rest on; `knowledge_note` says what the search
    for them went without. `apology` is what was shown behind the text of an answer that failed;
    models are not told it. Without `at`, the moment of recording counts.
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
    attachments: tuple[AttachmentRow, ...] = ()
    model_name: str = ""
    usage: Usage = dataclasses.field(default_factory=Usage)
    metrics: dict[str, int] = dataclasses.field(default_factory=dict)
    error: str = ""
    citations: tuple[Citation, ...] = ()
    knowledge_note: str = ""
    apology: str = ""
    at: datetime.datetime | None = None
