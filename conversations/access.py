"""Which calls, conversations, runs and pieces of guidance somebody may see and change."""

from __future__ import annotations

import datetime
import uuid
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from accounts.principals import Principal
from assistants.access import access_assistant
from conversations.models import (
    Call,
    Channel,
    Conversation,
    Personalization,
    Prompt,
    Run,
    RunKind,
    RunStatus,
)
from core.errors import NotFound
from core.statements import prepared_cursor

FEW = 1000
NOT_FOUND_CODE = "CALL_NOT_FOUND"
CONVERSATION_NOT_FOUND = "CONVERSATION_NOT_FOUND"
TASK_NOT_FOUND = "TASK_NOT_FOUND"
PROMPT_NOT_FOUND = "PROMPT_NOT_FOUND"
PERSONALIZATION_NOT_FOUND = "PERSONALIZATION_NOT_FOUND"


class RunState(NamedTuple):
    """How a run stands: its row without what it was asked."""

    id: uuid.UUID
    conversation_id: str
    kind: str
    status: str
    error_message: str
    created_at: datetime.datetime
    updated_at: datetime.datetime
    next_seq: int

    @property
    def is_over(self) -> bool:
        return self.status not in RunStatus.active()


def visible_calls(principal: Principal) -> QuerySet[Call]:
    """The records of the principal's own conversations on every channel; operators see all."""
    calls = Call.objects.all()
    return calls if principal.is_operator else calls.filter(owner_id=principal.user_id)


def access_call(principal: Principal, call_id: str) -> Call:
    """The record with its conversation, if it may be seen.

    Raises NotFound alike for unknown and foreign ids.
    """
    calls = visible_calls(principal).select_related("conversation")
    call = None if "\0" in call_id else calls.filter(pk=call_id).first()
    if call is None:
        raise NotFound(_("Call not found."), code=NOT_FOUND_CODE)
    return call


def visible_calls_with(principal: Principal, assistant_id: str) -> QuerySet[Call]:
    """The visible calls with one assistant, which may be deleted or another's since.

    Raises NotFound where there are none and the assistant may not be seen either.
    """
    calls = visible_calls(principal).filter(assistant_key=assistant_id)
    if not calls.exists():
        access_assistant(principal, assistant_id)
    return calls


def calls_about(calls: QuerySet[Call], principal: Principal, keyword: str) -> QuerySet[Call]:
    """Those of the principal's calls with the keyword in title, summary or assistant's name.

    What was said is not looked through.
    """
    found = Conversation.objects.filter(
        Q(title__icontains=keyword)
        | Q(summary__icontains=keyword)
        | Q(assistant_name__icontains=keyword)
    )
    # Asked for here too: to join all calls with their conversations would take four times as long.
    if not principal.is_operator:
        found = found.filter(owner_id=principal.user_id)
    # Few are looked up by their keys: Postgres does not know that they are few, and would look for
    # them from the newest call to the oldest.
    keys = list(found.order_by().values_list("pk", flat=True)[: FEW + 1])
    if len(keys) <= FEW:
        return calls.filter(pk__in=keys)
    return calls.filter(conversation__in=found)


# --- Conversations and runs --------------------------------------------------------------------


def own_conversations(principal: Principal, channel: Channel) -> QuerySet[Conversation]:
    """The principal's conversations on a channel, the one with the latest words first.

    Operators too go on with nobody else's; the console and the history show them all.
    """
    own = Conversation.objects.filter(owner_id=principal.user_id, channel=channel)
    return own.order_by("-updated_at", "pk")


def access_conversation(
    principal: Principal, conversation_id: str, channel: Channel
) -> Conversation:
    """The conversation on that channel, with its assistant, if it may be seen.

    Operators may see all. Raises NotFound alike for unknown and foreign ids.
    """
    rows = Conversation.objects.filter(channel=channel).select_related("assistant")
    if not principal.is_operator:
        rows = rows.filter(owner_id=principal.user_id)
    row = None if "\0" in conversation_id else rows.filter(pk=conversation_id).first()
    if row is None:
        raise NotFound(_("Conversation not found."), code=CONVERSATION_NOT_FOUND)
    return row


def own_runs(principal: Principal, kind: RunKind = RunKind.TASK) -> QuerySet[Run]:
    """The principal's runs of a kind, newest first."""
    return Run.objects.filter(owner_id=principal.user_id, kind=kind).order_by("-created_at", "pk")


