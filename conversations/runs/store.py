"""Runs in Postgres: begun, claimed, appended to, ended and read. The row is the truth about a run.

Every function is one unit of database work. Whoever works on a run holds a `Claim`; each write asks
for its attempt, so that a process that was given up changes nothing any more. Of the rows that are
locked together, the conversation's comes first.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Least
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.principals import Principal
from conversations import history, journal
from conversations.access import EventRow, RunState, access_run_log, run_state
from conversations.encoding import Collector, Turn
from conversations.memory import lessons
from conversations.models import Conversation, Run, RunEvent, RunKind, RunStatus
from conversations.runs import statements
from conversations.runs.recovery import turn_so_far
from conversations.runs.types import (
    Appended,
    Claim,
    NewEvent,
    NewRun,
    Outcome,
    Page,
    StoredEvent,
    stopped,
)
from conversations.runs.waking import wake_after_commit
from conversations.types import MessageEntry
from core.errors import Conflict, NotFound
from core.statements import prepared_cursor
from providers.types import Usage

__all__ = [
    "Appended",
    "Batch",
    "Claim",
    "NewEvent",
    "NewRun",
    "Outcome",
    "Page",
    "StoredEvent",
    "append",
    "append_all",
    "claim",
    "claim_of",
    "claim_waiting",
    "finish",
    "give_back",
    "page_of",
    "read",
    "read_as",
    "request_cancel",
    "spent_before",
    "start_claimed",
    "start_task",
    "stopped",
]

MAX_ERROR_CHARS = 500
MAX_WORKER_CHARS = 100
PAGE_EVENTS = 1000
_NOTHING = Usage()

# --- Beginning ---------------------------------------------------------------------------------


def start_task(new: NewRun) -> Run:
    """A task that waits for a worker, who is woken on commit. `new.events` follow `user_message`.

    Raises Conflict where the user has an active task, or the conversation an active run; its
    details name that run as `task_id`. Raises NotFound where the conversation is gone.
    """
    run = _start(new, Run(status=RunStatus.PENDING))
    wake_after_commit(run.pk)
    return run


def start_claimed(new: NewRun, *, worker: str) -> Claim:
    """A run that the caller works on from now. Raises as `start_task` does."""
    now = timezone.now()
    run = Run(
        status=RunStatus.RUNNING,
        attempt=1,
        worker=worker[:MAX_WORKER_CHARS],
        started_at=now,
        heartbeat_at=now,
    )
    return claim_of(_start(new, run))


def _start(new: NewRun, run: Run) -> Run:
    events = (_user_message(new), *new.events)
    run.kind, run.owner_id, run.conversation_id = new.kind, new.owner_id, new.conversation_id
    run.request = journal.storable(dict(new.request))
    run.next_seq = len(events)
    # The turn is the statement's to give.
    message = MessageEntry(turn=0, role="user", text=new.message, attachments=new.attachments)
    values = {
        **journal.turn_values(new.conversation_id, [message]),
        "run": json.dumps(journal.column_values(run), default=str),
        "events": _event_rows(events),
    }
    try:
        # One statement needs no transaction; inside of one, what it refuses must not end that.
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            turn = _first_value(statements.START, values)
    except IntegrityError as error:
        raise _conflict(new, error) from error
    if turn is None:
        raise NotFound(_("Conversation not found."), code="CONVERSATION_NOT_FOUND")
    run.turn = turn
    return run


def _first_value(statement: str, values: dict[str, Any]) -> Any:
    """The first value of the first row; None where there is no row."""
    with prepared_cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return None if row is None else row[0]


def _user_message(new: NewRun) -> NewEvent:
    images = new.request.get("images") or []
    return NewEvent(
        "user_message", {"message": new.message, **({"images": images} if images else {})}
    )


def _conflict(new: NewRun, error: IntegrityError) -> Conflict:
    """What is in the way of a new run; anything else goes on as it was raised."""
    constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "")
    active = Run.objects.filter(status__in=RunStatus.active())
    match constraint:
        case "run_one_task_per_user":
            active = active.filter(owner_id=new.owner_id, kind=RunKind.TASK)
        case "run_one_per_conversation":
            active = active.filter(conversation_id=new.conversation_id)
        case _:
            raise error
    # It may have ended by now; then there is none to be named.
    ids = [str(run_id) for run_id in active.values_list("pk", flat=True)[:1]]
    if new.kind == RunKind.TASK:
        message = _("A task is already running. Please try again later.")
        return Conflict(message, code="TASK_RUNNING", details={"task_id": ids})
    message = _("The conversation is being answered.")
    return Conflict(message, code="CONVERSATION_BUSY", details={"task_id": ids})


# --- Claiming ----------------------------------------------------------------------------------

_CLAIM = """
update conversations_run
set status = 'running', attempt = attempt + 1, worker = %(worker)s, heartbeat_at = now(),
    started_at = coalesce(started_at, now()), updated_at = now()
