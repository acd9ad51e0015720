"""Runs whose process is gone come to an end, and those that wait are found."""

from __future__ import annotations

import datetime
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.models import User
from conversations.encoders.tasks import outcome_of
from conversations.encoding import Collector
from conversations.events import TextDelta, TurnFinished, TurnStarted
from conversations.models import Conversation, Message, Run, RunEvent, RunKind, RunStatus
from conversations.runs import store, sweeper, waking
from conversations.runs.types import Claim, NewEvent, Outcome
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


def die(claim: Claim) -> None:
    """Nobody has said for a while that the run lives."""
    old = timezone.now() - sweeper.LOST_AFTER - datetime.timedelta(seconds=1)
    Run.objects.filter(pk=claim.run_id).update(heartbeat_at=old)


def kinds_of(claim: Claim) -> list[str]:
    return [kind for _, kind in log_of(claim)]


def test_it_begins_a_task_anew_that_changed_nothing(talk: Conversation) -> None:
    claim = claimed(talk)
    store.append(claim, [NewEvent("text_start"), chunk("Hal")])
    die(claim)
    assert sweeper.recover_lost() == 1
    assert status_of(claim) == RunStatus.PENDING
    assert kinds_of(claim)[3:] == ["stream_reset", "system_message"]
    again = store.claim(claim.run_id, worker=WORKER)
    assert again is not None
    assert (again.attempt, again.next_seq) == (2, 5)


def test_it_counts_what_a_lost_attempt_took(talk: Conversation) -> None:
    claim = claimed(talk)
    said = chunk("word " * 100)
    token_update = {
        "input_tokens": 50, "output_tokens": 9, "model": "m", "current_context_tokens": 59
    }  # fmt: skip
    asked = NewEvent("api_request_start", {"attempt": 1, "max_attempts": 3, "prompt_tokens": 70})
    began = [NewEvent("ai_message_start"), asked]
    store.append(claim, [*began, NewEvent("token_update", token_update), asked, said])
    die(claim)
    assert sweeper.recover_lost() == 1
    row = Run.objects.get(pk=claim.run_id)
    assert row.input_tokens == 50 + 70
    written = row.output_tokens
    assert written > 9 + 50
    again = store.claim(claim.run_id, worker=WORKER)
    assert again is not None
    collector = Collector()
    for event in (TurnStarted(1), TextDelta("Hi"), TurnFinished("stop", Usage(7, 3))):
        collector.push(event)
    turn = collector.turn
    assert store.finish(again, outcome_of(turn))
    row.refresh_from_db()
    assert (row.input_tokens, row.output_tokens) == (120 + 7, written + 3)
    answer = Message.objects.get(role="assistant")
    assert (answer.input_tokens, answer.output_tokens) == (120 + 7, written + 3)


def test_it_keeps_what_was_taken_of_a_task_that_is_stopped_while_it_waits(
    talk: Conversation,
) -> None:
    claim = claimed(talk)
    spent = Usage(5, 4)
    assert store.give_back(claim, [], most_attempts=2, spent=spent)
    store.request_cancel(Run.objects.get(pk=claim.run_id))
    row = Run.objects.get(pk=claim.run_id)
    assert (row.status, row.input_tokens, row.output_tokens) == (RunStatus.CANCELED, 5, 4)


def test_it_ends_a_task_that_died_twice(talk: Conversation) -> None:
    claim = claimed(talk)
    die(claim)
    sweeper.recover_lost()
    again = store.claim(claim.run_id, worker=WORKER)
    assert again is not None
    store.append(again, [NewEvent("ai_message_start"), chunk("Hello")])
    die(claim)
    assert sweeper.recover_lost() == 1
    row = Run.objects.get(pk=claim.run_id)
    assert (row.status, row.error_code) == (RunStatus.FAILED, "worker_lost")
    assert kinds_of(claim)[-1] == "error"
    answer = Message.objects.get(role="assistant")
    assert (answer.text, answer.is_interrupted, answer.error != "") == ("Hello", True, True)
    assert store.start_task(new_run(talk)).turn == 2


def test_it_ends_a_task_that_may_have_changed_something(talk: Conversation) -> None:
    claim = claimed(talk)
    store.append(claim, [NewEvent("ai_message_start")], has_acted=True)
    die(claim)
    assert sweeper.recover_lost() == 1
    assert status_of(claim) == RunStatus.FAILED