def access_run(principal: Principal, run_id: str, kind: RunKind = RunKind.TASK) -> Run:
    """The run of that kind, if it may be seen; operators may see all.

    Raises NotFound alike for unknown and foreign ids, and for texts that no id could be.
    """
    rows = Run.objects.filter(kind=kind)
    if not principal.is_operator:
        rows = rows.filter(owner_id=principal.user_id)
    key = _uuid_of(run_id)
    row = rows.filter(pk=key).first() if key else None
    if row is None:
        raise _no_task()
    return row


# What a reader of a log asks for several times a second: written out, and without what was asked.
_RUN_STATE = """
select id, conversation_id, kind, status, error_message, created_at, updated_at, next_seq
from conversations_run where id = %(id)s
"""
_RUN_STATE_OF_OWNER = _RUN_STATE + "and kind = %(kind)s and owner_id = %(owner)s"
_RUN_STATE_OF_ANYBODY = _RUN_STATE + "and kind = %(kind)s"


def access_run_state(principal: Principal, run_id: str, kind: RunKind = RunKind.TASK) -> RunState:
    """How a run stands, for whoever may see it: as `access_run`, at a tenth of its price."""
    statement = _RUN_STATE_OF_ANYBODY if principal.is_operator else _RUN_STATE_OF_OWNER
    key = _uuid_of(run_id)
    values = {"id": key, "kind": kind.value, "owner": principal.user_id}
    state = _run_state(statement, values) if key else None
    if state is None:
        raise _no_task()
    return state


def run_state(run_id: uuid.UUID) -> RunState:
    """How a run stands; who may see it is not asked. Raises NotFound."""
    state = _run_state(_RUN_STATE, {"id": run_id})
    if state is None:
        raise _no_task()
    return state


# One statement for both, so that events and status are of the same moment.
_RUN_LOG = """
select r.*, e.type, e.data, e.ts from ({state}) r left join lateral (
  select seq, type, data, extract(epoch from created_at)::float8 as ts
  from conversations_runevent where run_id = r.id and seq >= %(first)s order by seq limit %(limit)s
) e on true order by e.seq
"""
_RUN_LOG_OF_OWNER = _RUN_LOG.format(state=_RUN_STATE_OF_OWNER)
_RUN_LOG_OF_ANYBODY = _RUN_LOG.format(state=_RUN_STATE_OF_ANYBODY)
# Type, data as JSON, and seconds since 1970.
EventRow = tuple[str, str, float]


def access_run_log(
    principal: Principal, run_id: str, *, first: int, limit: int, kind: RunKind = RunKind.TASK
) -> tuple[RunState, list[EventRow]]:
    """How a run stands, as `access_run_state`, and its events from `first` on, at most so many."""
    key = _uuid_of(run_id)
    if key is None:
        raise _no_task()
    statement = _RUN_LOG_OF_ANYBODY if principal.is_operator else _RUN_LOG_OF_OWNER
    values: dict[str, Any] = {
        "id": key,
        "kind": kind.value,
        "owner": principal.user_id,
        "first": first,
        "limit": limit,
    }
    with prepared_cursor() as cursor:
        cursor.execute(statement, values)
        rows = cursor.fetchall()
    if not rows:
        raise _no_task()
    width = len(RunState._fields)
    events = [row[width:] for row in rows]
    # Without an event there is one row all the same, for the run.
    return RunState(*rows[0][:width]), [] if events[0][0] is None else events


def _run_state(statement: str, values: dict[str, Any]) -> RunState | None:
    with prepared_cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return None if row is None else RunState(*row)


def _no_task() -> NotFound:
    return NotFound(_("Task not found."), code=TASK_NOT_FOUND)


def _uuid_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


# --- Guidance: names are each user's own, so nobody sees another's ------------------------------


def own_prompts(principal: Principal) -> QuerySet[Prompt]:
    """The principal's prompts, by name."""
    return Prompt.objects.filter(owner_id=principal.user_id).order_by("name")


def access_prompt(principal: Principal, name: str) -> Prompt:
    """The principal's prompt of that name. Raises NotFound."""
    row = None if "\0" in name else own_prompts(principal).filter(name=name).first()
    if row is None:
        raise NotFound(_("There is no such prompt."), code=PROMPT_NOT_FOUND)
    return row


def own_personalizations(principal: Principal) -> QuerySet[Personalization]:
    """The principal's personalizations, by name."""
    return Personalization.objects.filter(owner_id=principal.user_id).order_by("name")


def access_personalization(principal: Principal, name: str) -> Personalization:
    """The principal's personalization of that name. Raises NotFound."""
    row = None if "\0" in name else own_personalizations(principal).filter(name=name).first()
    if row is None:
        raise NotFound(_("There is no such personalization."), code=PERSONALIZATION_NOT_FOUND)
    return row
