"""Requests on the gateway: what was asked, what came of it, what it took."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import DropdownFilter, RangeDateTimeFilter
from unfold.decorators import display

from accounts.models import ApiKey
from core.console import ReadOnlyAdmin
from gateway.admin.money import money
from gateway.models import FAILED, UsageDay, UsageRecord
from providers.models import Llm
from tooling.admin.charts import duration_text
from tooling.admin.links import link_to

# Whose models and keys are offered as filters, and how many of each.
OFFERED_DAYS, MOST_OFFERED = 90, 100


class OutcomeFilter(admin.SimpleListFilter):
    """How requests ended."""

    title = gettext_lazy("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("ok", _("Answered")),
            ("error", _("Any error")),
            ("refused", _("Refused (4xx)")),
            ("failed", _("Failed (5xx)")),
            ("aborted", _("Left by the client")),
            ("cached", _("From the cache")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "ok":
                return queryset.exclude(FAILED)
            case "error":
                return queryset.filter(FAILED)
            case "refused":
                return queryset.filter(status__gte=400, status__lt=500)
            case "failed":
                return queryset.filter(status__gte=500)
            case "aborted":
                return queryset.filter(is_aborted=True)
            case "cached":
                return queryset.filter(is_cached=True)
        return queryset


class ModelFilter(DropdownFilter):  # type: ignore[misc]  # unfold ships no types
    """The names that were asked for lately."""

    title = gettext_lazy("model")
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = _lately().order_by("model").values_list("model", flat=True).distinct()
        return [(name, name) for name in names[:MOST_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(model=value)


class KeyFilter(DropdownFilter):  # type: ignore[misc]  # unfold ships no types
    """The keys that were used lately."""

    title = gettext_lazy("key")
    parameter_name = "key"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        used = _lately().exclude(key=None).order_by().values("key_id").distinct()
        keys = ApiKey.objects.filter(pk__in=used).order_by("name")[:MOST_OFFERED]
        return [(str(key.pk), str(key)) for key in keys]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        is_id = value.isascii() and value.isdigit() and len(value) < 19
        return queryset.filter(key_id=int(value)) if is_id else queryset


def _lately() -> QuerySet[UsageDay]:
    since = timezone.now().date() - dt.timedelta(days=OFFERED_DAYS)
    return UsageDay.objects.filter(day__gte=since)


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
    """The latest requests first."""

    empty_text = gettext_lazy(
        "Each request on the gateway stands here with its outcome, its tokens and its cost, once a "
        "key has been used on /v1."
    )
    list_display = [
        "show_model",
        "show_status",
        "show_key",
        "show_tokens",
        "show_time",
        "show_cost",
        "created_at",
    ]
    list_display_links = None
    list_filter = [
        OutcomeFilter,
        ModelFilter,
        KeyFilter,
        "endpoint",
        ("created_at", RangeDateTimeFilter),
    ]
    list_select_related = ["key", "owner"]
    search_fields = ["request_id__exact"]
    search_help_text = gettext_lazy("Id of a request (request-id of an answer)")
    # Counting all of them takes longer than showing some.
    show_full_result_count = False
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("request_id", "created_at"),
                    ("show_code", "error_type"),
                    "error_message",
                    ("model", "endpoint"),
                    ("show_answered_by", "attempts"),
                    ("show_key", "show_user"),
                ]
            },
        ),
        (
            gettext_lazy("Use"),
            {
                "fields": [
                    ("input_tokens", "output_tokens"),
                    ("cache_read_tokens", "cache_write_tokens"),
                    ("show_time", "show_first_byte"),
                    ("show_cost", "is_estimated"),
                    ("is_streamed", "is_aborted", "is_cached"),
                ]
            },
        ),
    ]
    readonly_fields = [
        "show_code",
        "show_answered_by",
        "show_key",
        "show_user",
        "show_time",
        "show_first_byte",
        "show_cost",
    ]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # They go by themselves when their time is over.
        return False

    @display(description=gettext_lazy("model"), ordering="model")
    def show_model(self, row: UsageRecord) -> str:
        return format_html(
            '<div><a class="document-name" href="{}">{}</a><span class="row-note">{}</span></div>',
            link_to("gateway_usagerecord_change", row.pk),
            row.model or _("not named"),
            row.error_message or _notes(row),
        )

    @display(
        description=gettext_lazy("status"),
        ordering="status",
        label={"ok": "success", "refused": "warning", "failed": "danger", "left": "info"},
    )
    def show_status(self, row: UsageRecord) -> tuple[str, str]:
        if row.is_aborted:
            return "left", str(row.status)
        kind = "ok" if row.status < 400 else "refused" if row.status < 500 else "failed"
        return kind, str(row.status)

    @display(description=gettext_lazy("status"))
    def show_code(self, row: UsageRecord) -> int:
        """For forms, where unfold would show the pair that colours a list's cell."""
        return row.status

    @display(description=gettext_lazy("key"))
    def show_key(self, row: UsageRecord) -> str:
        # Numbers outlive the keys that they name.
        key = ApiKey.objects.filter(pk=row.key_id).first() if row.key_id else None
        if key is None:
            return _("deleted") if row.key_id else _("console")
        url = link_to("accounts_apikey_change", str(key.pk))
        return format_html('<a class="text-link" href="{}">{}</a>', url, key.name)

    @display(description=gettext_lazy("user"))
    def show_user(self, row: UsageRecord) -> str:
        return str(row.owner or "-")

    @display(description=gettext_lazy("tokens"))
    def show_tokens(self, row: UsageRecord) -> str:
        sign = "≈ " if row.is_estimated else ""
        text = f"{sign}{row.input_tokens:,} → {row.output_tokens:,}"
        return format_html('<span class="whitespace-nowrap">{}</span>', text)

    @display(description=gettext_lazy("took"), ordering="latency_ms")
    def show_time(self, row: UsageRecord) -> str:
        took = duration_text(round(row.latency_ms))
        return format_html('<span class="whitespace-nowrap">{}</span>', took)

    @display(description=gettext_lazy("first byte after"))
    def show_first_byte(self, row: UsageRecord) -> str:
        return "-" if row.first_byte_ms is None else duration_text(round(row.first_byte_ms))

    @display(description=gettext_lazy("cost"), ordering="cost")
    def show_cost(self, row: UsageRecord) -> str:
        return money(row.cost) if row.cost else "-"

    @display(description=gettext_lazy("answered by"))
    def show_answered_by(self, row: UsageRecord) -> str:
        llm = Llm.objects.filter(pk=row.target_row).first() if row.target_row else None
        return llm.name if llm else row.target_row or "-"


def _notes(row: UsageRecord) -> str:
    notes = [row.endpoint]
    if row.is_streamed:
        notes.append(_("streamed"))
    if row.is_aborted:
        notes.append(_("left by the client"))
    if row.is_cached:
        notes.append(_("from the cache"))
    if row.attempts > 1:
        notes.append(_("%(n)d attempts") % {"n": row.attempts})
    return " · ".join(notes)


def requests_url(**query: Any) -> str:
    """The list, narrowed."""
    return f"{reverse('admin:gateway_usagerecord_changelist')}?{urlencode(query)}"
