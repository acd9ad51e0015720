"""What the console's home page tells of tasks and of what users thought of answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Q
from django.db.models.fields.json import KT
from django.db.models.functions import Left
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from conversations.admin.drawing import live_state
from conversations.admin.names import MAX_CHARS, run_name
from conversations.models import Feedback, Run, RunKind, RunStatus
from tooling.admin.links import link_to

# Whoever waits this long waits for a worker that is not there.
LATE_AFTER = dt.timedelta(minutes=1)
MAX_RUNNING = 5
MAX_CAUSES = 3


def cards(since: dt.datetime) -> Iterator[dict[str, Any]]:
    """Figures of the time since then, with the way to what they count."""
    runs_url = reverse("admin:conversations_run_changelist")
    tasks = Run.objects.filter(kind=RunKind.TASK)
    going_on = tasks.filter(status__in=RunStatus.active()).count()
    recent = tasks.filter(created_at__gte=since).aggregate(
        total=Count("pk"), failed=Count("pk", filter=Q(status=RunStatus.FAILED))
    )
    yield {
        "title": _("Tasks in 7 days"),
        "value": recent["total"],
        "note": _("%(active)d going on, %(failed)d failed")
        % {"active": going_on, "failed": recent["failed"]},
        "url": f"{runs_url}?kind__exact=task",
    }
    opinions = Feedback.objects.filter(created_at__gte=since).aggregate(
        liked=Count("pk", filter=Q(is_positive=True)),
        disliked=Count("pk", filter=Q(is_positive=False)),
    )
    yield {
        "title": _("Feedback in 7 days"),
        "value": opinions["liked"] + opinions["disliked"],
        "note": _("%(liked)d liked, %(disliked)d disliked") % opinions,
        "url": reverse("admin:conversations_feedback_changelist"),
    }


def troubles(since: dt.datetime) -> Iterator[tuple[str, str]]:
    """What an operator should act on, and where: tasks that failed, and those nobody takes up."""
    runs_url = reverse("admin:conversations_run_changelist")
    tasks = Run.objects.filter(kind=RunKind.TASK)
    failures = tasks.filter(status=RunStatus.FAILED, finished_at__gte=since).order_by()
    causes = failures.values("error_message").annotate(total=Count("pk")).order_by("-total")
    for cause in causes[:MAX_CAUSES]:
        text = ngettext(
            "%(n)d task failed in the last 24 hours: %(error)s",
            "%(n)d tasks failed in the last 24 hours: %(error)s",
            cause["total"],
        )
        said = text % {"n": cause["total"], "error": cause["error_message"]}
        yield said, f"{runs_url}?kind__exact=task&state=failed"
    late = tasks.filter(
        status=RunStatus.PENDING, created_at__lt=timezone.now() - LATE_AFTER
    ).count()
    if late:
        text = ngettext(
            "%(n)d task waits too long; is a worker running?",
            "%(n)d tasks wait too long; is a worker running?",
            late,
        )
        yield text % {"n": late}, f"{runs_url}?kind__exact=task&state=open"


def running() -> list[dict[str, Any]]:
    """The tasks that go on, those that began last first."""
    rows = Run.objects.filter(kind=RunKind.TASK, status__in=RunStatus.active())
    asked = rows.annotate(asked=Left(KT("request__message"), MAX_CHARS + 1))
    return [
        {
            "name": run.conversation.title or run_name(run),
            "owner": run.owner,
            "url": link_to("conversations_run_change", str(run.pk)),
            "state": live_state(run),
        }
        for run in asked.select_related("owner", "conversation").defer("request")[:MAX_RUNNING]
    ]
