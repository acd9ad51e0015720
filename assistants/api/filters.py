"""How the list of assistants can be narrowed."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _
from django_filters import rest_framework as filters

from assistants.models import Assistant, Language
from core.filters import FlagFilter


class AssistantFilters(filters.FilterSet):
    keyword = filters.CharFilter(method="with_keyword", help_text=_("In the name or the prompt."))
    language = filters.ChoiceFilter(choices=Language.choices)
    is_system = FlagFilter(field_name="owner", lookup_expr="isnull")

    def with_keyword(self, rows: QuerySet[Assistant], name: str, value: str) -> QuerySet[Assistant]:
        return rows.filter(Q(name__icontains=value) | Q(prompt__icontains=value))
