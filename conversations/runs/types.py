"""What a run is to the code that works on it: no rows, no queries."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from conversations.encoding import Turn
from conversations.models import RunKind, RunStatus
from conversations.types import AttachmentRow, RunRequestRow


@dataclasses.dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is to be appended; without `at`, it happens when it is written."""

    type: str
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    at: datetime.datetime | None = None


def stopped() -> NewEvent:
    """The last event of a run that its user stopped."""
    message = _("The task was stopped.")
    return NewEvent("task_stopped", {"message": message, "reason": "user_requested"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A message that is to be answered. `events` follow the user's message in the log."""

    kind: RunKind
    owner_id: int
    conversation_id: str
    message: str
    request: RunRequestRow
    attachments: tuple[AttachmentRow, ...] = ()
    events: tuple[NewEvent, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A run that somebody works on, and the number that every write of theirs must name.

    `next_seq` is where the log stood when it was claimed: from there on only they append.
    """

    run_id: UUID
    attempt: int
    owner_id: int
    conversation_id: str
    turn: int
    kind: RunKind
    request: RunRequestRow
    next_seq: int


@dataclasses.dataclass(frozen=True, slots=True)
class Appended:
    """Where the log stands after an append, and whether the user wants the run to stop."""

    next_seq: int
    is_cancel_requested: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ends: its final status, its last event, and what was answered until then.

    `turn` is kept as the assistant's messages, None keeps none; `metrics` are times in
    milliseconds that go with the last of them, as does the `apology` that was shown.
    `is_to_be_learnt`: whoever remembers the user is to look through it.
    """

    status: RunStatus
    last: NewEvent
    turn: Turn | None
    error_code: str = ""
    error_message: str = ""
    events_before: tuple[NewEvent, ...] = ()
    metrics: dict[str, int] = dataclasses.field(default_factory=dict)
    apology: str = ""
    is_to_be_learnt: bool = False

    @property
    def events(self) -> tuple[NewEvent, ...]:
        return (*self.events_before, self.last)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event as it is read: `data` names the task and its conversation as well."""

    idx: int
    type: str
    data: dict[str, Any]
    ts: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a run's log, and how the run stands.

    `status` is that at the end of this page: a run that is over says so only together with its
    last event, so that a reader who stops there has read everything.
    """

    run_id: UUID
    conversation_id: str
    kind: RunKind
    status: RunStatus
    error: str
    created_at: datetime.datetime
    updated_at: datetime.datetime
    events: tuple[StoredEvent, ...]
    next_offset: int
    has_more: bool

    @property
    def is_last(self) -> bool:
        """Whether nothing will ever follow."""
        return self.status not in RunStatus.active()
