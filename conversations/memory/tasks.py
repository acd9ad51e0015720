"""Learning in the background: which turns are looked through, and by whom it is done.

Nobody waits for it and nothing fails with it: what cannot be learnt is said in the log and on the
record of the conversation.
"""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import Error as DatabaseFailure
from django.db import InterfaceError, OperationalError

from conversations.memory import lessons
from conversations.memory.learning import learn, note_problem
from core.errors import ProviderError

logger = logging.getLogger(__name__)

AGAIN_AFTER_S = 30


def remember_after(conversation_id: str) -> None:
    """Has a worker look for lasting facts in a whole call, where its user is remembered.

    Database work: asynchronous code calls it through `in_db`. Never fails: without the database,
    nothing is learnt this time.
    """
    try:
        lessons.note(conversation_id)
    except DatabaseFailure as error:
        logger.warning("Nothing is learnt in %s: %r", conversation_id, error)


@shared_task(name=lessons.TASK)
def remember(conversation_id: str, turn: int) -> None:
    """Learns from a turn or a whole conversation; what may pass is tried again a little later."""
    lesson = lessons.take(conversation_id, turn)
    if lesson is None:
        return
    try:
        learn(conversation_id, None if turn == lessons.WHOLE else turn)
    except ProviderError as error:
        note_problem(conversation_id, error.message)
        if error.is_permanent:
            lessons.end(lesson)
        else:
            lessons.try_again(lesson, after_s=error.retry_after or AGAIN_AFTER_S)
    except (OperationalError, InterfaceError) as error:
        # It is held for a while, and announced again then.
        logger.warning("Nothing is learnt yet in %s: %r", conversation_id, error)
    else:
        lessons.end(lesson)
