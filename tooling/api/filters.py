"""How the list of tools can be narrowed."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _
from django_filters import rest_framework as filters

from core.filters import FlagFilter
from tooling.catalogue import BUILTIN_TOOLS
from tooling.models import Category, RunStatus, Subject, Tool, Trigger


class ToolFilters(filters.FilterSet):
    category = filters.ChoiceFilter(choices=Category.choices)
    enabled = FlagFilter(field_name="is_enabled")
    include_system = FlagFilter(
        method="with_or_without_system", help_text=_("false: own tools only.")
    )
    keyword = filters.CharFilter(method="about", help_text=_("In the id, name or description."))

    def with_or_without_system(
        self, rows: QuerySet[Tool], name: str, value: bool
    ) -> QuerySet[Tool]:
        return rows if value else rows.exclude(owner=None)

    def about(self, rows: QuerySet[Tool], name: str, value: str) -> QuerySet[Tool]:
        return rows.filter(
            Q(pk__icontains=value)
            | Q(name__icontains=value)
            | Q(description__icontains=value)
            | Q(owner=None, pk__in=_builtin_tools_about(value))
        )


def _builtin_tools_about(text: str) -> list[str]:
    """The built-in tools that say so in one of their languages; their rows hold but one."""
    return [
        tool.id
        for tool in BUILTIN_TOOLS.values()
        for said in (tool.name.zh, tool.name.en, tool.description.zh, tool.description.en)
        if text.lower() in said.lower()
    ]


class AutotestRunFilters(filters.FilterSet):
    subject = filters.ChoiceFilter(choices=Subject.choices)
    subject_id = filters.CharFilter()
    status = filters.ChoiceFilter(choices=RunStatus.choices)
    trigger = filters.ChoiceFilter(choices=Trigger.choices)


class ScenarioFilters(filters.FilterSet):
    assistant_id = filters.CharFilter()
