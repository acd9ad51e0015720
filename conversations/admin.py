"""Calls and what was said in them, in the console."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import display

from conversations.models import Call, CallSource, CallStatus, Conversation, Message
from conversations.types import CitationRow
from core.console import OperatorPermissions, ReadOnlyAdmin


class MessageInline(TabularInline):  # type: ignore[misc]  # unfold ships no types
    """The transcript, in order, with what the operator needs to understand each message."""

    model = Message
    extra = 0
    can_delete = False
    fields = ["role", "text", "show_sources", "show_interruption", "show_times", "error"]
    readonly_fields = fields
    ordering = ["seq"]
    hide_title = True
    verbose_name_plural = _("transcript")

    has_module_permission = OperatorPermissions.has_module_permission
    has_view_permission = OperatorPermissions.has_view_permission

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description=_("sources"))
    def show_sources(self, message: Message) -> Any:
        sources = format_html_join(
            "",
            '<details class="max-w-md"><summary class="cursor-pointer">[{}] {}</summary>'
            '<div class="whitespace-pre-line">{}</div></details>',
            ((row["index"], _source(row), row["text"]) for row in message.citations),
        )
        notes = [(message.knowledge_note,)] if message.knowledge_note else []
        note = format_html_join("", "<div>{}</div>", notes)
        # Both are safe; safe text and plain text added up would be escaped once more.
        return format_html("{}{}", sources, note) or "-"

    @display(description=_("interrupted"))
    def show_interruption(self, message: Message) -> Any:
        if not message.is_interrupted:
            return "-"
        return _("not heard: %(text)s") % {"text": message.generated_text[len(message.text) :]}

    @display(description=_("times (ms)"))
    def show_times(self, message: Message) -> str:
        return ", ".join(f"{name} {value}" for name, value in message.metrics.items()) or "-"


class TroubleFilter(admin.SimpleListFilter):
    """Conversations in which a model or a tool failed, however the call ended."""

    title = _("trouble")
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("A turn failed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "yes":
            return queryset
        failed = Message.objects.filter(conversation=OuterRef("pk")).exclude(error="")
        return queryset.filter(Exists(failed))


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    """Every conversation with its transcript."""

    list_display = [
        "id",
        "assistant_name",
        "owner",
        "channel",
        "show_status",
        "message_count",
        "failed_turns",
        "created_at",
    ]
    list_filter = ["channel", "call__status", TroubleFilter, ("created_at", RangeDateTimeFilter)]
    list_select_related = ["owner", "call"]
    search_fields = ["id", "assistant_name", "owner__username", "assistant_key"]
    date_hierarchy = "created_at"
    inlines = [MessageInline]
    fieldsets = [
        (None, {"fields": ["assistant_name", "owner", "channel", "created_at"]}),
        (
            _("Call"),
            {"fields": ["status_name", "show_source", "show_duration", "show_error"]},
        ),
    ]
    readonly_fields = ["status_name", "show_source", "show_duration", "show_error"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        rows: QuerySet[Conversation] = super().get_queryset(request)
        return rows.annotate(
            messages_total=Count("messages"),
            failed_total=Count("messages", filter=~Q(messages__error="")),
        )

    @display(description=_("messages"), ordering="messages_total")
    def message_count(self, row: Any) -> int:
        return int(row.messages_total)

    @display(description=_("failed turns"), ordering="failed_total", label={"failed": "danger"})
    def failed_turns(self, row: Any) -> Any:
        return ("failed", str(row.failed_total)) if row.failed_total else "-"

    @display(
        description=_("status"),
        label={
            CallStatus.CONNECTED: "success",
            CallStatus.MISSED: "warning",
            CallStatus.FAILED: "danger",
        },
    )
    def show_status(self, row: Conversation) -> Any:
        call = _call_of(row)
        return (call.status, call.get_status_display()) if call else "-"

    @display(description=_("status"))
    def status_name(self, row: Conversation) -> str:
        """For forms, where unfold would show the pair that colours a list's cell."""
        call = _call_of(row)
        return str(CallStatus(call.status).label) if call else "-"

    @display(description=_("source"))
    def show_source(self, row: Conversation) -> Any:
        call = _call_of(row)
        return CallSource(call.source).label if call else "-"

    @display(description=_("duration"))
    def show_duration(self, row: Conversation) -> Any:
        call = _call_of(row)
        if call is None:
            return "-"
        if call.ended_at is None:
            return _("still running")
        return str(call.ended_at - call.started_at).split(".")[0]

    @display(description=_("error"))
    def show_error(self, row: Conversation) -> str:
        call = _call_of(row)
        return f"{call.error_code}: {call.error_message}" if call and call.error_code else "-"


def _source(row: CitationRow) -> str:
    parts = [row["document"]]
    if row["page"] is not None:
        parts.append(_("page %(number)d") % {"number": row["page"]})
    if row["score"] is not None:
        parts.append(f"{row['score']:.2f}")
    return " · ".join(parts)


def _call_of(row: Conversation) -> Call | None:
    return getattr(row, "call", None)
