"""Runs of autotests: the list, and each run with its cases while they come in."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import display

from core.console import ReadOnlyAdmin
from tooling.admin import states, subjects, testing
from tooling.admin.charts import duration_text
from tooling.admin.links import link_to
from tooling.models import AutotestRun, RunStatus


class StateFilter(admin.SimpleListFilter):
    """By outcome; waiting and running are one."""

    title = _("status")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("open", _("In work")),
            ("passed", _("Passed")),
            ("failed", _("Failed")),
            ("broken", _("Broken off")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case None:
                return queryset
            case "open":
                return queryset.filter(status__in=RunStatus.open())
            case status:
                return queryset.filter(status=status)


@admin.register(AutotestRun)
class AutotestRunAdmin(ReadOnlyAdmin):
    """Every run, the latest first."""

    empty_text = _(
        "Press “Run autotest” on the page of a model, a tool or an assistant, or make a "
        "schedule; each result stands here."
    )
    list_display = [
        "show_subject",
        "show_state",
        "show_trigger",
        "created_at",
        "show_duration",
    ]
    list_display_links = None
    list_filter = ["subject", StateFilter, "trigger", ("created_at", RangeDateTimeFilter)]
    search_fields = ["subject_name", "subject_id"]
    search_help_text = _("Name or id of what was tested")
    date_hierarchy = "created_at"
    list_per_page = 50
    show_full_result_count = False
    change_form_outer_before_template = "tooling/run_page.html"
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("show_trigger", "show_owner"),
                    ("created_at", "started_at", "finished_at"),
                ]
            },
        )
    ]
    readonly_fields = ["show_trigger", "show_owner"]

    class Media:
        js = ["console/live.js"]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("live/", view(states.live), name="tooling_live"),
            path("start/", view(require_POST(testing.start_view)), name="tooling_autotest_start"),
        ]
        return [*own, *super().get_urls()]

    # --- the list --------------------------------------------------------------------------------
    @display(description=_("what was tested"), ordering="subject_name")
    def show_subject(self, run: AutotestRun) -> str:
        return format_html(
            '<div><a class="document-name" href="{}">{}</a><span class="row-note">{}</span></div>',
            link_to("tooling_autotestrun_change", run.pk),
            run.subject_name or run.subject_id,
            run.get_subject_display(),
        )

    @display(description=_("status"), ordering="status")
    def show_state(self, run: AutotestRun) -> str:
        return format_html('<div data-live="run:{}">{}</div>', run.pk, states.run_state(run))

    @display(description=_("started by"), ordering="trigger")
    def show_trigger(self, run: AutotestRun) -> str:
        return run.get_trigger_display()

    @display(description=_("duration"), ordering="duration_ms")
    def show_duration(self, run: AutotestRun) -> str:
        return "-" if run.duration_ms is None else duration_text(run.duration_ms)

    # --- one run ---------------------------------------------------------------------------------
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {})}
        run = self.get_object(request, unquote(object_id))
        if run is not None:
            runs = list(testing.recent_runs(run.subject, run.subject_id))
            context |= {
                "title": run.subject_name or run.subject_id,
                "subtitle": None,
                "subject_url": subjects.url_of(run.subject, run.subject_id),
                "is_there": subjects.find(request, run.subject, run.subject_id) is not None,
                "state": states.run_state(run),
                "cases": states.run_cases(run),
                "chart": testing.history_chart(runs),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response
