"""What requests took over days, by key, model or day; worked out from the sums of each day."""

from __future__ import annotations

import dataclasses
import datetime
from decimal import Decimal
from typing import Any, Literal

from django.db.models import Max, QuerySet, Sum

from gateway.models import UsageDay

GroupBy = Literal["key", "model", "day"]
# Of keys and models, those that cost or were asked most.
MOST_GROUPS = 1_000
_FIELDS = {"key": "key_id", "model": "model", "day": "day"}


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What one group took. `group` is a key's id, a model's name or a day; `name` is to be read."""

    group: str
    name: str
    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def grouped(days: QuerySet[UsageDay], by: GroupBy) -> list[Taken]:
    """Days in the order of time; keys and models by what they cost, then by how much was asked."""
    field = _FIELDS[by]
    rows = days.order_by().values(field)
    if by == "key":
        rows = rows.annotate(name=Max("key_name"))
    rows = rows.annotate(
        requests=Sum("requests"),
        errors=Sum("errors"),
        input_tokens=Sum("input_tokens"),
        output_tokens=Sum("output_tokens"),
        cost=Sum("cost"),
    )
    rows = rows.order_by("day") if by == "day" else rows.order_by("-cost", "-requests", field)
    return [_taken(row, field) for row in rows[:MOST_GROUPS]]


def _taken(row: dict[str, Any], field: str) -> Taken:
    group = row.pop(field)
    text = group.isoformat() if isinstance(group, datetime.date) else str(group or "")
    return Taken(text, row.pop("name", text), **row)


def between(
    days: QuerySet[UsageDay], first: datetime.date, last: datetime.date
) -> QuerySet[UsageDay]:
    """Those days (UTC), both included."""
    return days.filter(day__gte=first, day__lte=last)