where id in (
  select id from conversations_run where status = 'pending' and {which}
  order by created_at limit %(limit)s for update skip locked
)
returning id, attempt, owner_id, conversation_id, turn, kind, request, next_seq
"""
_CLAIM_ONE = _CLAIM.format(which="id = %(id)s")
_CLAIM_WAITING = _CLAIM.format(which="kind = 'task'")


def claim(run_id: UUID, *, worker: str) -> Claim | None:
    """The run, for the one who is to work on it; None for everyone after."""
    values = {"id": run_id, "worker": worker[:MAX_WORKER_CHARS], "limit": 1}
    claims = _claimed(_CLAIM_ONE, values)
    return claims[0] if claims else None


def claim_waiting(*, limit: int, worker: str) -> list[Claim]:
    """The tasks that have waited longest, claimed."""
    return _claimed(_CLAIM_WAITING, {"worker": worker[:MAX_WORKER_CHARS], "limit": limit})


def _claimed(statement: str, values: dict[str, Any]) -> list[Claim]:
    with prepared_cursor() as cursor:
        cursor.execute(statement, values)
        rows = cursor.fetchall()
    return [
        Claim(
            run_id=row[0],
            attempt=row[1],
            owner_id=row[2],
            conversation_id=row[3],
            turn=row[4],
            kind=RunKind(row[5]),
            request=json.loads(row[6]),
            next_seq=row[7],
        )
        for row in rows
    ]


def claim_of(run: Run) -> Claim:
    """The claim of whoever works on the run."""
    return Claim(
        run_id=run.pk,
        attempt=run.attempt,
        owner_id=run.owner_id,
        conversation_id=run.conversation_id,
        turn=run.turn,
        kind=RunKind(run.kind),
        request=run.request,
        next_seq=run.next_seq,
    )


# --- Appending ---------------------------------------------------------------------------------

# One statement: the fence, the heartbeat, the numbers, the events and the flag. It is as durable as
# any other: what a reader has seen must not be gone after a crash of the database. A process writes
# for all of its runs together, so that this costs one flush to the disk for all of them.
_APPEND = """
with batch as (
  select * from jsonb_to_recordset(%(batches)s::jsonb)
    as b(id uuid, attempt int, first bigint, count int, acted bool)
), held as (
  update conversations_run r
  set heartbeat_at = now(), updated_at = now(), next_seq = r.next_seq + b.count,
      has_acted = r.has_acted or b.acted
  from batch b
  where r.id = b.id and r.attempt = b.attempt and r.status in ('running', 'cancel_requested')
    and r.next_seq = coalesce(b.first, r.next_seq)
  returning r.id, r.next_seq, r.next_seq - b.count as first, r.status
), written as (
  insert into conversations_runevent (run_id, seq, type, data, created_at)
  select held.id, held.first + e.place, e.type, e.data, coalesce(e.at, now())
  from held join jsonb_to_recordset(%(events)s::jsonb)
    as e(id uuid, place int, type text, data jsonb, at timestamptz) on e.id = held.id
)
select id, next_seq, status from held
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Events for one run. With `first`, the place of the first, it may be written twice.

    `has_acted` says that a tool is about to run which may change something.
    """

    claim: Claim
    events: tuple[NewEvent, ...]
    first: int | None = None
    has_acted: bool = False


def append(claim: Claim, events: Sequence[NewEvent], *, has_acted: bool = False) -> Appended | None:
    """Writes events behind the others; None where the attempt is lost: stop at once."""
    return append_all([Batch(claim, tuple(events), has_acted=has_acted)])[0]


def append_all(batches: Sequence[Batch]) -> list[Appended | None]:
    """As `append`, for several runs in one statement; at most one batch of each."""
    values = {
        "batches": json.dumps([_batch_row(batch) for batch in batches]),
        "events": json.dumps(
            [
                {"id": str(batch.claim.run_id), **row}
                for batch in batches
                for row in map(_event_row, count(), batch.events)
            ]
        ),
    }
    with prepared_cursor() as cursor:
        cursor.execute(_APPEND, values)
        found = {row[0]: Appended(row[1], _wants_end(row[2])) for row in cursor.fetchall()}
    unclear = [each for each in batches if each.claim.run_id not in found]
    if unclear:
        found |= _written_before(unclear)
    return [found.get(batch.claim.run_id) for batch in batches]


def _written_before(batches: Iterable[Batch]) -> dict[UUID, Appended]:
    """Of batches that were refused, those whose first writing had not been confirmed."""
    expected = {
        each.claim.run_id: (each.claim.attempt, each.first + len(each.events))
        for each in batches
        if each.first is not None
    }
    rows = Run.objects.filter(pk__in=expected, status__in=RunStatus.owned())
    return {
        pk: Appended(next_seq, _wants_end(status))
        for pk, attempt, next_seq, status in rows.values_list("pk", "attempt", "next_seq", "status")
        if expected[pk] == (attempt, next_seq)
    }


def _wants_end(status: str) -> bool:
    return status == RunStatus.CANCEL_REQUESTED


def _batch_row(batch: Batch) -> dict[str, Any]:
    return {
        "id": str(batch.claim.run_id),
        "attempt": batch.claim.attempt,
        "first": batch.first,
        "count": len(batch.events),
        "acted": batch.has_acted,
    }


def _event_row(place: int, event: NewEvent) -> dict[str, Any]:
    return {
        "place": place,
        "type": event.type,
        "data": journal.storable(event.data),
        "at": event.at and event.at.isoformat(),
    }


def _event_rows(events: Sequence[NewEvent]) -> str:
    """Events of one run, as its first or last."""
    return json.dumps(list(map(_event_row, count(), events)))


def _insert_events(run_id: UUID, first: int, events: Sequence[NewEvent]) -> None:
    now = timezone.now()
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run_id,
            seq=first + place,
            type=event.type,
            data=journal.storable(event.data),
            created_at=event.at or now,
        )
        for place, event in enumerate(events)
    )


# --- Ending ------------------------------------------------------------------------------------


def finish(
    claim: Claim,
    outcome: Outcome,
    *,
    first: int | None = None,
    silent_since: datetime.datetime | None = None,
) -> bool:
    """Ends the run: messages, usage, last events and final status together, or nothing at all.

    False where the attempt is lost. With `first`, the place of the first event, it may be tried
    again after an answer that never came, and only ends a log that nothing was appended to. With
    `silent_since`, the last sign of life that somebody else saw, also where there was another.
    """
    outcome = _with_earlier_attempts(claim, outcome)
    values = {**_ending(claim, outcome), "first": first, "silent_since": silent_since}
    with transaction.atomic() if outcome.is_to_be_learnt else nullcontext():
        has_ended = _first_value(statements.FINISH, values) is not None
        if has_ended and outcome.is_to_be_learnt:
            lessons.note(claim.conversation_id, claim.turn)
    return has_ended or (first is not None and _was_finished(claim, outcome, first))


def spent_before(claim: Claim) -> Usage:
    """What the attempts before this one took."""
    if claim.attempt == 1:
        return _NOTHING
    rows = Run.objects.filter(pk=claim.run_id, status__in=RunStatus.owned(), attempt=claim.attempt)
    taken = rows.values_list("input_tokens", "output_tokens").first()
    return Usage(*taken) if taken else _NOTHING


def _with_earlier_attempts(claim: Claim, outcome: Outcome) -> Outcome:
    """The outcome with what the whole run took."""
    if outcome.turn is None or claim.attempt == 1:
        return outcome
    usage = outcome.turn.usage + spent_before(claim)
    return dataclasses.replace(outcome, turn=dataclasses.replace(outcome.turn, usage=usage))


def _ending(claim: Claim, outcome: Outcome) -> dict[str, Any]:
    """The values of the statement that ends a run."""
    entries = _entries(outcome)
    turn = outcome.turn
    # What columns hold stays where no answer was begun.
    usage = turn and turn.usage
    remote_id = journal.storable(turn.remote_id) if turn else ""
    return {
        **journal.turn_values(
            claim.conversation_id,
            entries,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
        ),
        "said": len(entries),
        "remote_id": remote_id[: journal.MAX_REMOTE_ID_CHARS] or None,
        "id": claim.run_id,
        "attempt": claim.attempt,
        "status": outcome.status,
        "input_tokens": usage and journal.countable(usage.input_tokens),
        "output_tokens": usage and journal.countable(usage.output_tokens),
        "events": _event_rows(outcome.events),
        "added": len(outcome.events),
    }


def _entries(outcome: Outcome) -> tuple[MessageEntry, ...]:
    """The answer as messages; one that was stopped before it said or took anything is none."""
    turn = outcome.turn
    if turn is None or _is_nothing(turn):
        return ()
    entries = list(history.entries(turn))
    last = max(at for at, entry in enumerate(entries) if entry.role == "assistant")
    entries[last] = dataclasses.replace(
        entries[last],
        metrics=outcome.metrics,
        # The run knows of errors that the turn does not: a process that ended.
        error=outcome.error_message or entries[last].error,
        apology=outcome.apology,
    )
    return tuple(entries)


def _is_nothing(turn: Turn) -> bool:
    has_said = turn.text or turn.tool_calls or turn.refusals
    return turn.reason == "interrupted" and not has_said and turn.usage == _NOTHING


def _is_silent(since: datetime.datetime | None) -> Q:
    return Q() if since is None else Q(heartbeat_at=since)


def _was_finished(claim: Claim, outcome: Outcome, first: int) -> bool:
    return Run.objects.filter(
        pk=claim.run_id,
        attempt=claim.attempt,
        status=outcome.status,
        next_seq=first + len(outcome.events),
    ).exists()


def give_back(
    claim: Claim,
    events: Sequence[NewEvent],
    *,
    most_attempts: int,
    spent: Usage = _NOTHING,
    silent_since: datetime.datetime | None = None,
) -> bool:
    """Has another worker begin the task anew, and wakes one. `events` say so in the log.

    What the attempt `spent` is kept, and counts with what the next one takes.

    False where the attempt is lost, something was changed already, the user wants it to end, or
    so many attempts were made; with `silent_since`, the last sign of life that somebody else saw,
    also where there was another.
    """
    with transaction.atomic():
        held = Run.objects.filter(
            _is_silent(silent_since),
            pk=claim.run_id,
            kind=RunKind.TASK,
            attempt=claim.attempt,
            attempt__lt=most_attempts,
            status=RunStatus.RUNNING,
            has_acted=False,
        ).select_for_update(no_key=True)
        seq = held.values_list("next_seq", flat=True).first()
        if seq is None:
            return False
        Run.objects.filter(pk=claim.run_id).update(
            status=RunStatus.PENDING,
            next_seq=seq + len(events),
            heartbeat_at=None,
            worker="",
            input_tokens=Least(F("input_tokens") + spent.input_tokens, journal.MAX_COUNT),
            output_tokens=Least(F("output_tokens") + spent.output_tokens, journal.MAX_COUNT),
            updated_at=timezone.now(),
        )
        _insert_events(claim.run_id, seq, events)
        wake_after_commit(claim.run_id)
    return True


def request_cancel(run: Run) -> None:
    """Has the run end as soon as its worker hears of it; one that nobody works on ends at once.

    May be asked again, and of runs that are over, which it leaves as they are.
    """
    with transaction.atomic():
        # Before the run's, as by all who lock both.
        Conversation.objects.filter(pk=run.conversation_id).select_for_update(no_key=True).first()
        held = Run.objects.filter(pk=run.pk, status__in=RunStatus.active())
        row = held.select_for_update(no_key=True).first()
        if row is None:
            return
        if row.status == RunStatus.PENDING and row.attempt:
            _end_between_attempts(row)
            return
        now = timezone.now()
        if row.status == RunStatus.PENDING:
            row.status, row.finished_at = RunStatus.CANCELED, now
            _insert_events(row.pk, row.next_seq, [stopped()])
            row.next_seq += 1
        else:
            row.status = RunStatus.CANCEL_REQUESTED
        row.updated_at = now
        row.save(update_fields=["status", "finished_at", "next_seq", "updated_at"])


def _end_between_attempts(run: Run) -> None:
    """Ends a task that waits to be begun anew, with what its attempts took, in a transaction."""
    ours = claim(run.pk, worker="")
    assert ours is not None, "it waits, and its row is held"
    events = RunEvent.objects.filter(run_id=run.pk).values_list("seq", "type", "data")
    log = (StoredEvent(seq, kind, data, 0) for seq, kind, data in events.iterator())
    # What they said is void.
    model_name = turn_so_far(log, turn=run.turn).model_name
    turn = dataclasses.replace(Collector().turn, turn=run.turn, model_name=model_name)
    finish(ours, Outcome(status=RunStatus.CANCELED, last=stopped(), turn=turn))


# --- Reading -----------------------------------------------------------------------------------

_READ = """
select type, data, extract(epoch from created_at)::float8 from conversations_runevent
where run_id = %s and seq >= %s order by seq limit %s
"""


def read(run_id: UUID, *, first: int, limit: int = PAGE_EVENTS) -> Page:
    """The events from `first` on, at most so many. Raises NotFound. Who may read is not asked."""
    return page_of(run_state(run_id), first=first, limit=limit)


def page_of(run: RunState, *, first: int, limit: int = PAGE_EVENTS) -> Page:
    """As `read`, for a run just looked at: what its status says to be complete is so now."""
    rows = _rows(run, first, limit) if first < run.next_seq else []
    return _page(run, rows, first=first, limit=limit)


def read_as(principal: Principal, run_id: str, *, first: int, limit: int = PAGE_EVENTS) -> Page:
    """As `read`, in one statement, for whoever may see the run. Raises NotFound."""
    run, rows = access_run_log(principal, run_id, first=first, limit=limit + 1)
    return _page(run, rows, first=first, limit=limit)


def _page(run: RunState, rows: Sequence[EventRow], *, first: int, limit: int) -> Page:
    owned = {"task_id": str(run.id), "conversation_id": run.conversation_id}
    events = tuple(
        StoredEvent(first + at, kind, {**owned, **json.loads(data)}, ts)
        for at, (kind, data, ts) in enumerate(rows[:limit])
    )
    has_more = len(rows) > limit
    return Page(
        run_id=run.id,
        conversation_id=run.conversation_id,
        kind=RunKind(run.kind),
        status=RunStatus.RUNNING if run.is_over and has_more else RunStatus(run.status),
        error="" if has_more else run.error_message,
        created_at=run.created_at,
        updated_at=run.updated_at,
        events=events,
        next_offset=first + len(events),
        has_more=has_more,
    )


def _rows(run: RunState, first: int, limit: int) -> list[EventRow]:
    with prepared_cursor() as cursor:
        cursor.execute(_READ, [run.id, first, limit + 1])
        return list(cursor.fetchall())