def test_it_stops_a_task_that_was_to_be_stopped(talk: Conversation) -> None:
    claim = claimed(talk)
    store.append(claim, [NewEvent("ai_message_start"), chunk("Hello")])
    store.request_cancel(Run.objects.get(pk=claim.run_id))
    die(claim)
    assert sweeper.recover_lost() == 1
    assert status_of(claim) == RunStatus.CANCELED
    assert kinds_of(claim)[-1] == "task_stopped"
    assert Message.objects.get(role="assistant").text == "Hello"


def test_it_ends_a_chat(talk: Conversation) -> None:
    claim = store.start_claimed(new_run(talk, kind=RunKind.CHAT), worker=WORKER)
    die(claim)
    assert sweeper.recover_lost() == 1
    row = Run.objects.get(pk=claim.run_id)
    assert (row.status, row.error_code) == (RunStatus.FAILED, "process_lost")


def test_it_leaves_alone_what_lives(talk: Conversation) -> None:
    claim = claimed(talk)
    assert sweeper.recover_lost() == 0
    assert store.append(claim, [chunk("a")]) is not None


def test_it_leaves_alone_what_went_on_meanwhile(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(talk)
    die(claim)
    original = store.claim_of

    def and_meanwhile(run: Run) -> Claim:
        store.append(claim, [chunk("a")])
        return original(run)

    monkeypatch.setattr(store, "claim_of", and_meanwhile)
    assert sweeper.recover_lost() == 0
    assert store.append(claim, [chunk("b")]) is not None


def test_it_leaves_alone_what_says_that_it_lives_meanwhile(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(talk)
    store.append(claim, [chunk("a")], has_acted=True)
    die(claim)
    original = store.claim_of

    def and_meanwhile(run: Run) -> Claim:
        Run.objects.update(heartbeat_at=timezone.now())
        return original(run)

    monkeypatch.setattr(store, "claim_of", and_meanwhile)
    assert sweeper.recover_lost() == 0
    monkeypatch.undo()
    die(claim)
    assert sweeper.recover_lost() == 1


def test_it_ends_a_run_whose_log_cannot_be_understood_and_the_others(
    talk: Conversation, bob: User
) -> None:
    odd, other = claimed(talk), claimed(conversation(bob))
    store.append(odd, [NewEvent("text_chunk", {"said": "Hal"})], has_acted=True)
    store.append(other, [NewEvent("ai_message_start"), chunk("Hal")], has_acted=True)
    die(odd)
    die(other)
    assert sweeper.recover_lost() == 2
    assert {status_of(odd), status_of(other)} == {RunStatus.FAILED}
    assert kinds_of(odd)[-1] == kinds_of(other)[-1] == "error"
    assert Message.objects.get(role="assistant").conversation_id == other.conversation_id


def test_it_voids_calls_of_a_task_that_begins_anew(talk: Conversation) -> None:
    claim = claimed(talk)
    started = {"id": "tool_1", "preparing_id": "call_1", "name": "clock", "arguments": {}}
    store.append(claim, [NewEvent("ai_message_start"), NewEvent("tool_start", started)])
    die(claim)
    assert sweeper.recover_lost() == 1
    assert kinds_of(claim)[-2:] == ["stream_reset", "system_message"]


def test_it_announces_what_waits(talk: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[UUID] = []
    monkeypatch.setattr(waking, "wake", woken.append)
    run = store.start_task(new_run(talk))
    woken.clear()
    assert sweeper.wake_forgotten() == 0
    old = timezone.now() - datetime.timedelta(seconds=11)
    Run.objects.update(updated_at=old)
    assert sweeper.wake_forgotten() == 1
    assert woken == [run.pk]


def test_it_deletes_what_ended_long_ago(
    talk: Conversation, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "MOST_DELETED", 2)
    done = Outcome(status=RunStatus.SUCCEEDED, last=NewEvent("task_complete"), turn=None)
    for _ in range(3):
        claim = claimed(talk)
        assert store.finish(claim, done)
    old = timezone.now() - datetime.timedelta(days=31)
    Run.objects.update(finished_at=old)
    for _ in range(2):
        kept = claimed(conversation(bob))
        assert store.finish(kept, done)
    Run.objects.filter(pk=kept.run_id).update(created_at=old)
    assert sweeper.delete_old() == 3
    assert Run.objects.count() == 2
    assert set(RunEvent.objects.values_list("run__owner", flat=True)) == {bob.pk}
    assert Message.objects.filter(conversation=talk).count() == 3
