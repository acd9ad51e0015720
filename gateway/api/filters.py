"""How lists of requests can be narrowed."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from core.filters import FlagFilter
from gateway.models import FAILED

_CODES = (100, 599)


class RecordFilters(filters.FilterSet):
    """`status` is a code, or `error` for all of 400 and above."""

    status = filters.CharFilter(method="of_status")
    model = filters.CharFilter()
    key = filters.NumberFilter(field_name="key_id", min_value=1, max_value=2**63 - 1)
    request_id = filters.CharFilter()
    endpoint = filters.CharFilter()
    cached = FlagFilter(field_name="is_cached")
    aborted = FlagFilter(field_name="is_aborted")

    def of_status(self, rows: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        if value == "error":
            return rows.filter(FAILED)
        is_code = value.isascii() and value.isdigit() and len(value) == 3
        return rows.filter(status=int(value)) if is_code else rows.none()
