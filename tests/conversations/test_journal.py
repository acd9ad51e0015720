from __future__ import annotations

import asyncio
import dataclasses
import datetime
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from assistants.models import Assistant
from conversations import journal
from conversations.journal import CallJournal, open_call
from conversations.models import Call, CallSource, CallStatus, Conversation, Message
from conversations.types import MessageEntry, ToolOutcome
from core.db import in_db
from providers.types import ToolCall, Usage
from tests.conversations.scripted import assistant

pytestmark = pytest.mark.django_db(transaction=True)


async def opened(row: Assistant, **options: Any) -> CallJournal:
    runtime = assistant(id=row.pk, name=row.name)
    return await open_call(runtime, owner_id=row.owner_id, **options)


async def stored_call(call: CallJournal) -> Call:
    return await in_db(Call.objects.select_related("conversation").get, pk=call.id)


async def stored_messages(call: CallJournal) -> list[Message]:
    return await in_db(lambda: list(Message.objects.filter(conversation_id=call.id)))


async def test_it_opens_a_call_as_missed_and_counts_it(ada: Assistant) -> None:
    call = await opened(ada, source=CallSource.DEBUG, metadata={"channel": "console"})
    row = await stored_call(call)
    assert (row.status, row.source, row.metadata) == ("missed", "debug", {"channel": "console"})
    assert (row.conversation.owner_id, row.conversation.assistant_id) == (ada.owner_id, ada.pk)
    assert (row.conversation.assistant_name, row.conversation.channel) == ("Ada", "voice")
    assert row.ended_at is None
    await in_db(ada.refresh_from_db)
    assert ada.call_count == 1
    await call.close()


async def test_it_opens_a_call_of_nobody_with_an_assistant_that_is_gone(ada: Assistant) -> None:
    runtime = assistant(id="gone", name="Gone")
    call = await open_call(runtime, owner_id=None)
    row = await stored_call(call)
    assert row.conversation.owner_id is None
    assert (row.conversation.assistant_id, row.conversation.assistant_key) == (None, "gone")
    await call.close()


@pytest.mark.parametrize(
    ("is_started", "error_code", "status"),
    [
        (False, "", CallStatus.MISSED),
        (True, "", CallStatus.CONNECTED),
        (True, "asr.failed", CallStatus.FAILED),
        (False, "internal", CallStatus.FAILED),
    ],
)
async def test_it_ends_a_call_with_the_status_of_its_course(
    ada: Assistant, is_started: bool, error_code: str, status: CallStatus
) -> None:
    call = await opened(ada)
    if is_started:
        call.started(source=CallSource.DEBUG, metadata={"k": "v"})
    await call.close(error_code=error_code, error_message="why")
    row = await stored_call(call)
    assert (row.status, row.error_code) == (status, error_code)
    assert row.ended_at is not None
    assert row.source == (CallSource.DEBUG if is_started else CallSource.EXTERNAL)


async def test_it_ends_a_call_once(ada: Assistant) -> None:
    call = await opened(ada)
    call.started()
    await call.close()
    await call.close(error_code="internal")
    assert (await stored_call(call)).status == CallStatus.CONNECTED


async def test_it_keeps_everything_of_a_message(ada: Assistant) -> None:
    call = await opened(ada)
    entries = [
        MessageEntry(turn=1, role="user", text="6*7?", confidence=0.9, start_ms=-4, end_ms=900),
        MessageEntry(
            turn=1,
            role="assistant",
            text="",
            tool_calls=(ToolCall("c", "calculator", '{"expression": "6*7"}'),),
        ),
        MessageEntry(
            turn=1,
            role="tool",
            text="42",
            at=timezone.now(),
            outcome=ToolOutcome("c", "calculator", 200, "ok", 7),
        ),
        MessageEntry(
            turn=1,
            role="assistant",
            text="It is",
            generated_text="It is 42.",
            is_interrupted=True,
            usage=Usage(30, 5),
            metrics={"v2v_ms": 510},
            error="The vendor is down.",
        ),
    ]
    for entry in entries:
        call.record(entry)
    await call.close()
    rows = await stored_messages(call)
    assert [row.seq for row in rows] == [1, 2, 3, 4]
    assert rows[0].start_ms == 0
    assert rows[2].entry() == entries[2]
    assert dataclasses.replace(rows[3].entry(), at=None) == entries[3]
    assert rows[1].entry().tool_calls == entries[1].tool_calls
    assert rows[3].metrics == {"v2v_ms": 510}


async def test_it_stores_what_postgres_cannot_hold_without_it(ada: Assistant) -> None:
    call = await opened(ada, metadata={"a\x00": ["b\x00"]})
    call.record(MessageEntry(turn=1, role="user", text="a\x00b\ud83d", error="\x00" + "e" * 600))
    await call.close()
    (row,) = await stored_messages(call)
    assert (row.text, row.error) == ("ab?", "e" * 500)
    assert (await stored_call(call)).metadata == {"a": ["b"]}


