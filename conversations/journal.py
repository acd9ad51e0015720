"""The only writer of conversations: what was said, and the record of each call.

A call in progress makes no database call. What it records goes into memory of bounded size, and one
background task per event loop writes it in batches. While the database is away nothing is lost as
long as the process lives and the bound is not reached; beyond it the oldest messages are dropped,
counted and logged, and never the state of a call.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Model
from django.utils import timezone

from assistants.models import Assistant
from assistants.runtime import AssistantRuntime
from conversations.events import Citation
from conversations.models import Call, CallSource, CallStatus, Channel, Conversation, Message
from conversations.types import (
    CitationRow,
    MessageEntry,
    ToolCallRow,
    ToolOutcome,
    ToolResultRow,
)
from core.db import in_db
from core.loops import PerLoop

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL_S = 10.0
MAX_WAITING_CHARS = 32_000_000
MAX_BATCH = 500
MAX_ERROR_CHARS = 500
MAX_REMOTE_ID_CHARS = 255
MAX_COUNT = 2**31 - 1
RETRY_FIRST_S = 0.1
RETRY_LONGEST_S = 5.0
GATHER_S = 0.05
CLOSE_WAIT_S = 3.0
FLUSH_WAIT_S = 5.0


# Of what is changed of a call, this is kept with its conversation.
_REMOTE_ID = "remote_id"

# What the database refuses however often it is asked: a row whose conversation was deleted, a text
# that it cannot hold.
_REFUSED = (DatabaseError, TypeError, ValueError)
_AWAY = (OperationalError, InterfaceError)


class CallJournal:
    """The journal of one call. All methods belong to the event loop that opened it."""

    def __init__(self, writer: _Writer, call_id: str) -> None:
        self.id = call_id
        self._writer = writer
        self._seq = 0
        self._is_started = False
        self._is_closed = False

    def started(
        self, *, source: CallSource | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """The session began: the call counts as connected, and its time runs from now."""
        self._is_started = True
        fields: dict[str, Any] = {"status": CallStatus.CONNECTED, "started_at": timezone.now()}
        if source is not None:
            fields["source"] = source
        if metadata is not None:
            fields["metadata"] = storable(metadata)
        self._writer.change(self.id, fields)

    def record(self, entry: MessageEntry) -> None:
        """Keeps a message. Returns at once; entries are numbered in the order of these calls."""
        self._seq += 1
        self._writer.add(_message(self.id, self._seq, entry))

    def linked(self, remote_id: str) -> None:
        """Keeps where the service that answers has this conversation."""
        self._writer.change(self.id, {_REMOTE_ID: storable(remote_id)[:MAX_REMOTE_ID_CHARS]})

    def noted(self, metadata: dict[str, Any]) -> None:
        """Keeps this as the metadata of the call, in place of what `started` said."""
        self._writer.change(self.id, {"metadata": storable(metadata)})

    def heartbeat(self) -> None:
        """Says that the call is alive. The writer says so itself as long as this object lives."""
        self._writer.change(self.id, {"heartbeat_at": timezone.now()})

    async def close(
        self,
        status: CallStatus | None = None,
        *,
        error_code: str = "",
        error_message: str = "",
    ) -> None:
        """Ends the call, and waits a little for all of it to be written. Again: nothing happens.

        Without a status: failed with an error, connected if the session began, else missed.
        """
        if self._is_closed:
            return
        self._is_closed = True
        now = timezone.now()
        self._writer.change(
            self.id,
            {
                "status": status or self._status(error_code),
                "ended_at": now,
                "heartbeat_at": now,
                "error_code": error_code[:64],
                "error_message": storable(error_message)[:MAX_ERROR_CHARS],
            },
        )
        self._writer.open_calls.discard(self)
        await self._writer.flush(timeout_s=CLOSE_WAIT_S)

    def _status(self, error_code: str) -> CallStatus:
        if error_code:
            return CallStatus.FAILED
        return CallStatus.CONNECTED if self._is_started else CallStatus.MISSED


async def open_call(
    runtime: AssistantRuntime,
    *,
    owner_id: int | None,
    source: CallSource = CallSource.EXTERNAL,
    metadata: dict[str, Any] | None = None,
) -> CallJournal:
    """The journal of a new call, which counts as missed until it is started.

    The only part that waits for the database: call it before the session starts.
    """
    call_id = await in_db(
        _create_call, runtime, owner_id, CallSource(source), storable(metadata or {})
    )
    writer = _WRITERS.get()
    journal = CallJournal(writer, call_id)
    writer.watch(journal)
    return journal


async def flush(timeout_s: float = FLUSH_WAIT_S) -> bool:
    """Waits until everything recorded on this event loop is written; False if time ran out.

    The shutdown of the event loop does the same; nobody has to call this for it.
    """
    return await _WRITERS.get().flush(timeout_s=timeout_s)


# --- Turns of chats and tasks ------------------------------------------------------------------

_COLUMNS = tuple(
    field.attname
    for field in Message._meta.concrete_fields
    if field.attname not in {"id", "conversation_id", "turn", "seq"}
)
# Parts of the statements of `runs.store`, which write a turn together with its run. `talk` has the
# conversation's row, locked: who it is of, the turn, and `seq`, the place of the first message.
TAKE_TURN = """
update conversations_conversation
set next_turn = next_turn + 1, next_seq = next_seq + 1, updated_at = now()
where id = %(conversation)s
returning id, owner_id, assistant_id, assistant_key, channel,
  next_turn - 1 as turn, next_seq - 1 as seq
