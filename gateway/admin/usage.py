"""What requests on the gateway took and cost, for operators: by day, model and key."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from conversations.admin.charts import Day, DayChart, day_chart, short
from conversations.admin.usage import DEFAULT_DAYS, RANGES
from gateway.admin.money import money
from gateway.admin.records import requests_url
from gateway.models import UsageDay
from gateway.usage import Taken, between, grouped

MOST_ROWS = 20
# Charts are drawn in whole numbers: of a ten-thousandth, for sums of money.
_UNIT = 10_000


def usage_page(request: HttpRequest) -> HttpResponse:
    """The page; `days` chooses how far back it looks."""
    asked = request.GET.get("days", "")
    count = next((each for each in RANGES if str(each) == asked), DEFAULT_DAYS)
    last = datetime.datetime.now(datetime.UTC).date()
    first = last - datetime.timedelta(days=count - 1)
    rows = between(UsageDay.objects.all(), first, last)
    days = _whole(grouped(rows, "day"), first, count)
    requests, errors = sum(day.requests for day in days), sum(day.errors for day in days)
    cost = sum((day.cost for day in days), Decimal(0))
    context = {
        **admin.site.each_context(request),
        "title": _("Usage of the gateway"),
        "days": count,
        "ranges": RANGES,
        "is_empty": requests == 0,
        "totals": (
            (_("Requests"), short(requests)),
            (_("Errors"), short(errors)),
            (_("Tokens read"), short(sum(day.input_tokens for day in days))),
            (_("Tokens written"), short(sum(day.output_tokens for day in days))),
            (_("Cost"), money(cost)),
        ),
        "requests": _requests_chart(days),
        "tokens": _tokens_chart(days),
        "cost": _cost_chart(days) if cost else None,
        "tables": (
            (
                _("By model"),
                _table(
                    grouped(rows, "model"),
                    lambda name: requests_url(model=name),
                    nameless=_("no model of ours"),
                ),
            ),
            (
                _("By key"),
                _table(
                    grouped(rows, "key"),
                    lambda key: requests_url(key=key),
                    nameless=_("Console"),
                ),
            ),
        ),
    }
    return render(request, "gateway/usage.html", context)


def _whole(days: Sequence[Taken], first: datetime.date, count: int) -> list[Taken]:
    """All days, also those on which nothing was asked."""
    known = {day.group: day for day in days}
    names = [(first + datetime.timedelta(days=number)).isoformat() for number in range(count)]
    return [known.get(name) or Taken(name, name) for name in names]


def _requests_chart(days: Sequence[Taken]) -> DayChart:
    return day_chart(
        [
            Day(
                datetime.date.fromisoformat(day.group),
                (day.requests - day.errors, day.errors),
                _("%(n)d requests, %(errors)d errors") % {"n": day.requests, "errors": day.errors},
            )
            for day in days
        ],
        kinds=("answers", "errors"),
    )


def _tokens_chart(days: Sequence[Taken]) -> DayChart:
    return day_chart(
        [
            Day(
                datetime.date.fromisoformat(day.group),
                (day.input_tokens, day.output_tokens),
                _("%(read)s tokens read, %(written)s written")
                % {"read": short(day.input_tokens), "written": short(day.output_tokens)},
            )
            for day in days
        ],
        kinds=("read", "written"),
    )


def _cost_chart(days: Sequence[Taken]) -> DayChart:
    chart = day_chart(
        [
            Day(
                datetime.date.fromisoformat(day.group),
                (round(day.cost * _UNIT),),
                money(day.cost),
            )
            for day in days
        ],
        kinds=("answers",),
    )
    # The lines stand at shares of the room; what they are worth follows from the highest column.
    highest = max((round(day.cost * _UNIT), index) for index, day in enumerate(days))
    part = chart.columns[highest[1]].parts[0]
    worth = Decimal(highest[0]) / _UNIT / Decimal(str(part.height))
    return dataclasses.replace(
        chart,
        lines=tuple(
            dataclasses.replace(line, label=money(worth * Decimal(str(chart.baseline - line.y))))
            for line in chart.lines
        ),
    )


def _table(
    groups: Sequence[Taken], url_of: Callable[[str], str], *, nameless: str
) -> list[dict[str, Any]]:
    shown = groups[:MOST_ROWS]
    most_cost = max((group.cost for group in shown), default=Decimal(0))
    most_tokens = max((group.tokens for group in shown), default=0)
    return [
        {
            "name": group.name or nameless,
            "url": url_of(group.group) if group.group else "",
            "count": ngettext("one request", "%(n)s requests", group.requests)
            % {"n": group.requests},
            "cost": money(group.cost) if most_cost else "",
            "tokens": short(group.tokens),
            "detail": _("%(read)s tokens read, %(written)s written")
            % {"read": short(group.input_tokens), "written": short(group.output_tokens)},
            "percent": _percent(group, most_cost, most_tokens),
        }
        for group in shown
    ]


def _percent(group: Taken, most_cost: Decimal, most_tokens: int) -> int:
    """Of what costs most, or where nothing has a price, of what took most."""
    if most_cost:
        return round(100 * group.cost / most_cost)
    return round(100 * group.tokens / most_tokens) if most_tokens else 0
