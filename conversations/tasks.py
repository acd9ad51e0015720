"""Background work on conversations."""

from __future__ import annotations

import datetime
import logging

from celery import shared_task
from django.db.models import Max, OuterRef, Subquery
from django.db.models.functions import Greatest
from django.utils import timezone

from conversations.models import Call, CallStatus, Message

logger = logging.getLogger(__name__)

# Longer than several heartbeats of the journal, so that a slow moment does not end a call.
LOST_AFTER = datetime.timedelta(seconds=40)
LOST_CODE = "call.lost"
LOST_MESSAGE = "The process that carried the call ended."


@shared_task(name="conversations.close_lost_calls")
def close_lost_calls() -> int:
    """Ends the calls whose process died, at the moment of their last sign of life."""
    last_said = (
        Message.objects.filter(conversation=OuterRef("pk"))
        .values("conversation")
        .values(at=Max("created_at"))
    )
    silent = Call.objects.filter(
        ended_at__isnull=True, heartbeat_at__lt=timezone.now() - LOST_AFTER
    )
    closed = silent.update(
        status=CallStatus.FAILED,
        # A heartbeat can be older than the session, and than what was said since.
        ended_at=Greatest("heartbeat_at", "started_at", Subquery(last_said)),
        error_code=LOST_CODE,
        error_message=LOST_MESSAGE,
    )
    if closed:
        logger.warning("Closed %d calls whose process had died", closed)
    return closed
