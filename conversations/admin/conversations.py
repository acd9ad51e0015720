"""Conversations of every channel in the console: the list, and each with its transcript."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeDateTimeFilter
from unfold.decorators import display

from conversations.admin import drawing
from conversations.admin.links import conversation_url, text_links, to_user
from conversations.admin.names import CalledByWords, first_words, name_of
from conversations.admin.transcripts import transcript_of
from conversations.chats.dialogs import delete_conversation
from conversations.models import (
    Call,
    CallSource,
    Channel,
    Conversation,
    Message,
    Run,
    RunStatus,
)
from core.console import CountedDeletion, ReadOnlyAdmin
from core.errors import Conflict
from tooling.admin.links import link_to

CHANNEL_ICONS = {Channel.VOICE: "call", Channel.CHAT: "chat", Channel.TASK: "task"}


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


class ConversationList(ChangeList):
    """A page of conversations, each with its figures."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        add_figures(rows)
        self.result_list = rows


def add_figures(rows: Sequence[Any]) -> None:
    """Notes on each of these conversations what was said in it, and what goes on, in two queries.

    Of these alone: counting in all of them takes seconds where there are many.
    """
    ids = [row.pk for row in rows]
    counted = Message.objects.filter(conversation__in=ids).order_by().values("conversation_id")
    figures = {
        each["conversation_id"]: each
        for each in counted.annotate(
            messages=Count("pk"),
            failed=Count("pk", filter=~Q(error="")),
            tokens=Sum("input_tokens") + Sum("output_tokens"),
        )
    }
    active = Run.objects.filter(conversation__in=ids, status__in=RunStatus.active())
    runs = {run.conversation_id: run for run in active.defer("request")}
    for row in rows:
        row.figures = figures.get(row.pk, {"messages": 0, "failed": 0, "tokens": 0})
        row.active_run = runs.get(row.pk)


@admin.register(Conversation)
class ConversationAdmin(CalledByWords, CountedDeletion, ReadOnlyAdmin):
    """Every conversation, the latest first, with its transcript."""

    empty_text = _(
        "Every call, chat and task stands here with its transcript, as soon as somebody talks to "
        "an assistant."
    )
    list_display = [
        "show_title",
        "show_owner",
        "show_status",
        "show_messages",
        "show_failed",
        "show_tokens",
        "created_at",
    ]
    list_display_links = None
    list_filter = [
        "channel",
        ("assistant", AutocompleteSelectFilter),
        ("owner", AutocompleteSelectFilter),
        "call__status",
        TroubleFilter,
        ("created_at", RangeDateTimeFilter),
    ]
    list_select_related = ["owner", "call"]
    search_fields = ["id", "title", "assistant_name", "owner__username", "assistant_key"]
    search_help_text = _("Title, id, assistant or user")
    date_hierarchy = "created_at"
    show_full_result_count = False
    change_form_outer_after_template = "conversations/transcript.html"
    facts = [
        ("show_channel", "show_assistant"),
        ("show_account", "created_at"),
        ("status_name", "show_error"),
    ]
    readonly_fields = [
        "show_channel",
        "show_assistant",
        "show_account",
        "status_name",
        "show_source",
        "show_duration",
        "show_error",
        "show_more",
    ]

    class Media:
        js = ["console/live.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        rows: QuerySet[Conversation] = super().get_queryset(request)
        return rows.annotate(words=first_words())

    def name_of(self, row: Any) -> str:
        return name_of(row, row.words)

    # --- the list --------------------------------------------------------------------------------
    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ConversationList

    @display(description=_("conversation"))
    def show_title(self, row: Any) -> str:
        return format_html(
            '<div class="conversation-name"><span class="material-symbols-outlined" title="{}">{}'
            '</span><div><a class="document-name" href="{}">{}</a>'
            '<span class="row-note">{}</span></div></div>',
            row.get_channel_display(),
            CHANNEL_ICONS.get(Channel(row.channel), "forum"),
            conversation_url(row.pk),
            self.name_of(row),
            row.assistant_name,
        )

    @display(description=_("owner"), ordering="owner")
    def show_owner(self, row: Conversation) -> Any:
        return row.owner or "-"

    @display(description=_("messages"))
    def show_messages(self, row: Any) -> int:
        return int(row.figures["messages"])

    @display(description=_("failed turns"))
    def show_failed(self, row: Any) -> Any:
        failed = row.figures["failed"]
        return drawing.label("danger", str(failed)) if failed else "-"

    @display(description=_("tokens"))
    def show_tokens(self, row: Any) -> Any:
        return row.figures["tokens"] or "-"

    @display(description=_("status"))
    def show_status(self, row: Any) -> Any:
        if row.active_run is not None:
            return drawing.live_state(row.active_run)
        call = _call_of(row)
        return "-" if call is None else drawing.call_state(call)

    # --- one conversation ------------------------------------------------------------------------
    def get_fieldsets(self, request: HttpRequest, obj: Conversation | None = None) -> Any:
        is_call = obj is not None and obj.channel == Channel.VOICE
        spoken = [("show_source", "show_duration")] if is_call else []
        return [(None, {"fields": [*self.facts, *spoken, "show_more"]})]

    @display(description=_("channel"))
    def show_channel(self, row: Conversation) -> str:
        return row.get_channel_display()

    @display(description=_("assistant"))
    def show_assistant(self, row: Conversation) -> Any:
        name = row.assistant_name or row.assistant_key
        if row.assistant_id is None:
            return format_html('{} <span class="row-note">{}</span>', name, _("deleted"))
        url = link_to("assistants_assistant_change", row.assistant_id)
        return format_html('<a class="text-link" href="{}">{}</a>', url, name)

    @display(description=_("owner"))
    def show_account(self, row: Conversation) -> Any:
        return to_user(row.owner) if row.owner else _("A caller without an account")

    @display(description=_("status"))
    def status_name(self, row: Conversation) -> str:
        call = _call_of(row)
        return drawing.call_words(call) if call else "-"

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

    @display(description=_("more"))
    def show_more(self, row: Conversation) -> Any:
        query = urlencode({"conversation__id__exact": row.pk})
        links = [
            (f"{reverse(f'admin:conversations_{page}_changelist')}?{query}", name)
            for page, name in (
                ("run", _("Tasks")),
                ("tooluse", _("Tool calls")),
                ("memory", _("Memories")),
            )
        ]
        return text_links(links)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {})}
        row = self.get_object(request, unquote(object_id))
        if row is not None:
            context |= {
                "title": self.name_of(row),
                "subtitle": None,
                "transcript": transcript_of(row, _page(request)),
                "todo": row.todo if isinstance(row.todo, list) else [],
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    # --- deleting --------------------------------------------------------------------------------
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            response: HttpResponse = super().delete_view(request, object_id, extra_context)
        except Conflict as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(conversation_url(unquote(object_id)))
        return response

    def delete_model(self, request: HttpRequest, obj: Conversation) -> None:
        delete_conversation(obj)

    def delete_queryset(self, request: HttpRequest, queryset: Iterable[Conversation]) -> None:
        for row in queryset:
            try:
                delete_conversation(row)
            except Conflict as error:
                messages.error(request, f"{self.name_of(row)}: {error.message}")


def _page(request: HttpRequest) -> int:
    asked = request.GET.get("turns", "")
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 1


def _call_of(row: Conversation) -> Call | None:
    return getattr(row, "call", None)
