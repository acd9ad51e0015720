from __future__ import annotations

import datetime

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from assistants.models import Assistant
from conversations.memory import lessons
from conversations.models import Call, CallStatus, Channel, Conversation, Lesson, Message, Role
from conversations.runs import waking
from conversations.tasks import LOST_AFTER, close_lost_calls


def call(owner: User, *, silent_for: datetime.timedelta, **fields: object) -> Call:
    conversation = Conversation.objects.create(owner=owner, channel=Channel.VOICE)
    return Call.objects.create(
        conversation=conversation,
        status=CallStatus.CONNECTED,
        started_at=timezone.now() - datetime.timedelta(hours=1),
        heartbeat_at=timezone.now() - silent_for,
        **fields,
    )


def test_it_closes_calls_whose_process_died(alice: User) -> None:
    lost = call(alice, silent_for=LOST_AFTER + datetime.timedelta(seconds=1))
    living = call(alice, silent_for=LOST_AFTER - datetime.timedelta(seconds=10))
    ended = call(alice, silent_for=datetime.timedelta(hours=1), ended_at=timezone.now())
    assert close_lost_calls() == 1
    lost.refresh_from_db()
    assert (lost.status, lost.ended_at, lost.error_code) == (
        CallStatus.FAILED,
        lost.heartbeat_at,
        "call.lost",
    )
    for other in (living, ended):
        before = other.ended_at
        other.refresh_from_db()
        assert (other.status, other.ended_at) == (CallStatus.CONNECTED, before)
    assert close_lost_calls() == 0


def test_it_ends_a_lost_call_no_earlier_than_what_was_said_in_it(alice: User) -> None:
    begun = timezone.now() - datetime.timedelta(minutes=5)
    said = begun + datetime.timedelta(seconds=20)
    # Lost before its first heartbeat: the only one is from before the session began.
    silent = call(alice, silent_for=datetime.timedelta(minutes=6))
    spoken = call(alice, silent_for=datetime.timedelta(minutes=6))
    Call.objects.update(started_at=begun)
    Message.objects.create(
        conversation_id=spoken.pk, turn=1, seq=1, role=Role.USER, text="Hello", created_at=said
    )
    assert close_lost_calls() == 2
    for lost, expected in ((silent, begun), (spoken, said)):
        lost.refresh_from_db()
        assert lost.ended_at == expected


@pytest.mark.django_db(transaction=True)
def test_it_learns_from_lost_calls_where_the_assistant_remembers(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[tuple[object, ...]] = []
    monkeypatch.setattr(waking, "send", lambda *args: woken.append(args))
    silent_for = LOST_AFTER + datetime.timedelta(seconds=1)
    remembered, other, living = (
        call(alice, silent_for=age) for age in (silent_for, silent_for, datetime.timedelta(0))
    )
    for row, remembers in ((remembered, True), (other, False), (living, True)):
        row.conversation.assistant = Assistant.objects.create(
            owner=alice, name="Ada", enable_memory=remembers
        )
        row.conversation.save()
    assert close_lost_calls() == 2
    assert [(row.conversation_id, row.turn) for row in Lesson.objects.all()] == [
        (remembered.pk, lessons.WHOLE)
    ]
    assert woken == [(lessons.TASK, remembered.pk, lessons.WHOLE)]


@pytest.mark.parametrize("name", [close_lost_calls.name])
def test_it_is_on_the_schedule(name: str) -> None:
    assert settings.CELERY_BEAT_SCHEDULE[name]["task"] == name
    assert settings.CELERY_BEAT_SCHEDULE[name]["schedule"] == 15.0
