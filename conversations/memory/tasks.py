"""Learning in the background: which turns are looked through, and by whom it is done.

Nothing waits for it and nothing fails with it: what cannot be learnt is said in the log and on the
record of the conversation.
"""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import Error as DatabaseFailure
from django.db import InterfaceError, OperationalError, transaction
from kombu.exceptions import OperationalError as BrokerAway

from conversations.memory.learning import learn, note_problem
from conversations.models import Conversation
from core.errors import ProviderError

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
AGAIN_AFTER_S = 30


def remember_after(conversation_id: str, turn: int | None = None) -> None:
    """Has a worker look for lasting facts in a turn, or in a whole call, once it is committed.

    Does nothing unless the conversation is of a user with an account and its assistant remembers.
    Database work: asynchronous code calls it through `in_db`. Never fails: without the database or
    the broker, nothing is learnt this time.
    """
    remembered = Conversation.objects.filter(
        pk=conversation_id, owner__isnull=False, assistant__enable_memory=True
    )
    try:
        if remembered.exists():
            transaction.on_commit(lambda: _wake(conversation_id, turn), robust=True)
    except DatabaseFailure as error:
        logger.warning("Nothing is learnt in %s: %r", conversation_id, error)


# Told to the broker when done: a worker that is stopped in the middle leaves it to the next one.
@shared_task(name="conversations.remember", acks_late=True)
def remember(conversation_id: str, turn: int | None = None, attempt: int = 1) -> None:
    """Learns from a turn or a whole conversation; what may pass is tried again a little later."""
    try:
        learn(conversation_id, turn)
    except ProviderError as error:
        note_problem(conversation_id, error.message)
        if not error.is_permanent:
            _again(conversation_id, turn, attempt, after_s=error.retry_after or AGAIN_AFTER_S)
    except (OperationalError, InterfaceError) as error:
        logger.warning("Nothing is learnt yet in %s: %r", conversation_id, error)
        _again(conversation_id, turn, attempt, after_s=AGAIN_AFTER_S)


def _again(conversation_id: str, turn: int | None, attempt: int, *, after_s: int) -> None:
    if attempt < MAX_ATTEMPTS:
        _wake(conversation_id, turn, attempt=attempt + 1, after_s=after_s)


def _wake(conversation_id: str, turn: int | None, *, attempt: int = 1, after_s: int = 0) -> None:
    """Sends the worker's task off. Where the broker is away, nothing is learnt this time."""
    try:
        remember.apply_async([conversation_id, turn, attempt], countdown=after_s, retry=False)
    except (BrokerAway, OSError) as error:
        logger.warning("Nothing is learnt in %s: the broker is away (%s)", conversation_id, error)
