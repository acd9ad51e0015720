"""Calls of tools in the console."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import display

from conversations.admin.links import to_conversation
from conversations.models import Message, Role, ToolUse
from core.console import ReadOnlyAdmin
from tooling.admin.charts import duration_text


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

    empty_text = _(
        "Each call of a tool stands here with its arguments, its result and its time, once an "
        "assistant has made one."
    )
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

    @display(description=_("took"), ordering="tool_result__duration_ms")
    def show_duration(self, row: ToolUse) -> str:
        took = duration_text(int(_outcome(row, "duration_ms") or 0))
        return format_html('<span class="whitespace-nowrap">{}</span>', took)

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
        return to_conversation(row.conversation)

    @display(description=_("arguments"))
    def show_all_arguments(self, row: Any) -> str:
        return format_html('<pre class="code-block">{}</pre>', neat(row.arguments) or "-")

    @display(description=_("result"))
    def show_all_output(self, row: ToolUse) -> str:
        # A failure that says no more than its message says it once.
        text = "" if row.text == _outcome(row, "message") else neat(row.text)
        return format_html('<pre class="code-block">{}</pre>', text or "-")


def _outcome(row: ToolUse, key: str) -> Any:
    return (row.tool_result or {}).get(key, "")


def _cut(text: str) -> str:
    return Truncator(text).chars(160)


def neat(text: str) -> str:
    """JSON over several lines; any other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
