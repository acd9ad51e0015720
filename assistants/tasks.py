"""Background work on assistants."""

from __future__ import annotations

import logging

from celery import shared_task

from assistants.models import Assistant
from assistants.opener import has_fixed_opener, prepare_opener_audio, ready_audio
from core.errors import AppError

logger = logging.getLogger(__name__)

# Each round speaks the opener as it is then; more edits than this bring a task of their own.
_ROUNDS = 3


@shared_task(name="assistants.speak_opener")
def speak_opener(assistant_id: str) -> None:
    """Prepares the opener's audio where it is wanted and not ready; errors are kept on the row."""
    for _round in range(_ROUNDS):
        assistant = (
            Assistant.objects.for_display()
            .filter(pk=assistant_id, opener_audio_enabled=True)
            .first()
        )
        # Asked anew after each round: the opener may have been edited while it was spoken.
        if assistant is None or not has_fixed_opener(assistant) or ready_audio(assistant):
            return
        try:
            prepare_opener_audio(assistant)
        except AppError as error:
            logger.warning("The opener of assistant %s was not spoken: %s", assistant_id, error)
            return
