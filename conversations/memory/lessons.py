"""What there still is to learn from: rows, which no lost message and no dead worker loses.

A lesson is noted in the transaction that keeps the answer. Whoever learns holds it for a while; it
goes when it was learnt, or was tried often enough. Until then it is announced again when it is due.
"""

from __future__ import annotations

import datetime

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from conversations.models import Conversation, Lesson
from conversations.runs import waking

TASK = "conversations.remember"
MAX_ATTEMPTS = 3
# Longer than a lesson takes, with all that a slow vendor is given.
HELD_FOR = datetime.timedelta(minutes=5)
# Of one round; the next finds the rest.
MOST_WOKEN = 50
# The turn of a lesson that is a whole call.
WHOLE = 0


def note(conversation_id: str, turn: int | None = None) -> None:
    """Notes a turn, or a whole call, to be learnt from, and wakes a worker on commit.

    Does nothing unless the conversation is of a user with an account and its assistant remembers.
    """
    remembered = Conversation.objects.filter(
        pk=conversation_id, owner__isnull=False, assistant__enable_memory=True
    )
    if not remembered.exists():
        return
    key = WHOLE if turn is None else turn
    Lesson.objects.bulk_create(
        [Lesson(conversation_id=conversation_id, turn=key)], ignore_conflicts=True
    )
    transaction.on_commit(lambda: waking.send(TASK, conversation_id, key))


def take(conversation_id: str, turn: int) -> Lesson | None:
    """The lesson, for whoever learns it now; None where it is learnt, held or not yet due."""
    now = timezone.now()
    due = Lesson.objects.filter(conversation_id=conversation_id, turn=turn, due_at__lte=now)
    if not due.update(attempts=F("attempts") + 1, due_at=now + HELD_FOR):
        return None
    return Lesson.objects.filter(conversation_id=conversation_id, turn=turn).first()


def end(lesson: Lesson) -> None:
    """It is learnt, or given up."""
    Lesson.objects.filter(pk=lesson.pk).delete()


def try_again(lesson: Lesson, *, after_s: float) -> None:
    """Lets it wait a little; one that was tried often enough is given up."""
    if lesson.attempts >= MAX_ATTEMPTS:
        end(lesson)
        return
    due_at = timezone.now() + datetime.timedelta(seconds=after_s)
    Lesson.objects.filter(pk=lesson.pk).update(due_at=due_at)


def wake_due() -> int:
    """Announces the lessons that wait although they are due; their number.

    Those whose workers died in the middle each time are given up.
    """
    due = Lesson.objects.filter(due_at__lt=timezone.now() - datetime.timedelta(seconds=10))
    due.filter(attempts__gte=MAX_ATTEMPTS).delete()
    rows = list(due.order_by("due_at").values_list("conversation_id", "turn")[:MOST_WOKEN])
    for conversation_id, turn in rows:
        waking.send(TASK, conversation_id, turn)
    return len(rows)
