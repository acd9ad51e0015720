"""Scripted conversations, their steps edited as rows."""

from __future__ import annotations

import copy
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelect2Widget

from core.console import ConsoleAdmin, ConsoleForm
from core.errors import InvalidRequest
from tooling.admin import states, subjects, testing
from tooling.admin.fields import Column, RowsField
from tooling.autotest.history import latest
from tooling.autotest.scenario import StepRow, checked_steps
from tooling.models import Scenario, Subject

STEPS = (
    Column("say", _("The user says"), "text", is_required=True),
    Column("expect_words", _("The answer has"), "words", hint=_("nine|9, Monday")),
    Column("forbid_words", _("The answer has not"), "words", hint=_("sorry")),
    Column("expect_tools", _("Tools called"), "words", hint="calculator"),
)


class ScenarioForm(ConsoleForm):
    """The assistant is chosen by its name."""

    assistant_id = forms.ChoiceField(label=_("Assistant"), widget=UnfoldAdminSelect2Widget)
    steps = RowsField(
        STEPS,
        is_ordered=True,
        label=_("Steps"),
        help_text=_(
            "Words are separated by commas; nine|9 means either. Every expected tool has to be "
            "called without an error."
        ),
        error_messages={"required": _("A test needs at least one step.")},
    )

    def clean_steps(self) -> list[StepRow]:
        try:
            return checked_steps(self.cleaned_data["steps"])
        except InvalidRequest as error:
            raise forms.ValidationError(error.message) from None


class ScenarioList(ChangeList):
    """A page of scenarios with the names and the latest tests of their assistants."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        ids = {row.assistant_id for row in rows}
        found = subjects.names((Subject.ASSISTANT.value, row_id) for row_id in ids)
        runs = latest(Subject.ASSISTANT, ids)
        for row in rows:
            row.assistant_name = found.get((Subject.ASSISTANT.value, row.assistant_id))
            row.latest = runs.get(row.assistant_id)
        self.result_list = rows


@admin.register(Scenario)
class ScenarioAdmin(ConsoleAdmin):
    """What to say to an assistant, and what has to come back. Its autotest runs them all."""

    empty_text = _(
        "What to say to an assistant, and what has to come back. Add one, and the assistant's "
        "autotest runs it."
    )
    form = ScenarioForm
    list_display = ["name", "show_assistant", "show_steps", "show_latest", "show_owner"]
    list_filter = [("owner", AutocompleteSelectFilter)]
    list_select_related = ["owner"]
    search_fields = ["name", "assistant_id"]
    autocomplete_fields = ["owner"]
    actions = ["run_autotests"]
    fieldsets = [(None, {"fields": ["name", "assistant_id", "owner", "steps"]})]
    change_form_outer_before_template = "tooling/subject_head.html"
    change_form_outer_after_template = "tooling/subject_history.html"

    class Media:
        js = ["console/live.js"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ScenarioList

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        # The class's fields are shared by all of its forms.
        field = form.base_fields["assistant_id"]
        field = form.base_fields["assistant_id"] = copy.deepcopy(field)
        field.choices = [("", "–"), *_assistants(request, obj)]
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = {**(extra_context or {})}
        row = self.get_object(request, unquote(object_id))
        if row is not None:
            context |= testing.context_of(Subject.ASSISTANT, row.assistant_id)
        return super().change_view(request, object_id, form_url, context)

    @admin.action(description=_("Run autotest now"))
    def run_autotests(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Tests the assistants; each test runs all of its assistant's conversations."""
        ids = dict.fromkeys(queryset.values_list("assistant_id", flat=True))
        return testing.start_all(request, [(Subject.ASSISTANT, row_id) for row_id in ids])

    @display(description=_("assistant"), ordering="assistant_id")
    def show_assistant(self, row: Any) -> Any:
        if row.assistant_name is None:
            return _("deleted")
        url = subjects.url_of(Subject.ASSISTANT, row.assistant_id)
        return format_html(
            '<a class="hover:text-primary-600" href="{}">{}</a>', url, row.assistant_name
        )

    @display(description=_("steps"))
    def show_steps(self, row: Scenario) -> int:
        return len(row.steps)

    @display(description=_("assistant's last test"))
    def show_latest(self, row: Any) -> str:
        return states.run_link(row.latest)


def _assistants(request: HttpRequest, row: Scenario | None) -> list[tuple[str, str]]:
    """The assistants to choose from, and the one that is chosen, be it gone."""
    page = subjects.page_of(Subject.ASSISTANT)
    if page is None:
        return []
    rows = page.get_queryset(request).order_by("name", "pk")[: subjects.MAX_CHOICES]
    options = [(str(each.pk), str(each)) for each in rows]
    if row is not None and row.assistant_id not in dict(options):
        options.insert(0, (row.assistant_id, row.assistant_id))
    return options
