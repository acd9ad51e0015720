"""Calls and what was said in them, in the console."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import display

from conversations.models import (
    Call,
    CallSource,
    CallStatus,
    Conversation,
    Message,
    Role,
    ToolUse,
)
from conversations.types import CitationRow
from core.console import OperatorPermissions, ReadOnlyAdmin


class MessageInline(TabularInline):  # type: ignore[misc]  # unfold ships no types
    """The transcript, in order, with what the operator needs to understand each message."""

    model = Message
    extra = 0
    can_delete = False
    fields = ["show_role", "text", "show_sources", "show_interruption", "show_times", "error"]
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

    @display(description=_("role"))
    def show_role(self, message: Message) -> Any:
        """Who spoke; with the tools that a model called, or the one that answered and how."""
        notes = [f"→ {call['name']}" for call in message.tool_calls]
        if result := message.tool_result:
            notes.append(f"{result['name']} · {result['code']}")
        shown = format_html_join(
            "", '<span class="row-note"><code>{}</code></span>', ((note,) for note in notes)
        )
        return format_html("{}{}", message.get_role_display(), shown)

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


# --- Tool calls ----------------------------------------------------------------------------------
class OutcomeFilter(admin.SimpleListFilter):
    """How calls went."""

    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("ok", _("Answered")),
            ("error", _("Any error")),
            ("refused", _("Refused (4xx)")),
            ("failed", _("Failed (5xx)")),
            ("late", _("Too late (504)")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "ok":
                return queryset.filter(tool_result__code__lt=400)
            case "error":
                return queryset.filter(tool_result__code__gte=400)
            case "refused":
                return queryset.filter(tool_result__code__gte=400, tool_result__code__lt=500)
            case "failed":
                return queryset.filter(tool_result__code__gte=500)
            case "late":
                return queryset.filter(tool_result__code=504)
        return queryset


class ToolUseList(ChangeList):
    """A page of calls, each with the arguments that the model gave."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        add_arguments(rows)
        self.result_list = rows


def add_arguments(rows: Sequence[Any]) -> None:
    """Notes on each of these tool messages what the tool was called with, in one query."""
    asking = Message.objects.filter(
        conversation__in={row.conversation_id for row in rows},
        turn__in={row.turn for row in rows},
        role=Role.ASSISTANT,
    ).exclude(tool_calls=[])
    # Some models number the calls of each turn from the start.
    arguments = {
        (conversation_id, turn, call["id"]): call["arguments"]
        for conversation_id, turn, calls in asking.values_list(
            "conversation_id", "turn", "tool_calls"
        )
        for call in calls
    }
    for row in rows:
        key = (row.conversation_id, row.turn, _outcome(row, "call_id"))
        row.arguments = arguments.get(key, "")


@admin.register(ToolUse)
class ToolUseAdmin(ReadOnlyAdmin):
    """Every call of a tool, the latest first: what was asked, what came back, how long it took."""

    list_display = [
        "show_name",
        "show_code",
        "show_arguments",
        "show_output",
        "show_duration",
        "created_at",
    ]
    list_display_links = None
    list_filter = [OutcomeFilter, "conversation__channel", ("created_at", RangeDateTimeFilter)]
    list_select_related = ["conversation"]
    search_fields = ["tool_result__name", "text", "conversation__assistant_name"]
    search_help_text = _("Name of a tool or an assistant, or a part of a result")
    # Counting all of them takes longer than showing some.
    show_full_result_count = False
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("show_tool", "show_status", "show_duration"),
                    "show_conversation",
                    ("turn", "created_at"),
                    "show_message",
                    "show_all_arguments",
                    "show_all_output",
                ]
            },
        )
    ]
    readonly_fields = [
        "show_tool",
        "show_status",
        "show_duration",
        "show_conversation",
        "show_message",
        "show_all_arguments",
        "show_all_output",
    ]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A call is a part of its conversation, and goes with it.
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ToolUseList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> ToolUse | None:
        row: ToolUse | None = super().get_object(request, object_id, from_field)
        if row is not None:
            add_arguments([row])
        return row

    @display(description=_("tool"), ordering="tool_result__name")
    def show_name(self, row: ToolUse) -> str:
        return format_html(
            '<div><a class="document-name" href="{}"><code>{}</code></a>'
            '<span class="row-note">{}</span></div>',
            reverse("admin:conversations_tooluse_change", args=[row.pk]),
            _outcome(row, "name"),
            row.conversation.assistant_name,
        )

    @display(
        description=_("code"),
        ordering="tool_result__code",
        label={"ok": "success", "refused": "warning", "failed": "danger"},
    )
    def show_code(self, row: ToolUse) -> tuple[str, str]:
        code = int(_outcome(row, "code") or 0)
        kind = "ok" if code < 400 else "refused" if code < 500 else "failed"
        return kind, str(code)

    @display(description=_("arguments"))
    def show_arguments(self, row: Any) -> str:
        return format_html('<code class="cell-code">{}</code>', _cut(row.arguments))

    @display(description=_("result"))
    def show_output(self, row: ToolUse) -> str:
        failed = "state-bad" if int(_outcome(row, "code") or 0) >= 400 else ""
        text = _cut(row.text or str(_outcome(row, "message")))
        return format_html('<span class="cell-text {}">{}</span>', failed, text)

    @display(description=_("time"), ordering="tool_result__duration_ms")
    def show_duration(self, row: ToolUse) -> str:
        return format_html(
            '<span class="whitespace-nowrap">{} ms</span>', _outcome(row, "duration_ms")
        )

    @display(description=_("tool"))
    def show_tool(self, row: ToolUse) -> Any:
        return _outcome(row, "name")

    @display(description=_("code"))
    def show_status(self, row: ToolUse) -> Any:
        """For forms, where unfold would show the pair that colours a list's cell."""
        return _outcome(row, "code")

    @display(description=_("message"))
    def show_message(self, row: ToolUse) -> Any:
        return _outcome(row, "message") or "-"

    @display(description=_("conversation"))
    def show_conversation(self, row: ToolUse) -> str:
        return format_html(
            '<a class="text-link" href="{}">{}</a>',
            reverse("admin:conversations_conversation_change", args=[row.conversation_id]),
            row.conversation.assistant_name or row.conversation_id,
        )

    @display(description=_("arguments"))
    def show_all_arguments(self, row: Any) -> str:
        return format_html('<pre class="code-block">{}</pre>', _neat(row.arguments) or "-")

    @display(description=_("result"))
    def show_all_output(self, row: ToolUse) -> str:
        return format_html('<pre class="code-block">{}</pre>', _neat(row.text) or "-")


def _outcome(row: ToolUse, key: str) -> Any:
    return (row.tool_result or {}).get(key, "")


def _cut(text: str) -> str:
    return Truncator(text).chars(160)


def _neat(text: str) -> str:
    """JSON over several lines; any other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


# --- Texts of the pages --------------------------------------------------------------------------
def _source(row: CitationRow) -> str:
    parts = [row["document"]]
    if row["page"] is not None:
        parts.append(_("page %(number)d") % {"number": row["page"]})
    if row["score"] is not None:
        parts.append(f"{row['score']:.2f}")
    return " · ".join(parts)


def _call_of(row: Conversation) -> Call | None:
    return getattr(row, "call", None)
