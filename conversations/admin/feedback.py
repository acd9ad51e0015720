"""What users thought of answers, in the console."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeDateTimeFilter
from unfold.decorators import display

from conversations.admin.links import message_url, text_link, to_user
from conversations.admin.names import first_words, name_of
from conversations.models import Feedback
from core.console import ReadOnlyAdmin
from tooling.admin.links import link_to

MAX_CHARS = 160


class OpinionFilter(admin.SimpleListFilter):
    """What was liked and what was not."""

    title = _("opinion")
    parameter_name = "opinion"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("liked", _("Liked")), ("disliked", _("Disliked"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("liked", "disliked"):
            return queryset
        return queryset.filter(is_positive=self.value() == "liked")


@admin.register(Feedback)
class FeedbackAdmin(ReadOnlyAdmin):
    """Every opinion, the latest first, with the way to the answer."""

    empty_text = _(
        "What users liked and disliked stands here. It comes over the API, from the thumbs in a "
        "chat."
    )
    list_display = [
        "show_opinion",
        "show_question",
        "show_answer",
        "owner",
        "show_message",
        "created_at",
    ]
    list_display_links = None
    list_filter = [
        OpinionFilter,
        ("owner", AutocompleteSelectFilter),
        ("created_at", RangeDateTimeFilter),
    ]
    search_fields = ["user_input", "agent_output", "owner__username"]
    search_help_text = _("A part of the question or the answer, or a user")
    show_full_result_count = False
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("show_liked", "show_user", "created_at"),
                    "show_message",
                    "show_all_question",
                    "show_all_answer",
                ]
            },
        )
    ]
    readonly_fields = [
        "show_liked",
        "show_user",
        "show_message",
        "show_all_question",
        "show_all_answer",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Feedback]:
        rows: QuerySet[Feedback] = super().get_queryset(request)
        # Of the message, its place is enough: what was said stands in the feedback.
        rows = rows.annotate(words=first_words("message__conversation__"))
        return rows.select_related("owner", "message__conversation").only(
            *(field.attname for field in Feedback._meta.concrete_fields),
            "owner__username",
            "message__turn",
            "message__conversation__title",
            "message__conversation__assistant_name",
        )

    @display(description=_("opinion"), label={"liked": "success", "disliked": "danger"})
    def show_opinion(self, row: Feedback) -> tuple[str, Any]:
        return ("liked" if row.is_positive else "disliked"), self.show_liked(row)

    @display(description=_("opinion"))
    def show_liked(self, row: Feedback) -> Any:
        """For forms, where unfold would show the pair that colours a list's cell."""
        return _("Liked") if row.is_positive else _("Disliked")

    @display(description=_("question"))
    def show_question(self, row: Feedback) -> str:
        return format_html(
            '<a class="cell-text document-name" href="{}">{}</a>',
            link_to("conversations_feedback_change", str(row.pk)),
            Truncator(row.user_input).chars(MAX_CHARS) or _("(no question)"),
        )

    @display(description=_("answer"))
    def show_answer(self, row: Feedback) -> str:
        text = Truncator(row.agent_output).chars(MAX_CHARS)
        return format_html('<span class="cell-text">{}</span>', text)

    @display(description=_("message"))
    def show_message(self, row: Any) -> Any:
        if row.message is None:
            return None
        name = name_of(row.message.conversation, row.words)
        return text_link(message_url(row.message), name)

    @display(description=_("user"))
    def show_user(self, row: Feedback) -> Any:
        return to_user(row.owner)

    @display(description=_("question"))
    def show_all_question(self, row: Feedback) -> str:
        return format_html('<div class="said">{}</div>', row.user_input or "-")

    @display(description=_("answer"))
    def show_all_answer(self, row: Feedback) -> str:
        return format_html('<div class="said">{}</div>', row.agent_output or "-")
