"""Figures over calls, worked out by the database."""

from __future__ import annotations

import dataclasses
import datetime
from decimal import Decimal

from django.db.models import Count, DurationField, ExpressionWrapper, F, Max, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from conversations.models import Call, CallStatus

_CONNECTED = Q(status=CallStatus.CONNECTED)
_DURATION = ExpressionWrapper(F("ended_at") - F("started_at"), output_field=DurationField())


@dataclasses.dataclass(frozen=True, slots=True)
class DayStats:
    date: datetime.date
    calls: int
    connected: int


@dataclasses.dataclass(frozen=True, slots=True)
class AssistantStats:
    assistant_id: str
    name: str
    calls: int


@dataclasses.dataclass(frozen=True, slots=True)
class CallStats:
    """Zero, never None, where there are no calls. Durations are those of connected calls."""

    total_calls: int
    connected: int
    missed: int
    failed: int
    answer_rate: float
    total_duration_seconds: int
    avg_duration_seconds: float
    total_cost: Decimal
    trend: tuple[DayStats, ...]
    by_assistant: tuple[AssistantStats, ...]


def call_stats(calls: QuerySet[Call]) -> CallStats:
    """The figures of these calls, in three queries however many there are."""
    calls = calls.order_by()
    sums = calls.aggregate(
        total=Count("pk"),
        connected=Count("pk", filter=_CONNECTED),
        missed=Count("pk", filter=Q(status=CallStatus.MISSED)),
        failed=Count("pk", filter=Q(status=CallStatus.FAILED)),
        ended=Count("pk", filter=_CONNECTED & Q(ended_at__isnull=False)),
        duration=Sum(_DURATION, filter=_CONNECTED),
        cost=Sum("cost"),
    )
    seconds = (sums["duration"] or datetime.timedelta()).total_seconds()
    return CallStats(
        total_calls=sums["total"],
        connected=sums["connected"],
        missed=sums["missed"],
        failed=sums["failed"],
        answer_rate=round(sums["connected"] / sums["total"], 4) if sums["total"] else 0.0,
        total_duration_seconds=round(seconds),
        avg_duration_seconds=round(seconds / sums["ended"], 2) if sums["ended"] else 0.0,
        total_cost=sums["cost"] or Decimal(0),
        trend=_trend(calls),
        by_assistant=_by_assistant(calls),
    )


def _trend(calls: QuerySet[Call]) -> tuple[DayStats, ...]:
    days = (
        calls.annotate(date=TruncDate("started_at"))
        .values("date")
        .annotate(calls=Count("pk"), connected=Count("pk", filter=_CONNECTED))
        .order_by("date")
    )
    return tuple(DayStats(day["date"], day["calls"], day["connected"]) for day in days)


def _by_assistant(calls: QuerySet[Call]) -> tuple[AssistantStats, ...]:
    rows = (
        calls.values(key=F("conversation__assistant_key"))
        .annotate(name=Max("conversation__assistant_name"), calls=Count("pk"))
        .order_by("-calls", "key")
    )
    return tuple(AssistantStats(row["key"], row["name"], row["calls"]) for row in rows)
