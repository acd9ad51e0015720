"""Filters of list endpoints that several apps share."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

TRUE_WORDS = ("true", "True", "1")
FALSE_WORDS = ("false", "False", "0")


@extend_schema_field(OpenApiTypes.BOOL)
class FlagFilter(filters.TypedChoiceFilter):
    """`true` or `false` (also `1`, `0`); anything else is an error, not "no filter"."""

    def __init__(self, **kwargs: Any) -> None:
        choices = [(text, text) for text in (*TRUE_WORDS, *FALSE_WORDS)]
        super().__init__(choices=choices, coerce=lambda text: text in TRUE_WORDS, **kwargs)


class LanguageFilter(filters.CharFilter):
    """A language with its regions: `zh` finds `zh-CN` too."""

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return qs
        return qs.filter(
            Q(**{f"{self.field_name}__iexact": value})
            | Q(**{f"{self.field_name}__istartswith": f"{value}-"})
        )
