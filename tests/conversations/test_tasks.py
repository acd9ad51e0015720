from __future__ import annotations

import datetime

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from conversations.models import Call, CallStatus, Channel, Conversation
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


@pytest.mark.parametrize("name", [close_lost_calls.name])
def test_it_is_on_the_schedule(name: str) -> None:
    assert settings.CELERY_BEAT_SCHEDULE[name]["task"] == name
    assert settings.CELERY_BEAT_SCHEDULE[name]["schedule"] == 30.0