"""
WRITE_MESSAGES = f"""
insert into conversations_message (conversation_id, turn, seq, {", ".join(_COLUMNS)})
select talk.id, talk.turn, talk.seq + m.seq, {", ".join(f"m.{name}" for name in _COLUMNS)}
from talk, jsonb_populate_recordset(null::conversations_message, %(messages)s::jsonb) m
"""  # noqa: S608 - names of columns, from above
# A chat or a conversation of tasks counts with its assistant, as calls do.
COUNT_CONVERSATION = """
update assistants_assistant set call_count = call_count + 1
from talk where assistants_assistant.id = talk.assistant_id and talk.turn = 1
"""
# The record of the conversation, which for the time being ends now.
NOTE_CALL = """
insert into conversations_call (
  conversation_id, owner_id, assistant_key, channel, source, status, started_at, ended_at,
  heartbeat_at, cost, metadata, error_code, error_message)
select id, owner_id, assistant_key, channel, 'external', %(call_status)s, now(), now(),
  now(), 0, '{}', %(error_code)s, %(error_message)s
from talk
on conflict (conversation_id) do update set ended_at = excluded.ended_at,
  heartbeat_at = excluded.heartbeat_at, status = excluded.status,
  error_code = excluded.error_code, error_message = excluded.error_message
"""


def turn_values(
    conversation_id: str,
    entries: Sequence[MessageEntry],
    *,
    error_code: str = "",
    error_message: str = "",
) -> dict[str, Any]:
    """The values of those parts; the entries are all of the one turn."""
    rows = [_message(conversation_id, at, entry) for at, entry in enumerate(entries)]
    return {
        "conversation": conversation_id,
        "messages": json.dumps([column_values(row) for row in rows], default=str),
        "call_status": CallStatus.FAILED if error_code else CallStatus.CONNECTED,
        "error_code": error_code[:64],
        "error_message": storable(error_message)[:MAX_ERROR_CHARS],
    }


def column_values(row: Model) -> dict[str, Any]:
    """The row's values by column, as Postgres's `jsonb_populate_record` takes them."""
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


_TAKE_NUMBERS = """
update conversations_conversation set next_seq = next_seq + %s, updated_at = now()
where id = %s returning next_seq
"""


def add(conversation_id: str, entries: Sequence[MessageEntry]) -> list[Message] | None:
    """Writes messages behind those that are there, in the caller's transaction.

    None where the conversation is gone. Holds the conversation until the end of the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_NUMBERS, [len(entries), conversation_id])
        taken = cursor.fetchone()
    if taken is None:
        return None
    first = taken[0] - len(entries)
    rows = [_message(conversation_id, first + at, entry) for at, entry in enumerate(entries)]
    return Message.objects.bulk_create(rows)


# --- Calls -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Batch:
    """What is written in one transaction. Writing it twice leaves the same rows."""

    messages: list[Message]
    changes: dict[str, dict[str, Any]]
    # Everything that was handed in up to this count is in this batch or was written before.
    completes: int


