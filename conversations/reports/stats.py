"""Figures over the records of conversations, worked out by the database."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from django.db.models import Count, DurationField, ExpressionWrapper, F, Max, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from conversations.models import Call, CallStatus, Channel

_CONNECTED = Q(status=CallStatus.CONNECTED)
_DURATION = ExpressionWrapper(F("ended_at") - F("started_at"), output_field=DurationField())
_DAY = datetime.timedelta(days=1)


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
class Totals:
    """Zero, never None, where there are no calls. Durations are those of connected calls."""

    total_calls: int
    connected: int
    missed: int
    failed: int
    answer_rate: float
    total_duration_seconds: int
    avg_duration_seconds: float
    total_cost: Decimal


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelStats:
    channel: Channel
    totals: Totals


@dataclasses.dataclass(frozen=True, slots=True)
class CallStats:
    """What there is to say of some calls.

    `trend` has every day of the product's time zone from the first with a call to the last;
    `by_channel` has every channel; `by_assistant` begins with the one that was called most.
    """

    totals: Totals
    trend: tuple[DayStats, ...]
    by_channel: tuple[ChannelStats, ...]
    by_assistant: tuple[AssistantStats, ...]


def call_stats(calls: QuerySet[Call]) -> CallStats:
    """The figures of these calls: two looks at each of them, and one at some of each assistant."""
    cells = _cells(calls)
    return CallStats(
        totals=_totals(cells),
        trend=_trend(cells),
        by_channel=tuple(
            ChannelStats(channel, _totals([cell for cell in cells if cell.channel == channel]))
            for channel in Channel
        ),
        by_assistant=_by_assistant(calls),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Cell:
    """The calls of one day on one channel that went the same way; `ended` of them are over."""

    day: datetime.date
    channel: str
    status: str
    calls: int
    ended: int
    duration: datetime.timedelta
    cost: Decimal


def _cells(calls: QuerySet[Call]) -> list[_Cell]:
    rows = (
        calls.order_by()
        .values("channel", "status", day=TruncDate("started_at"))
        # Not of the key: an index with all that is asked of it spares the table.
        .annotate(
            calls=Count("*"),
            ended=Count("ended_at"),
            duration=Sum(_DURATION, default=datetime.timedelta()),
            cost=Sum("cost"),
        )
    )
    return [_Cell(**row) for row in rows]


def _totals(cells: Sequence[_Cell]) -> Totals:
    total = _sum(cells, lambda cell: cell.calls)
    by_status = {
        status: _sum((cell for cell in cells if cell.status == status), lambda cell: cell.calls)
        for status in CallStatus
    }
    connected = [cell for cell in cells if cell.status == CallStatus.CONNECTED]
    ended = _sum(connected, lambda cell: cell.ended)
    seconds = sum((cell.duration for cell in connected), datetime.timedelta()).total_seconds()
    return Totals(
        total_calls=total,
        connected=by_status[CallStatus.CONNECTED],
        missed=by_status[CallStatus.MISSED],
        failed=by_status[CallStatus.FAILED],
        answer_rate=round(by_status[CallStatus.CONNECTED] / total, 4) if total else 0.0,
        total_duration_seconds=round(seconds),
        avg_duration_seconds=round(seconds / ended, 2) if ended else 0.0,
        total_cost=sum((cell.cost for cell in cells), Decimal(0)),
    )


def _sum(cells: Iterable[_Cell], number: Callable[[_Cell], int]) -> int:
    return sum(map(number, cells))


def _trend(cells: Iterable[_Cell]) -> tuple[DayStats, ...]:
    calls: dict[datetime.date, int] = {}
    connected: dict[datetime.date, int] = {}
    for cell in cells:
        calls[cell.day] = calls.get(cell.day, 0) + cell.calls
        if cell.status == CallStatus.CONNECTED:
            connected[cell.day] = connected.get(cell.day, 0) + cell.calls
    if not calls:
        return ()
    first, last = min(calls), max(calls)
    days = [first + _DAY * number for number in range((last - first).days + 1)]
    return tuple(DayStats(day, calls.get(day, 0), connected.get(day, 0)) for day in days)


def _by_assistant(calls: QuerySet[Call]) -> tuple[AssistantStats, ...]:
    rows = (
        calls.order_by()
        .values("assistant_key")
        .annotate(calls=Count("*"), latest=Max("started_at"))
        .order_by("-calls", "assistant_key")
    )
    found = list(rows.values_list("assistant_key", "calls", "latest"))
    # An assistant has the name that it had last.
    moments = {latest for _key, _calls, latest in found}
    names = dict(
        calls.order_by("started_at")
        .filter(started_at__in=moments)
        .values_list("assistant_key", "conversation__assistant_name")
    )
    # What was deleted meanwhile has no name any more.
    return tuple(AssistantStats(key, names.get(key, ""), number) for key, number, _ in found)
