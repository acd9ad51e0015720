"""What earlier runs found: the latest of many things, and the course of one."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import NotFound
from tooling.models import AutotestRun, Subject

RUN_NOT_FOUND = "AUTOTEST_RUN_NOT_FOUND"


def visible_runs(principal: Principal) -> QuerySet[AutotestRun]:
    """Own runs; operators see all."""
    runs = AutotestRun.objects.all()
    return runs if principal.is_operator else runs.filter(owner_id=principal.user_id)


def access_run(principal: Principal, run_id: str) -> AutotestRun:
    """The run, if it may be seen. Raises NotFound alike for unknown and foreign ids."""
    row = None if "\0" in run_id else visible_runs(principal).filter(pk=run_id).first()
    if row is None:
        raise NotFound(_("Autotest run not found"), code=RUN_NOT_FOUND)
    return row


def latest(subject: Subject, ids: Iterable[str]) -> dict[str, AutotestRun]:
    """The latest run of each of these things, whoever asked for it, by the thing's id."""
    runs = AutotestRun.objects.filter(subject=subject, subject_id__in=list(ids))
    newest = runs.order_by("subject_id", "-created_at").distinct("subject_id")
    return {run.subject_id: run for run in newest}
