"""Runs in Postgres: one at a time, fenced, complete when they are over."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connections

from accounts.actions import delete_user
from accounts.models import User
from accounts.principals import principal_for_user
from conversations.encoding import Step, Turn
from conversations.models import (
    Call,
    CallStatus,
    Conversation,
    Message,
    Run,
    RunEvent,
    RunKind,
    RunStatus,
)
from conversations.reports.usage import usage_of
from conversations.runs import store
from conversations.runs.types import Claim, NewEvent, Outcome
from core.errors import Conflict, NotFound
from providers.types import Usage
from tests.conversations.made import (
    WORKER,
    chunk,
    claimed,
    conversation,
    log_of,
    new_run,
    status_of,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def talk(alice: User) -> Conversation:
    return conversation(alice)


@pytest.fixture
def run(talk: Conversation) -> Claim:
    return claimed(talk)


def turn_of(claim: Claim, text: str = "Hi there.", **fields: object) -> Turn:
    turn = Turn(
        turn=claim.turn,
        steps=(Step(text),),
        thinking="",
        citations=(),
        knowledge_note="",
        model_name="m",
        remote_id="",
        usage=Usage(7, 3),
        reason="stop",
        error=None,
    )
    return dataclasses.replace(turn, **fields)  # type: ignore[arg-type]  # fields of Turn


def done(claim: Claim, **fields: object) -> Outcome:
    outcome = Outcome(
        status=RunStatus.SUCCEEDED, last=NewEvent("task_complete"), turn=turn_of(claim)
    )
    return dataclasses.replace(outcome, **fields)  # type: ignore[arg-type]  # fields of Outcome


# --- Beginning ---------------------------------------------------------------------------------


def test_it_begins_with_the_users_message(talk: Conversation) -> None:
    run = store.start_task(
        new_run(talk, "Find it", events=(NewEvent("conversation_resolved", {"title": "T"}),))
    )
    page = store.read(run.pk, first=0)
    assert [(event.idx, event.type) for event in page.events] == [
        (0, "user_message"),
        (1, "conversation_resolved"),
    ]
    assert page.events[0].data == {
        "task_id": str(run.pk),
        "conversation_id": talk.pk,
        "message": "Find it",
    }
    assert (page.status, page.next_offset, page.has_more) == (RunStatus.PENDING, 2, False)
    (message,) = Message.objects.filter(conversation=talk)
    assert (message.turn, message.seq, message.role, message.text) == (1, 1, "user", "Find it")
    assert Call.objects.get(pk=talk.pk).status == CallStatus.CONNECTED


def test_it_refuses_a_second_task_of_a_user_and_names_the_first(talk: Conversation) -> None:
    first = store.start_task(new_run(talk))
    assert talk.owner is not None
    with pytest.raises(Conflict) as caught:
        store.start_task(new_run(conversation(talk.owner)))
    assert caught.value.details == {"task_id": [str(first.pk)]}
    store.request_cancel(first)
    store.start_task(new_run(conversation(talk.owner)))


def test_it_lets_one_of_fifty_tasks_of_a_user_begin(talk: Conversation) -> None:
    assert talk.owner is not None
    talks = [conversation(talk.owner) for _ in range(50)]
    together = threading.Barrier(10)

    def post(row: Conversation) -> bool:
        try:
            together.wait()
            store.start_task(new_run(row))
        except Conflict:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(post, talks)) == 1
    assert Run.objects.count() == Message.objects.count() == RunEvent.objects.count() == 1


def test_it_answers_a_conversation_once_at_a_time(talk: Conversation) -> None:
    chat = new_run(talk, kind=RunKind.CHAT)
    first = store.start_claimed(chat, worker=WORKER)
    with pytest.raises(Conflict) as caught:
        store.start_claimed(chat, worker=WORKER)
    assert caught.value.error_code == "CONVERSATION_BUSY"
    assert store.finish(first, done(first))
    second = store.start_claimed(chat, worker=WORKER)
    assert (first.turn, second.turn) == (1, 2)


def test_it_answers_several_chats_of_a_user_at_once(talk: Conversation) -> None:
    assert talk.owner is not None
    for row in (talk, conversation(talk.owner)):
        assert store.start_claimed(new_run(row, kind=RunKind.CHAT), worker=WORKER).attempt == 1


def test_it_begins_nothing_in_a_conversation_that_is_gone(talk: Conversation) -> None:
    new = new_run(talk)
    talk.delete()
    with pytest.raises(NotFound):
        store.start_task(new)


# --- Claiming ----------------------------------------------------------------------------------


def test_it_is_claimed_once(talk: Conversation) -> None:
    run = store.start_task(new_run(talk))
    claim = store.claim(run.pk, worker=WORKER)
    assert claim is not None
    assert (claim.attempt, claim.turn, claim.next_seq) == (1, 1, 1)
    assert claim.request["message"] == "Hello"
    assert store.claim(run.pk, worker=WORKER) is None
    assert store.claim_waiting(limit=9, worker=WORKER) == []


def test_it_hands_out_what_has_waited_longest(alice: User, bob: User, carol: User) -> None:
    waiting = [store.start_task(new_run(conversation(user))) for user in (alice, bob, carol)]
    found = [claim.run_id for claim in store.claim_waiting(limit=2, worker=WORKER)]
    assert set(found) == {waiting[0].pk, waiting[1].pk}


# --- Appending ---------------------------------------------------------------------------------


def test_it_numbers_events_without_a_gap(run: Claim) -> None:
    first = store.append(run, [chunk("a"), chunk("b")])
    second = store.append(run, [chunk("c")])
    assert first is not None
    assert second is not None
    assert (first.next_seq, second.next_seq) == (3, 4)
    page = store.read(run.run_id, first=1)
    assert [(event.idx, event.data["content"]) for event in page.events] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]


def test_it_appends_to_several_runs_at_once(run: Claim, bob: User) -> None:
    other = claimed(conversation(bob))
    lost = dataclasses.replace(
        claimed(conversation(User.objects.create(username="dan"))), attempt=9
    )
    batches = [
        store.Batch(run, (chunk("a"), chunk("b")), first=1),
        store.Batch(lost, (chunk("x"),), first=1),
        store.Batch(other, (chunk("c"),), first=1, has_acted=True),
    ]
    answers = store.append_all(batches)
    assert [each and each.next_seq for each in answers] == [3, None, 2]
    assert [len(log_of(claim)) for claim in (run, lost, other)] == [3, 1, 2]
    acted = Run.objects.filter(has_acted=True).values_list("pk", flat=True)
    assert list(acted) == [other.run_id]


def test_it_writes_a_batch_once_however_often_it_is_tried(run: Claim) -> None:
    batch = store.Batch(run, (chunk("a"), chunk("b")), first=1)
    assert store.append_all([batch]) == store.append_all([batch])
    assert len(log_of(run)) == 3
    assert store.append_all([dataclasses.replace(batch, first=2)]) == [None]


def test_it_tells_whoever_appends_that_the_run_is_to_end(run: Claim) -> None:
    store.request_cancel(Run.objects.get(pk=run.run_id))
    appended = store.append(run, [chunk("a")])
    assert appended is not None
    assert appended.is_cancel_requested


def test_it_takes_nothing_from_a_lost_attempt(run: Claim) -> None:
    assert store.give_back(run, [NewEvent("system_message")], most_attempts=2)
    assert store.append(run, [chunk("late")]) is None
    assert not store.finish(run, done(run))
    again = store.claim(run.run_id, worker=WORKER)
    assert again is not None
    assert store.append(run, [chunk("late")]) is None
    assert store.append(again, [chunk("a")]) is not None
    assert [kind for _, kind in log_of(run)] == ["user_message", "system_message", "text_chunk"]


def test_it_stores_what_postgres_cannot_hold_without_it(run: Claim) -> None:
    store.append(run, [chunk("a\x00b\ud83d")])
    assert store.read(run.run_id, first=1).events[0].data["content"] == "ab?"


# --- Ending ------------------------------------------------------------------------------------


def test_it_ends_with_messages_usage_and_last_event_together(run: Claim) -> None:
    before = (NewEvent("text_end", {"full_content": "Hi there."}),)
    outcome = done(run, events_before=before, metrics={"first_token_ms": 9})
    assert store.finish(run, outcome)
    page = store.read(run.run_id, first=1)
    assert [event.type for event in page.events] == ["text_end", "task_complete"]
    assert (page.status, page.is_last) == (RunStatus.SUCCEEDED, True)
    row = Run.objects.get(pk=run.run_id)
    assert (row.input_tokens, row.output_tokens, row.is_over) == (7, 3, True)
    assert row.finished_at is not None
    question, answer = Message.objects.filter(conversation_id=run.conversation_id)
    assert (question.seq, answer.seq) == (1, 2)
    assert (answer.turn, answer.text, answer.input_tokens) == (1, "Hi there.", 7)
    assert answer.metrics == {"first_token_ms": 9}
    assert not store.finish(run, outcome)
    assert Message.objects.count() == 2


def test_it_knows_an_end_again_whose_answer_never_came(run: Claim) -> None:
    assert store.finish(run, done(run), first=1)
    assert store.finish(run, done(run), first=1)
    assert not store.finish(run, done(run), first=2)
    assert Message.objects.count() == 2


def test_it_ends_no_log_that_went_on_meanwhile(run: Claim) -> None:
    store.append(run, [chunk("a")])
    assert not store.finish(run, done(run), first=1)
    assert Message.objects.count() == 1
    assert store.finish(run, done(run), first=2)


def test_it_keeps_a_failure_on_run_call_and_message(run: Claim) -> None:
    outcome = done(
        run,
        status=RunStatus.FAILED,
        last=NewEvent("error", {"message": "Away."}),
        turn=turn_of(run, text="Hi", reason="interrupted"),
        error_code="worker_lost",
        error_message="Away.",
    )
    assert store.finish(run, outcome)
    call = Call.objects.get(pk=run.conversation_id)
    assert (call.status, call.error_code) == (CallStatus.FAILED, "worker_lost")
    answer = Message.objects.get(role="assistant")
    assert (answer.text, answer.is_interrupted, answer.error) == ("Hi", True, "Away.")
    assert store.read(run.run_id, first=0).error == "Away."


@pytest.mark.parametrize("usage", [Usage(), Usage(7, 0)])
def test_it_keeps_an_answer_without_a_word_only_for_what_it_took(run: Claim, usage: Usage) -> None:
    silent = turn_of(run, text="", reason="interrupted", usage=usage)
    outcome = done(run, status=RunStatus.CANCELED, last=store.stopped(), turn=silent)
    assert store.finish(run, outcome)
    answers = Message.objects.filter(role="assistant")
    kept = [(row.text, row.is_interrupted, row.input_tokens) for row in answers]
    assert kept == ([] if usage == Usage() else [("", True, 7)])


def test_it_keeps_where_another_service_holds_the_conversation(run: Claim) -> None:
    store.finish(run, done(run, turn=turn_of(run, remote_id="remote-1")))
    assert Conversation.objects.get(pk=run.conversation_id).remote_id == "remote-1"


@pytest.mark.parametrize("reason", ["acted", "attempts", "cancelled", "chat"])
def test_it_gives_back_only_what_may_be_repeated(talk: Conversation, reason: str) -> None:
    if reason == "chat":
        claim = store.start_claimed(new_run(talk, kind=RunKind.CHAT), worker=WORKER)
    else:
        claim = claimed(talk)
    if reason == "acted":
        store.append(claim, [], has_acted=True)
    if reason == "cancelled":
        store.request_cancel(Run.objects.get(pk=claim.run_id))
    most = 1 if reason == "attempts" else 2
    assert not store.give_back(claim, [], most_attempts=most)


# --- Stopping ----------------------------------------------------------------------------------


def test_it_stops_at_once_what_nobody_works_on(talk: Conversation) -> None:
    run = store.start_task(new_run(talk))
    store.request_cancel(run)
    store.request_cancel(run)
    page = store.read(run.pk, first=1)
    assert [event.type for event in page.events] == ["task_stopped"]
    assert page.status == RunStatus.CANCELED
    assert store.claim(run.pk, worker=WORKER) is None


@pytest.mark.parametrize("attempts", [1, 2])
def test_it_keeps_what_was_taken_by_a_task_that_waits_to_be_begun_anew(
    run: Claim, alice: User, attempts: int
) -> None:
    claim = run
    for _ in range(attempts):
        asked = {"attempt": 1, "max_attempts": 3, "model": "m", "prompt_tokens": 7}
        store.append(claim, [NewEvent("api_request_start", asked), chunk("void")])
        assert store.give_back(claim, [], most_attempts=9, spent=Usage(7, 3))
        if attempts > claim.attempt:
            again = store.claim(run.run_id, worker=WORKER)
            assert again is not None
            claim = again
    store.request_cancel(Run.objects.get(pk=run.run_id))
    page = store.read(run.run_id, first=0)
    assert (page.events[-1].type, page.status) == ("task_stopped", RunStatus.CANCELED)
    answer = Message.objects.get(role="assistant")
    assert (answer.text, answer.is_interrupted, answer.model_name) == ("", True, "m")
    (used,) = usage_of(principal_for_user(alice), days=1)
    taken = Run.objects.get(pk=run.run_id)
    for row in (used, taken):
        assert (row.input_tokens, row.output_tokens) == (7 * attempts, 3 * attempts)


def test_it_leaves_a_run_that_is_over_as_it_is(run: Claim) -> None:
    store.finish(run, done(run))
    store.request_cancel(Run.objects.get(pk=run.run_id))
    assert status_of(run) == RunStatus.SUCCEEDED


# --- Reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "found"),
    [(0, [0, 1, 2, 3]), (2, [2, 3]), (4, []), (99, []), (2**70, [])],
)
def test_it_reads_from_any_place(run: Claim, first: int, found: list[int]) -> None:
    store.append(run, [chunk("a"), chunk("b"), chunk("c")])
    page = store.read(run.run_id, first=first)
    assert [event.idx for event in page.events] == found
    assert page.next_offset == (4 if found else first)


def test_it_says_that_it_is_over_only_with_the_last_event(run: Claim) -> None:
    store.append(run, [chunk("a"), chunk("b")])
    store.finish(run, done(run))
    first = store.read(run.run_id, first=0, limit=3)
    assert (first.status, first.has_more, first.next_offset) == (RunStatus.RUNNING, True, 3)
    rest = store.read(run.run_id, first=3, limit=3)
    assert (rest.status, rest.has_more, rest.next_offset) == (RunStatus.SUCCEEDED, False, 4)


def test_it_knows_no_run_that_never_was() -> None:
    with pytest.raises(NotFound):
        store.read(uuid4(), first=0)


# --- Accounts that are deleted meanwhile -------------------------------------------------------


def test_an_account_can_be_deleted_while_its_run_goes_on(alice: User, run: Claim) -> None:
    """What is appended at that moment is lost with the rest, and stops nobody."""
    has_begun = threading.Event()

    def write() -> int:
        written = 0
        try:
            while store.append(run, [chunk("more ")] * 20) is not None:
                written += 1
                has_begun.set()
            assert not store.finish(run, done(run))
        finally:
            connections.close_all()
        return written

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert has_begun.wait(10)
        delete_user(alice)
        assert writing.result(timeout=30) > 0
    assert not Run.objects.exists()
    assert not RunEvent.objects.exists()