class _Writer:
    """Writes for all calls of one event loop, in the order in which things were handed in."""

    def __init__(self) -> None:
        self.open_calls: weakref.WeakSet[CallJournal] = weakref.WeakSet()
        self.dropped = 0
        self._messages: deque[Message] = deque()
        self._changes: dict[str, dict[str, Any]] = {}
        self._batch: _Batch | None = None
        self._waiting_chars = 0
        self._accepted = 0
        self._written = 0
        self._work = asyncio.Event()
        self._progress = asyncio.Event()
        self._flushes = 0
        self._task: asyncio.Task[None] | None = None

    def watch(self, call: CallJournal) -> None:
        """Says from now on that the call lives, until it is closed or forgotten."""
        self.open_calls.add(call)
        self._ensure_running()

    def add(self, message: Message) -> None:
        self._messages.append(message)
        self._waiting_chars += _size(message)
        while self._waiting_chars > MAX_WAITING_CHARS and self._messages:
            self._waiting_chars -= _size(self._messages.popleft())
            self.dropped += 1
            if self.dropped % 1000 == 1:
                logger.error("The journal is full: %d messages lost so far", self.dropped)
        self._wake()

    def change(self, call_id: str, fields: dict[str, Any]) -> None:
        self._changes.setdefault(call_id, {}).update(fields)
        self._wake()

    async def flush(self, *, timeout_s: float) -> bool:
        """Waits for what was handed in so far; False if time ran out."""
        target = self._accepted
        self._flushes += 1
        try:
            async with asyncio.timeout(timeout_s):
                while self._written < target:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        finally:
            self._flushes -= 1
        return True

    def _wake(self) -> None:
        self._accepted += 1
        self._work.set()
        self._ensure_running()

    def _ensure_running(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="journal")

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        next_beat = clock() + HEARTBEAT_INTERVAL_S
        while self._written < self._accepted or self.open_calls:
            await self._wait_for_work(until=next_beat)
            if clock() >= next_beat:
                next_beat = clock() + HEARTBEAT_INTERVAL_S
                for call in list(self.open_calls):
                    call.heartbeat()
            if not self._flushes:
                # Records come in bursts; a moment's wait puts a burst into one transaction.
                await asyncio.sleep(GATHER_S)
            while self._written < self._accepted:
                await self._write_next()

    async def _wait_for_work(self, *, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._work.wait()
        except TimeoutError:
            pass

    async def _write_next(self) -> None:
        """Writes one batch, however long the database is away."""
        self._work.clear()
        self._batch = self._batch or self._take_batch()
        pause_s = RETRY_FIRST_S
        while True:
            try:
                await in_db(_write, self._batch)
                break
            except _AWAY as error:
                logger.warning("The journal cannot reach the database, trying again: %s", error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_LONGEST_S)
        self._waiting_chars -= sum(map(_size, self._batch.messages))
        self._written = max(self._written, self._batch.completes)
        self._batch = None
        self._progress.set()

    def _take_batch(self) -> _Batch:
        count = min(len(self._messages), MAX_BATCH)
        messages = [self._messages.popleft() for _ in range(count)]
        changes, self._changes = self._changes, {}
        completes = self._written if self._messages else self._accepted
        return _Batch(messages, changes, completes)

    async def end(self) -> None:
        """Writes what is left, as far as a few seconds allow: the event loop shuts down."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            async with asyncio.timeout(FLUSH_WAIT_S):
                while self._written < self._accepted:
                    await self._write_next()
        except TimeoutError:
            lost = len(self._messages) + (len(self._batch.messages) if self._batch else 0)
            logger.error("The journal ends with %d messages unwritten", lost)


_WRITERS: PerLoop[_Writer] = PerLoop(_Writer, _Writer.end)


def _create_call(
    runtime: AssistantRuntime, owner_id: int | None, source: CallSource, metadata: dict[str, Any]
) -> str:
    with transaction.atomic():
        counted = Assistant.objects.filter(pk=runtime.id).update(call_count=F("call_count") + 1)
        conversation = Conversation.objects.create(
            owner_id=owner_id,
            # The assistant may have been deleted since it was loaded.
            assistant_id=runtime.id if counted else None,
            assistant_key=runtime.id,
            assistant_name=runtime.name,
            channel=Channel.VOICE,
        )
        Call.objects.create(
            conversation=conversation,
            owner_id=owner_id,
            assistant_key=runtime.id,
            channel=Channel.VOICE,
            source=source,
            metadata=metadata,
        )
    return conversation.pk


def _write(batch: _Batch) -> None:
    try:
        _write_together(batch.messages, batch.changes)
    except _AWAY:
        raise
    except _REFUSED:
        # One bad row must not take the others with it, nor be tried for ever.
        _write_singly(batch)


def _write_together(messages: list[Message], changes: dict[str, dict[str, Any]]) -> None:
    alive = [call_id for call_id, fields in changes.items() if fields.keys() == {"heartbeat_at"}]
    with transaction.atomic():
        # A batch whose commit was not confirmed is written again.
        Message.objects.bulk_create(messages, ignore_conflicts=True)
        if alive:
            Call.objects.filter(pk__in=alive).update(heartbeat_at=timezone.now())
        for call_id in changes.keys() - set(alive):
            fields = dict(changes[call_id])
            remote_id = fields.pop(_REMOTE_ID, None)
            if fields:
                Call.objects.filter(pk=call_id).update(**fields)
            if remote_id is not None:
                Conversation.objects.filter(pk=call_id).update(remote_id=remote_id)


def _write_singly(batch: _Batch) -> None:
    pieces: list[tuple[str, list[Message], dict[str, dict[str, Any]]]] = [
        *((message.conversation_id, [message], {}) for message in batch.messages),
        *((call_id, [], {call_id: fields}) for call_id, fields in batch.changes.items()),
    ]
    for call_id, messages, changes in pieces:
        try:
            _write_together(messages, changes)
        except _AWAY:
            raise
        except _REFUSED as error:
            logger.error("The journal of %s lost a record: %s", call_id, error)


def _message(call_id: str, seq: int, entry: MessageEntry) -> Message:
    calls = [
        ToolCallRow(
            id=storable(call.id), name=storable(call.name), arguments=storable(call.arguments)
        )
        for call in entry.tool_calls
    ]
    return Message(
        conversation_id=call_id,
        turn=entry.turn,
        seq=seq,
        role=entry.role,
        text=storable(entry.text),
        generated_text=storable(entry.generated_text),
        is_interrupted=entry.is_interrupted,
        tool_calls=calls,
        tool_result=entry.outcome and _tool_result(entry.outcome),
        confidence=entry.confidence,
        start_ms=_milliseconds(entry.start_ms),
        end_ms=_milliseconds(entry.end_ms),
        attachments=storable(list(entry.attachments)),
        model_name=storable(entry.model_name)[:200],
        input_tokens=countable(entry.usage.input_tokens),
        output_tokens=countable(entry.usage.output_tokens),
        metrics=entry.metrics,
        error=storable(entry.error)[:MAX_ERROR_CHARS],
        citations=[_citation(citation) for citation in entry.citations],
        knowledge_note=storable(entry.knowledge_note)[:MAX_ERROR_CHARS],
        apology=entry.apology[:MAX_ERROR_CHARS],
        created_at=entry.at or timezone.now(),
    )


def _tool_result(outcome: ToolOutcome) -> ToolResultRow:
    row = ToolResultRow(
        call_id=storable(outcome.call_id),
        name=storable(outcome.name),
        code=outcome.code,
        message=storable(outcome.message),
        is_error=outcome.is_error,
        duration_ms=outcome.duration_ms,
    )
    if outcome.is_refused:
        row["is_refused"] = True
    return row


def _citation(citation: Citation) -> CitationRow:
    return CitationRow(
        index=citation.index,
        document=storable(citation.document),
        page=citation.page,
        text=storable(citation.text),
        score=citation.score,
        knowledge_base_id=citation.knowledge_base_id,
        document_id=citation.document_id,
        chunk_id=citation.chunk_id,
    )


def _milliseconds(value: int | None) -> int | None:
    return None if value is None else max(0, value)


def _size(message: Message) -> int:
    calls = sum(len(call["arguments"]) for call in message.tool_calls)
    cited = sum(len(row["text"]) for row in message.citations)
    return 200 + len(message.text) + len(message.generated_text) + calls + cited


def countable(value: int) -> int:
    """The count as far as a column holds it: vendors count as they like."""
    return min(max(0, value), MAX_COUNT)


def storable(value: Any) -> Any:
    """The same value without what Postgres cannot store: NUL, half characters, infinities."""
    match value:
        case str():
            return value.replace("\x00", "").encode(errors="replace").decode()
        case list():
            return [storable(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
        case _:
            return value
