"""What assistants know about users, in the console: to find and to delete."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeDateTimeFilter
from unfold.decorators import display

from conversations.admin.links import text_link, to_conversation, to_user
from conversations.admin.names import first_words
from conversations.models import Memory
from core.console import ReadOnlyAdmin
from tooling.admin.links import link_to


@admin.register(Memory)
class MemoryAdmin(ReadOnlyAdmin):
    """Every fact, the one heard last first."""

    empty_text = _(
        "Facts that users told about themselves stand here, if their assistant is allowed to "
        "remember."
    )
    list_display = ["show_text", "owner", "assistant", "show_conversation", "updated_at"]
    list_display_links = None
    list_filter = [
        ("owner", AutocompleteSelectFilter),
        ("assistant", AutocompleteSelectFilter),
        ("updated_at", RangeDateTimeFilter),
    ]
    list_select_related = ["owner", "assistant", "conversation"]
    search_fields = ["text", "owner__username", "assistant__name"]
    search_help_text = _("A part of a fact, a user or an assistant")
    show_full_result_count = False
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "text",
                    ("show_owner", "show_assistant"),
                    "show_conversation",
                    ("created_at", "updated_at"),
                    "show_meaning",
                ]
            },
        )
    ]
    readonly_fields = [
        "show_owner",
        "show_assistant",
        "show_conversation",
        "created_at",
        "updated_at",
        "show_meaning",
    ]

    @display(description=_("fact"), ordering="text")
    def show_text(self, row: Memory) -> str:
        return format_html(
            '<a class="document-name" href="{}">{}</a>',
            link_to("conversations_memory_change", row.pk),
            row.text,
        )

    @display(description=_("about"))
    def show_owner(self, row: Memory) -> Any:
        return to_user(row.owner)

    @display(description=_("assistant"))
    def show_assistant(self, row: Memory) -> Any:
        return text_link(link_to("assistants_assistant_change", row.assistant_id), row.assistant)

    @display(description=_("learnt in"))
    def show_conversation(self, row: Any) -> Any:
        return to_conversation(row.conversation, row.words)

    @display(description=_("found by"))
    def show_meaning(self, row: Memory) -> Any:
        return _("meaning and words") if row.embedding is not None else _("words only, so far")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Memory]:
        rows: QuerySet[Memory] = super().get_queryset(request)
        # Vectors are long, and no list shows them.
        return rows.defer("embedding", "lexemes").annotate(words=first_words("conversation__"))
