"""How lists of bases and documents can be narrowed, in the words of the platform family."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from django_filters import rest_framework as filters

from core.filters import FlagFilter
from knowledge.api.words import DOCUMENT_WORDS, statuses_called
from knowledge.models import Document
from knowledge.overview import BaseState


class KnowledgeBaseFilters(filters.FilterSet):
    status = filters.ChoiceFilter(field_name="state", choices=BaseState.choices)
    keyword = filters.CharFilter(
        field_name="name", lookup_expr="icontains", help_text=_("In the name.")
    )
    is_system = FlagFilter(field_name="owner", lookup_expr="isnull")


class DocumentFilters(filters.FilterSet):
    status = filters.ChoiceFilter(
        method="with_status", choices=[(word, word) for word in DOCUMENT_WORDS]
    )
    keyword = filters.CharFilter(
        field_name="name", lookup_expr="icontains", help_text=_("In the name.")
    )

    def with_status(self, rows: QuerySet[Document], name: str, value: str) -> QuerySet[Document]:
        return rows.filter(status__in=statuses_called(value))
