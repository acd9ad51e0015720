"""What answers took, for operators: per day, and who and what took most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from conversations.admin.charts import Day, DayChart, day_chart, short
from conversations.reports.figures import Figures, Share, figures_of
from tooling.admin.links import link_to

RANGES = (7, 30, 90)
DEFAULT_DAYS = 30


def usage_page(request: HttpRequest) -> HttpResponse:
    """The page; `days` chooses how far back it looks."""
    asked = request.GET.get("days", "")
    days = next((each for each in RANGES if str(each) == asked), DEFAULT_DAYS)
    figures = figures_of(days)
    total = figures.total
    context = {
        **admin.site.each_context(request),
        "title": _("Usage"),
        "days": days,
        "ranges": RANGES,
        "is_empty": total.answers == 0,
        "totals": (
            (_("Answers"), short(total.answers)),
            (_("Tokens read"), short(total.input_tokens)),
            (_("Tokens written"), short(total.output_tokens)),
        ),
        "tokens": _tokens_chart(figures),
        "answers": _answers_chart(figures),
        "tables": (
            (_("By assistant"), _rows(figures.assistants, _assistant_url)),
            (_("By model"), _rows(figures.models, lambda _key: "")),
            (_("By user"), _rows(figures.users, _user_url)),
        ),
    }
    return render(request, "conversations/usage.html", context)


def _tokens_chart(figures: Figures) -> DayChart:
    days = [
        Day(
            day,
            (taken.input_tokens, taken.output_tokens),
            _("%(read)s tokens read, %(written)s written")
            % {"read": short(taken.input_tokens), "written": short(taken.output_tokens)},
        )
        for day, taken in figures.days
    ]
    return day_chart(days, kinds=("read", "written"))


def _answers_chart(figures: Figures) -> DayChart:
    days = [
        Day(day, (taken.answers,), _("%(n)d answers") % {"n": taken.answers})
        for day, taken in figures.days
    ]
    return day_chart(days, kinds=("answers",))


def _rows(shares: Sequence[Share], url_of: Callable[[str], str]) -> list[dict[str, Any]]:
    most = max((share.taken.tokens for share in shares), default=0)
    return [
        {
            "name": share.name or _("Without an account"),
            "url": url_of(share.key) if share.key else "",
            "count": ngettext("one answer", "%(n)s answers", share.taken.answers)
            % {"n": share.taken.answers},
            "tokens": short(share.taken.tokens),
            "detail": _("%(read)s tokens read, %(written)s written")
            % {
                "read": short(share.taken.input_tokens),
                "written": short(share.taken.output_tokens),
            },
            "percent": round(100 * share.taken.tokens / most) if most else 0,
        }
        for share in shares
    ]


def _assistant_url(key: str) -> str:
    return link_to("assistants_assistant_change", key)


def _user_url(key: str) -> str:
    return link_to("accounts_user_change", key)
