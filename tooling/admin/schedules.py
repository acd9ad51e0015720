"""What is tested again and again: when it ran last, what came of it, when it runs next."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelect2Widget

from core.console import ConsoleAdmin, ConsoleForm
from tooling.admin import states, subjects, testing
from tooling.admin.links import link_to
from tooling.autotest import schedules
from tooling.autotest.history import latest
from tooling.models import AutotestSchedule, Subject


class ScheduleForm(ConsoleForm):
    """What is tested is chosen by its name; it stays what it is."""

    instance: Any
    what = forms.ChoiceField(label=gettext_lazy("What is tested"), widget=UnfoldAdminSelect2Widget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            what = self.fields["what"]
            key = f"{self.instance.subject}:{self.instance.subject_id}"
            assert isinstance(what, forms.ChoiceField)
            what.choices = [(key, self.instance.shown_name)]
            what.initial, what.disabled = key, True

    def clean_what(self) -> str:
        subject, _colon, subject_id = self.cleaned_data["what"].partition(":")
        others = AutotestSchedule.objects.filter(subject=subject, subject_id=subject_id)
        if others.exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError(_("It is tested regularly already."))
        self.instance.subject, self.instance.subject_id = subject, subject_id
        return str(self.cleaned_data["what"])


class ScheduleList(ChangeList):
    """A page of schedules with the names and the latest runs of what they test."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        dress(rows)
        self.result_list = rows


def dress(rows: list[Any]) -> None:
    """Notes the name and the latest run of what each schedule tests, in a query per kind each."""
    found = subjects.names((row.subject, row.subject_id) for row in rows)
    runs = {
        subject: latest(subject, [row.subject_id for row in rows if row.subject == subject])
        for subject in {Subject(row.subject) for row in rows}
    }
    for row in rows:
        row.latest = runs[Subject(row.subject)].get(row.subject_id)
        name = found.get((row.subject, row.subject_id))
        row.is_there = name is not None
        row.shown_name = name or (row.latest and row.latest.subject_name) or row.subject_id


@admin.register(AutotestSchedule)
class AutotestScheduleAdmin(ConsoleAdmin):
    """Regular tests. Their failures show on the home page."""

    empty_text = gettext_lazy(
        "What is tested regularly stands here. Add a schedule; failures show on the home page."
    )
    form = ScheduleForm
    list_display = [
        "show_subject",
        "show_every",
        "show_latest",
        "show_last",
        "show_next",
        "is_enabled",
    ]
    list_display_links = None
    list_filter = ["subject", "is_enabled"]
    list_select_related = ["periodic_task"]
    search_fields = ["subject_id"]
    ordering = ["subject", "pk"]
    actions = ["run_autotests"]
    fieldsets = [(None, {"fields": ["what", "every_minutes", "is_enabled"]})]

    class Media:
        js = ["console/live.js"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ScheduleList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> AutotestSchedule | None:
        row: AutotestSchedule | None = super().get_object(request, object_id, from_field)
        if row is not None:
            dress([row])
        return row

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        # What is no field of the model is the form's own.
        kwargs["fields"] = ["every_minutes", "is_enabled"]
        form = super().get_form(request, obj, change, **kwargs)
        if obj is None:
            # The class's fields are shared by all of its forms.
            what = form.base_fields["what"] = copy.deepcopy(form.base_fields["what"])
            wanted = (request.POST or request.GET).get("what", "")
            what.choices = [("", "–"), *subjects.choices(request, wanted)]
        return form

    # --- the list --------------------------------------------------------------------------------
    @admin.action(description=gettext_lazy("Run autotest now"))
    def run_autotests(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Tests what the schedules test, without waiting for their time."""
        rows = queryset.values_list("subject", "subject_id")
        return testing.start_all(request, [(Subject(subject), row_id) for subject, row_id in rows])

    @display(description=gettext_lazy("what is tested"), ordering="subject")
    def show_subject(self, row: Any) -> str:
        note = row.get_subject_display()
        return format_html(
            '<div><a class="document-name" href="{}">{}</a><span class="row-note">{}</span></div>',
            link_to("tooling_autotestschedule_change", row.pk),
            row.shown_name,
            note if row.is_there else f"{note} · {_('deleted')}",
        )

    @display(description=gettext_lazy("every"), ordering="every_minutes")
    def show_every(self, row: AutotestSchedule) -> str:
        return row.get_every_minutes_display()

    @display(description=gettext_lazy("last result"))
    def show_latest(self, row: Any) -> str:
        return states.run_link(row.latest)

    @display(description=gettext_lazy("last run"))
    def show_last(self, row: Any) -> str:
        if row.latest is None:
            return "-"
        return _("%(time)s ago") % {"time": timesince(row.latest.created_at, depth=1)}

    @display(description=gettext_lazy("next run"))
    def show_next(self, row: AutotestSchedule) -> str:
        at = next_run(row)
        if at is None:
            return "-"
        if at <= timezone.now():
            return _("any moment")
        return _("in %(time)s") % {"time": timeuntil(at, depth=1)}

    # --- changes: the scheduler has its own side of each row --------------------------------------
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        schedules.store(obj)

    def delete_model(self, request: HttpRequest, obj: AutotestSchedule) -> None:
        schedules.delete([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        rows: Iterable[AutotestSchedule] = queryset
        schedules.delete(rows)


def next_run(row: AutotestSchedule) -> dt.datetime | None:
    """When it runs next; None where it does not."""
    task = row.periodic_task
    if not row.is_enabled or task is None:
        return None
    return (task.last_run_at or row.updated_at) + dt.timedelta(minutes=row.every_minutes)