async def test_it_makes_no_database_call_while_recording(
    ada: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await opened(ada)
    batches: list[int] = []

    async def counting(work: Callable[..., Any], *args: Any) -> Any:
        batches.append(len(args[0].messages))
        return await in_db(work, *args)

    monkeypatch.setattr(journal, "in_db", counting)
    for number in range(200):
        call.record(MessageEntry(turn=number, role="user", text="x"))
        call.heartbeat()
    assert batches == []
    await call.close()
    assert sum(batches) == 200
    assert len(batches) <= 2
    assert len(await stored_messages(call)) == 200


async def test_it_flushes_without_closing(ada: Assistant) -> None:
    call = await opened(ada)
    call.record(MessageEntry(turn=1, role="user", text="x"))
    assert await journal.flush()
    assert len(await stored_messages(call)) == 1
    await call.close()


# --- When the database is away, or refuses -------------------------------------------------------


@contextmanager
def locked_messages() -> Iterator[psycopg.Connection[Any]]:
    """Nobody else can write a message meanwhile."""
    params = connection.get_connection_params()
    del params["cursor_factory"], params["context"]
    with psycopg.connect(**params) as own:
        own.execute("LOCK TABLE conversations_message IN ACCESS EXCLUSIVE MODE")
        yield own
        own.rollback()


async def cut_off_a_writer(own: psycopg.Connection[Any]) -> None:
    """Ends the database's side of a connection that waits to write."""
    find = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    async with asyncio.timeout(30):
        while (row := own.execute(find, ["conversations_message"]).fetchone()) is None:
            await asyncio.sleep(0.01)
    own.execute("SELECT pg_terminate_backend(%s, 5000)", row)


async def test_it_loses_nothing_while_the_database_is_away(
    ada: Assistant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "CLOSE_WAIT_S", 0.01)
    monkeypatch.setattr(journal, "RETRY_FIRST_S", 0.01)
    call, other = await opened(ada), await opened(ada)
    with locked_messages() as own:
        call.started()
        for number in range(5):
            call.record(MessageEntry(turn=number, role="user", text=str(number)))
        await cut_off_a_writer(own)
        call.record(MessageEntry(turn=5, role="user", text="5"))
        await cut_off_a_writer(own)
        await call.close()
        other.record(MessageEntry(turn=1, role="user", text="other"))
    await other.close()
    assert await journal.flush()
    assert caplog.text.count("cannot reach the database") == 2
    assert [row.text for row in await stored_messages(call)] == list("012345")
    assert [row.text for row in await stored_messages(other)] == ["other"]
    row = await stored_call(call)
    assert row.status == CallStatus.CONNECTED
    assert row.ended_at is not None


async def test_it_stores_a_batch_once_though_its_commit_was_not_confirmed(
    ada: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await opened(ada)
    outcomes = [OperationalError("the connection broke"), None]

    async def unsure(work: Callable[..., Any], *args: Any) -> Any:
        result = await in_db(work, *args)
        if outcomes and (error := outcomes.pop(0)):
            raise error
        return result

    monkeypatch.setattr(journal, "in_db", unsure)
    call.record(MessageEntry(turn=1, role="user", text="once"))
    await call.close()
    assert [row.text for row in await stored_messages(call)] == ["once"]


async def test_it_loses_only_the_records_of_a_deleted_conversation(
    ada: Assistant, caplog: pytest.LogCaptureFixture
) -> None:
    deleted, kept = await opened(ada), await opened(ada)
    await in_db(Conversation.objects.filter(pk=deleted.id).delete)
    for call in (deleted, kept, deleted, kept):
        call.record(MessageEntry(turn=1, role="user", text="x"))
    await deleted.close()
    await kept.close()
    assert len(await stored_messages(kept)) == 2
    assert await stored_messages(deleted) == []
    assert f"The journal of {deleted.id} lost a record" in caplog.text
    assert kept.id not in caplog.text


async def test_it_loses_only_a_record_that_cannot_be_stored(
    ada: Assistant, caplog: pytest.LogCaptureFixture
) -> None:
    call = await opened(ada)
    unstorable: Any = {"moment": datetime.timedelta}
    call.record(MessageEntry(turn=1, role="user", text="before"))
    call.record(MessageEntry(turn=1, role="user", text="bad", metrics=unstorable))
    call.record(MessageEntry(turn=1, role="user", text="after"))
    await call.close()
    assert [row.text for row in await stored_messages(call)] == ["before", "after"]
    assert "lost a record" in caplog.text


async def test_it_drops_the_oldest_messages_when_full_but_no_state(
    ada: Assistant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "MAX_WAITING_CHARS", 3000)
    call = await opened(ada)
    call.started()
    for number in range(10):
        call.record(MessageEntry(turn=number, role="user", text=str(number) + "x" * 999))
    await call.close()
    assert [row.text[0] for row in await stored_messages(call)] == ["8", "9"]
    assert (await stored_call(call)).status == CallStatus.CONNECTED
    assert "The journal is full" in caplog.text


# --- Signs of life -------------------------------------------------------------------------------


async def test_it_says_that_open_calls_live_and_no_others(
    ada: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "HEARTBEAT_INTERVAL_S", 0.01)
    long_ago = timezone.now() - datetime.timedelta(hours=1)
    alive, forgotten = await opened(ada), await opened(ada)
    forgotten_id = forgotten.id
    del forgotten
    gc.collect()
    await in_db(Call.objects.update, heartbeat_at=long_ago)

    async def heartbeat(call_id: str) -> datetime.datetime:
        row = await in_db(Call.objects.get, pk=call_id)
        return row.heartbeat_at

    async with asyncio.timeout(30):
        while await heartbeat(alive.id) == long_ago:
            pass
    assert await heartbeat(forgotten_id) == long_ago
    await alive.close()


def test_it_writes_what_is_left_when_the_loop_shuts_down(ada: Assistant) -> None:
    async def call_and_leave() -> str:
        call = await opened(ada)
        call.record(MessageEntry(turn=1, role="user", text="last words"))
        return call.id

    call_id = asyncio.run(call_and_leave())
    assert Message.objects.get(conversation_id=call_id).text == "last words"
