"""Autotests on the pages of what they test: start them there, and see how they went."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from core.console import ConsoleAdmin
from core.errors import AppError
from tooling.admin import states, subjects
from tooling.admin.charts import MAX_BARS, Chart, Point, chart_of
from tooling.admin.links import link_to
from tooling.autotest import engine
from tooling.models import AutotestRun, AutotestSchedule, RunStatus, Subject, Trigger

MAX_STARTED = 20


class Autotested(ConsoleAdmin):
    """A page of what can be tested: with the action, and the latest runs on each row's page."""

    subject: ClassVar[Subject]
    actions: Any
    change_form_outer_before_template = "tooling/subject_head.html"
    change_form_outer_after_template = "tooling/subject_history.html"

    class Media:
        js = ["console/live.js"]

    def __init__(self, model: type[Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        self.actions = [*(self.actions or ()), "run_autotests"]
        subjects.register(self.subject, self)

    @admin.action(description=_("Run autotest now"))
    def run_autotests(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Starts a test of each selected row; the list of runs shows how they go."""
        ids = queryset.values_list("pk", flat=True)[: MAX_STARTED + 1]
        return start_all(request, [(self.subject, str(row_id)) for row_id in ids])

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {}), **context_of(self.subject, unquote(object_id))}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response


def start(request: HttpRequest, subject: Subject, subject_id: str) -> AutotestRun | None:
    """A new run in the operator's name; None, and a message on the page, where that is refused."""
    try:
        return engine.start(subject, subject_id, owner_id=request.user.pk, trigger=Trigger.CONSOLE)
    except AppError as error:
        messages.error(request, error.message)
        return None


def start_all(request: HttpRequest, keys: Collection[tuple[Subject, str]]) -> HttpResponse | None:
    """Starts the tests of all of these and leads to the list of runs; None where none was."""
    if len(keys) > MAX_STARTED:
        text = _("At most %(most)d can be tested at once.") % {"most": MAX_STARTED}
        messages.error(request, text)
        return None
    runs = [run for subject, row_id in keys if (run := start(request, subject, row_id))]
    if not runs:
        return None
    said = ngettext("%(n)d autotest was started.", "%(n)d autotests were started.", len(runs))
    messages.success(request, said % {"n": len(runs)})
    return HttpResponseRedirect(reverse("admin:tooling_autotestrun_changelist"))


def start_view(request: HttpRequest) -> HttpResponse:
    """Starts the test that a button asks for, and shows its page."""
    subject, subject_id = request.POST.get("subject", ""), request.POST.get("subject_id", "")
    if subjects.find(request, subject, subject_id) is None:
        raise Http404
    run = start(request, Subject(subject), subject_id)
    if run is None:
        return HttpResponseRedirect(subjects.url_of(subject, subject_id))
    return HttpResponseRedirect(link_to("tooling_autotestrun_change", run.pk))


def context_of(subject: Subject, subject_id: str) -> dict[str, Any]:
    """What the templates of a row's page show of its tests."""
    if "\0" in subject_id:
        return {}
    runs = list(recent_runs(subject, subject_id))
    return {
        "tested": {
            "subject": subject.value,
            "subject_id": subject_id,
            "latest": runs[0] if runs else None,
            "state": states.run_state(runs[0]) if runs else "",
            "schedule": AutotestSchedule.objects.filter(
                subject=subject, subject_id=subject_id
            ).first(),
        },
        "chart": history_chart(runs),
    }


def recent_runs(subject: str, subject_id: str) -> QuerySet[AutotestRun]:
    """The latest runs of one thing, the latest first."""
    runs = AutotestRun.objects.filter(subject=subject, subject_id=subject_id)
    return runs.order_by("-created_at")[:MAX_BARS]


def history_chart(runs: list[AutotestRun]) -> Chart | None:
    """The chart of these runs, given the latest first; those that still run are not on it."""
    ended = [run for run in reversed(runs) if not states.is_open(run)]
    return chart_of([_point(run) for run in ended])


def _point(run: AutotestRun) -> Point:
    outcomes: dict[str, Any] = {RunStatus.PASSED: "passed", RunStatus.FAILED: "failed"}
    return Point(
        run_id=run.pk,
        at=run.created_at,
        outcome=outcomes.get(run.status, "broken"),
        duration_ms=run.duration_ms or 0,
        passed=run.passed,
        failed=run.failed,
    )
