"""The rows of autotests: opened once at a time, claimed once, written by who claimed them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from core.errors import Conflict
from tooling.autotest.cases import Asker, Case
from tooling.models import AutotestRun, RunStatus, Subject, Trigger

# Of one thing and owner; a schedule of every 15 minutes fills five days.
KEPT_RUNS = 500
KEPT_FOR = dt.timedelta(days=180)
# Several heartbeats, so that a slow moment does not end a run.
LOST_AFTER = dt.timedelta(seconds=40)
# A run that no worker took by then is announced again: its message may be lost.
WOKEN_AGAIN_AFTER = dt.timedelta(seconds=60)
MOST_WOKEN = 20
FAILED_MESSAGE = gettext_noop("The check itself failed; the server's log says why.")
LOST_MESSAGE = gettext_noop("The process that ran it ended.")


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A run that somebody claimed."""

    run_id: str
    subject: Subject
    subject_id: str
    asker: Asker


def open_run(
    subject: Subject, subject_id: str, *, owner_id: int | None, trigger: Trigger
) -> tuple[AutotestRun, bool]:
    """The run of this thing that is under way, or a new one (then True).

    Operators and schedules share one. Users that test what they share do not see, or wait for, each
    other's.
    """
    joined = Q(owner_id=owner_id)
    if trigger != Trigger.API:
        joined |= ~Q(trigger=Trigger.API)
    for _attempt in range(3):
        active = AutotestRun.objects.filter(
            joined,
            subject=subject,
            subject_id=subject_id,
            status__in=RunStatus.open(),
        ).first()
        if active is not None:
            return active, False
        try:
            with transaction.atomic():
                run = AutotestRun.objects.create(
                    pk=f"{subject.value}_test_{secrets.token_hex(4)}",
                    subject=subject,
                    subject_id=subject_id,
                    owner_id=owner_id,
                    trigger=trigger,
                )
        except IntegrityError:
            continue  # Somebody else opened one, which may have ended by now.
        return run, True
    raise being_tested()


def being_tested() -> Conflict:
    """The error for a thing whose test is under way."""
    return Conflict(
        _("It is being tested right now. Try again when that has finished."),
        code="AUTOTEST_RUNNING",
    )


def claim(run_id: str) -> Job | None:
    """The run, for the one caller who is to run it; None for everyone after."""
    now = timezone.now()
    claimed = AutotestRun.objects.filter(pk=run_id, status=RunStatus.QUEUED).update(
        status=RunStatus.RUNNING, started_at=now, heartbeat_at=now
    )
    if not claimed:
        return None
    # Gone where its owner was deleted meanwhile.
    run = AutotestRun.objects.filter(pk=run_id).first()
    if run is None:
        return None
    asker = Asker(run.owner_id, is_operator=run.trigger != Trigger.API)
    return Job(run.pk, Subject(run.subject), run.subject_id, asker)


def beat(run_id: str) -> bool:
    """A sign of life; False where the run was taken from its runner."""
    return _running(run_id, heartbeat_at=timezone.now())


def record(run_id: str, cases: Sequence[Case], *, name: str, expected: int) -> bool:
    """Stores the cases so far, of so many expected; False where the run was taken away."""
    passed = sum(case.passed for case in cases)
    return _running(
        run_id,
        subject_name=name[:200],
        cases=[case.row() for case in cases],
        cases_expected=max(expected, len(cases)),
        passed=passed,
        failed=len(cases) - passed,
        heartbeat_at=timezone.now(),
    )


def finish(run_id: str, *, status: RunStatus, duration_ms: int) -> bool:
    """Ends the run and lets go of the oldest ones; False where it was taken away."""
    has_ended = _running(
        run_id,
        status=status,
        duration_ms=duration_ms,
        finished_at=timezone.now(),
    )
    if has_ended:
        _trim(run_id)
    return has_ended


def break_off(run_id: str) -> bool:
    """Ends a run whose tests could not be held; False where it was taken away."""
    return _running(
        run_id, status=RunStatus.BROKEN, finished_at=timezone.now(), error=FAILED_MESSAGE
    )


def _running(run_id: str, **changes: Any) -> bool:
    running = AutotestRun.objects.filter(pk=run_id, status=RunStatus.RUNNING)
    return running.update(**changes) > 0


def _trim(run_id: str) -> None:
    run = AutotestRun.objects.filter(pk=run_id).first()
    if run is None:
        return
    same = AutotestRun.objects.filter(
        subject=run.subject, subject_id=run.subject_id, owner_id=run.owner_id
    )
    oldest_kept = same.order_by("-created_at").values_list("created_at", flat=True)[
        KEPT_RUNS - 1 : KEPT_RUNS
    ]
    for created_at in oldest_kept:
        same.filter(created_at__lt=created_at).exclude(status__in=RunStatus.open()).delete()


# --- Upkeep ------------------------------------------------------------------------------------


def break_off_lost() -> int:
    """Ends the runs whose process died, at the moment of their last sign of life; how many."""
    return AutotestRun.objects.filter(
        status=RunStatus.RUNNING, heartbeat_at__lt=timezone.now() - LOST_AFTER
    ).update(
        status=RunStatus.BROKEN,
        finished_at=F("heartbeat_at"),
        error=LOST_MESSAGE,
    )


def take_forgotten() -> list[str]:
    """Runs that wait although their message should long have been read, each once a minute."""
    now = timezone.now()
    before = now - WOKEN_AGAIN_AFTER
    # Before it is claimed, a run's heartbeat says when it was last announced.
    is_due = Q(heartbeat_at=None, created_at__lt=before) | Q(heartbeat_at__lt=before)
    waiting = AutotestRun.objects.filter(is_due, status=RunStatus.QUEUED).order_by("created_at")
    run_ids = list(waiting.values_list("pk", flat=True)[:MOST_WOKEN])
    AutotestRun.objects.filter(pk__in=run_ids, status=RunStatus.QUEUED).update(heartbeat_at=now)
    return run_ids


def remove_old() -> int:
    """Removes what is older than half a year, also of things that are gone; how many."""
    old = AutotestRun.objects.filter(created_at__lt=timezone.now() - KEPT_FOR)
    return old.exclude(status__in=RunStatus.open()).delete()[0]
