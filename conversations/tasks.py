"""Background work on conversations. What is to be done is in Postgres; messages only wake."""

from __future__ import annotations

import datetime
import logging
from typing import Any

from celery import shared_task, signals
from django.db import transaction
from django.db.models import Max, OuterRef, Subquery
from django.db.models.functions import Greatest
from django.utils import timezone

from conversations.memory import lessons
from conversations.models import Call, CallStatus, Channel, Message
from conversations.runs import host, sweeper, waking

logger = logging.getLogger(__name__)

# Where tasks are announced.
CHAT_QUEUE = "chat"
# Longer than several heartbeats of the journal, so that a slow moment does not end a call.
LOST_AFTER = datetime.timedelta(seconds=40)
LOST_CODE = "call.lost"
LOST_MESSAGE = "The process that carried the call ended."
# Of the time that the supervisor gives a worker: a little more than tasks take to be handed on.
HOST_STOPS_WITHIN_S = 7.0


# --- Runs --------------------------------------------------------------------------------------


@shared_task(name=waking.TASK)
def run(run_id: str) -> None:
    """Has the tasks of this process's loop joined by what waits: most likely the one named."""
    host.ONLY.get().wake()


@shared_task(name="conversations.sweep_runs")
def sweep_runs() -> None:
    """Recovers runs whose process is gone; announces forgotten ones, and lessons, again."""
    sweeper.recover_lost()
    sweeper.wake_forgotten()
    lessons.wake_due()


@shared_task(name="conversations.delete_old_runs")
def delete_old_runs() -> int:
    """Deletes runs that ended long ago; their messages stay."""
    return sweeper.delete_old()


def _worker_serves(sender: Any, **kwargs: Any) -> None:
    """The first task should not wait for what takes seconds to load."""
    is_threaded = type(sender.pool).__module__ == "celery.concurrency.thread"
    if is_threaded and CHAT_QUEUE in sender.app.amqp.queues.consume_from:
        host.ONLY.get()


def _worker_stops(**kwargs: Any) -> None:
    host.ONLY.stop()


def _worker_has_stopped(**kwargs: Any) -> None:
    host.ONLY.join(HOST_STOPS_WITHIN_S)


signals.worker_ready.connect(_worker_serves)
signals.worker_shutting_down.connect(_worker_stops)
signals.worker_shutdown.connect(_worker_has_stopped)

# --- Calls -------------------------------------------------------------------------------------


@shared_task(name="conversations.close_lost_calls")
def close_lost_calls() -> int:
    """Ends the calls whose process died, at the moment of their last sign of life.

    What is remembered of calls is learnt from these, too.
    """
    last_said = (
        Message.objects.filter(conversation=OuterRef("pk"))
        .values("conversation")
        .values(at=Max("created_at"))
    )
    # Of chats and tasks, runs know who works on them; see `sweep_runs`.
    silent = Call.objects.filter(
        channel=Channel.VOICE,
        ended_at__isnull=True,
        heartbeat_at__lt=timezone.now() - LOST_AFTER,
    )
    with transaction.atomic():
        lost = list(silent.select_for_update().values_list("pk", flat=True))
        closed = Call.objects.filter(pk__in=lost).update(
            status=CallStatus.FAILED,
            # A heartbeat can be older than the session, and than what was said since.
            ended_at=Greatest("heartbeat_at", "started_at", Subquery(last_said)),
            error_code=LOST_CODE,
            error_message=LOST_MESSAGE,
        )
        for call_id in lost:
            # As their processes would have at the end.
            lessons.note(call_id)
    if closed:
        logger.warning("Closed %d calls whose process had died", closed)
    return closed
