"""Runs that nobody works on any more, or not yet: begun anew, ended, announced again, deleted."""

from __future__ import annotations

import dataclasses
import datetime
import logging

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from conversations.encoders.tasks import failed, outcome_of
from conversations.encoding import Turn
from conversations.models import Run, RunEvent, RunKind, RunStatus
from conversations.runs import processes, store, waking
from conversations.runs.recovery import restarted, turn_so_far
from conversations.runs.types import Outcome, StoredEvent

logger = logging.getLogger(__name__)

# Several heartbeats, so that a slow moment does not end a run.
LOST_AFTER = datetime.timedelta(seconds=45)
FORGOTTEN_AFTER = datetime.timedelta(seconds=10)
# A run whose process died twice may be what it died of.
MOST_ATTEMPTS = 2
# Of one round; the next finds the rest.
MOST_LOST = 200
MOST_WOKEN = 50
MOST_DELETED = 500
_SAYING = ("text_chunk", "thinking_chunk", "tool_start")
_AWAY = (OperationalError, InterfaceError)


def recover_lost() -> int:
    """Begins anew, or ends, the runs whose process is gone or silent; their number."""
    owned = Run.objects.filter(status__in=RunStatus.owned())
    workers = owned.order_by("worker").values_list("worker", flat=True).distinct()
    gone = [worker for worker in workers if processes.is_gone(worker)]
    rows = owned.filter(Q(heartbeat_at__lt=Now() - LOST_AFTER) | Q(worker__in=gone))
    lost = list(rows.order_by("heartbeat_at")[:MOST_LOST])
    recovered = sum(map(_recover_or_end, lost))
    if recovered:
        logger.warning("Recovered %d runs whose process had died", recovered)
    return recovered


def recover_gone(conversation_id: str) -> bool:
    """The same at once for the run that keeps a conversation busy; whether its process is gone."""
    owned = Run.objects.filter(conversation_id=conversation_id, status__in=RunStatus.owned())
    run = owned.first()
    if run is None or not processes.is_gone(run.worker):
        return False
    logger.warning("Run %s was left by a process that is gone: %s", run.pk, run.worker)
    # Where this does not do it, somebody else has just done.
    _recover_or_end(run)
    return True


def wake_forgotten() -> int:
    """Announces again the tasks that wait although they were announced; their number."""
    waiting = Run.objects.filter(
        status=RunStatus.PENDING, kind=RunKind.TASK, updated_at__lt=Now() - FORGOTTEN_AFTER
    )
    ids = list(waiting.order_by("created_at").values_list("pk", flat=True)[:MOST_WOKEN])
    for run_id in ids:
        waking.wake(run_id)
    return len(ids)


def delete_old() -> int:
    """Deletes runs that ended long ago, with their logs; messages stay. Their number."""
    before = timezone.now() - datetime.timedelta(days=settings.RUN_RETENTION_DAYS)
    deleted = 0
    while ids := list(
        Run.objects.filter(finished_at__lt=before).values_list("pk", flat=True)[:MOST_DELETED]
    ):
        Run.objects.filter(pk__in=ids).delete()
        deleted += len(ids)
    return deleted


def _recover_or_end(run: Run) -> bool:
    """As `_recover`; what is wrong with one run neither stops the others nor keeps it alive."""
    try:
        return _recover(run)
    except _AWAY:
        raise
    except Exception:  # the outer edge of a recovery: whatever it was, the run must come to an end
        logger.exception("Run %s ends without its answer", run.pk)
        message = _("The process that worked on the task ended.")
        outcome = failed(message, code="worker_lost", turn=None)
        return store.finish(store.claim_of(run), outcome, silent_since=run.heartbeat_at)


def _recover(run: Run) -> bool:
    """Whether this call did it: its process may live after all, or another sweeper be faster."""
    with translation.override(run.request.get("language")):
        claim = store.claim_of(run)
        has_said = RunEvent.objects.filter(run=run, type__in=_SAYING).exists()
        events = restarted(has_said=has_said)
        # Where there is a sign of life meanwhile, somebody is there.
        seen = run.heartbeat_at
        turn = turn_so_far(_events(run), turn=claim.turn)
        return store.give_back(
            claim, events, most_attempts=MOST_ATTEMPTS, spent=turn.usage, silent_since=seen
        ) or store.finish(claim, _outcome(run, turn), silent_since=seen)


def _outcome(run: Run, turn: Turn) -> Outcome:
    if run.status == RunStatus.CANCEL_REQUESTED:
        return outcome_of(dataclasses.replace(turn, turn=run.turn))
    if run.kind == RunKind.CHAT:
        return failed(
            _("The server was stopped while it answered."), code="process_lost", turn=turn
        )
    return failed(_("The process that worked on the task ended."), code="worker_lost", turn=turn)


def _events(run: Run) -> list[StoredEvent]:
    rows = RunEvent.objects.filter(run=run).values_list("seq", "type", "data")
    return [StoredEvent(seq, kind, data, 0) for seq, kind, data in rows.iterator()]
