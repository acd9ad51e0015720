"""Background work for memories."""

from __future__ import annotations

from celery import shared_task

from conversations.memory import TASK, wake_to_remember
from conversations.remembering import learn, note_problem
from core.errors import ProviderError

MAX_ATTEMPTS = 3
AGAIN_AFTER_S = 30


@shared_task(name=TASK)
def remember(conversation_id: str, turn: int | None = None, attempt: int = 1) -> None:
    """Learns from a turn or a whole conversation; what may pass is tried again a little later."""
    try:
        learn(conversation_id, turn)
    except ProviderError as error:
        note_problem(conversation_id, error.message)
        if not error.is_permanent and attempt < MAX_ATTEMPTS:
            wait_s = error.retry_after or AGAIN_AFTER_S
            wake_to_remember(conversation_id, turn, attempt=attempt + 1, after_s=wait_s)
