"""Runs in the console: background tasks and answers of chats, live, and the way to stop them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeDateTimeFilter
from unfold.decorators import display

from conversations.admin import drawing
from conversations.admin.guidance import told
from conversations.admin.links import conversation_url, page_of, to_user
from conversations.admin.names import CalledByWords, name_of, run_name
from conversations.models import Run, RunKind, RunMode, RunStatus
from conversations.runs import store
from core.console import CountedDeletion, ReadOnlyAdmin
from providers.models import Llm
from tooling.admin.links import link_to

# What a list shows of a message, and what one confirmation may stop.
MAX_NOTE = 160
MAX_STOPPED = 500
MAX_NAMED = 20


class StateFilter(admin.SimpleListFilter):
    """By state; whatever is not over is one."""

    title = _("status")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        over = [status for status in RunStatus if status not in RunStatus.active()]
        return [("open", _("Going on")), *((status.value, status.label) for status in over)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case None:
                return queryset
            case "open":
                return queryset.filter(status__in=RunStatus.active())
            case status:
                return queryset.filter(status=status)


@admin.register(Run)
class RunAdmin(CalledByWords, CountedDeletion, ReadOnlyAdmin):
    """Every run that is still kept, the latest first."""

    empty_text = _(
        "Tasks and answers of chats stand here while they go on, and for a while after. They "
        "begin with a message over the API."
    )
    list_display = [
        "show_message",
        "show_kind",
        "show_owner",
        "show_state",
        "show_duration",
        "show_tokens",
        "created_at",
    ]
    list_display_links = None
    list_filter = [
        "kind",
        StateFilter,
        ("owner", AutocompleteSelectFilter),
        ("created_at", RangeDateTimeFilter),
    ]
    list_select_related = ["owner", "conversation"]
    search_fields = ["id", "conversation__id", "conversation__title", "owner__username"]
    search_help_text = _("Id, conversation or user")
    date_hierarchy = "created_at"
    show_full_result_count = False
    actions = ["stop"]
    change_form_outer_before_template = "conversations/run_page.html"
    change_form_outer_after_template = "conversations/run_course.html"
    fieldsets = [
        (
            _("Request"),
            {
                "fields": [
                    "show_asked",
                    ("show_mode", "show_model"),
                    ("show_iterations", "show_images"),
                    "show_prompt",
                    "show_personalization",
                ]
            },
        ),
        (
            _("Processing"),
            {
                "classes": ["collapse"],
                "fields": [
                    ("created_at", "started_at"),
                    ("finished_at", "heartbeat_at"),
                    ("show_attempt", "worker"),
                    ("show_acted", "error_code"),
                    "id",
                ],
            },
        ),
    ]
    readonly_fields = [
        "show_asked",
        "show_mode",
        "show_model",
        "show_iterations",
        "show_images",
        "show_prompt",
        "show_personalization",
        "show_attempt",
        "show_acted",
    ]

    class Media:
        js = ["console/live.js"]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(drawing.live)
        return [path("live/", view, name="conversations_live"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        rows: QuerySet[Run] = super().get_queryset(request)
        # The prompt and the images of a request are not for lists.
        return rows.defer("request").annotate(asked=Left(KT("request__message"), MAX_NOTE))

    # --- the list --------------------------------------------------------------------------------
    @display(description=_("message"))
    def show_message(self, run: Any) -> str:
        return format_html(
            '<div><a class="document-name" href="{}">{}</a><span class="row-note">{}</span></div>',
            link_to("conversations_run_change", str(run.pk)),
            run.asked or run_name(run),
            run.conversation.title or run.conversation.assistant_name,
        )

    @display(description=_("kind"), ordering="kind", label={"task": "info", "chat": "default"})
    def show_kind(self, run: Run) -> tuple[str, str]:
        return run.kind, run.get_kind_display()

    @display(description=_("owner"), ordering="owner")
    def show_owner(self, run: Run) -> Any:
        return run.owner

    @display(description=_("status"), ordering="status")
    def show_state(self, run: Run) -> str:
        return drawing.live_state(run)

    @display(description=_("duration"))
    def show_duration(self, run: Run) -> str:
        return drawing.took_of(run)

    @display(description=_("tokens"))
    def show_tokens(self, run: Run) -> Any:
        return run.input_tokens + run.output_tokens or "-"

    def name_of(self, row: Any) -> str:
        return run_name(row)

    # --- one run ---------------------------------------------------------------------------------
    @display(description=_("message"))
    def show_asked(self, run: Run) -> str:
        return format_html('<div class="said">{}</div>', run.request.get("message") or "-")

    @display(description=_("mode"))
    def show_mode(self, run: Run) -> Any:
        mode = run.request.get("run_mode")
        return RunMode(mode).label if mode in RunMode.values else mode or "-"

    @display(description=_("model"))
    def show_model(self, run: Run) -> Any:
        llm = Llm.objects.filter(pk=run.request.get("llm_id") or "").first()
        return llm or run.request.get("llm_id") or "-"

    @display(description=_("calls of the model at most"))
    def show_iterations(self, run: Run) -> Any:
        return run.request.get("max_iterations") or "-"

    @display(description=_("images"))
    def show_images(self, run: Run) -> str:
        return ", ".join(map(str, run.request.get("images") or [])) or "-"

    @display(description=_("prompt"))
    def show_prompt(self, run: Run) -> str:
        text = run.request.get("prompt") or ""
        return format_html('<div class="said">{}</div>', text) if text else "-"

    @display(description=_("personalization"))
    def show_personalization(self, run: Run) -> str:
        row = run.request.get("personalization")
        lines = told(row) if row else []
        return format_html('<div class="said">{}</div>', "\n".join(lines)) if lines else "-"

    @display(description=_("attempt"))
    def show_attempt(self, run: Run) -> int:
        return run.attempt

    @display(description=_("has acted"))
    def show_acted(self, run: Run) -> Any:
        return _("Yes, so it is not repeated") if run.has_acted else _("No")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {})}
        run: Any = self.get_object(request, unquote(object_id))
        if run is not None:
            place = f"{conversation_url(run.conversation_id)}?turns={page_of(run.turn)}"
            context |= {
                "title": run_name(run),
                "subtitle": None,
                "state": drawing.run_state(run),
                "steps": drawing.run_steps(run),
                "words": drawing.run_words(run),
                "figures": drawing.run_figures(run),
                "conversation_name": name_of(run.conversation),
                "conversation_url": f"{place}#turn-{run.turn}",
                "owner_link": to_user(run.owner),
                "todo": run.conversation.todo if run.kind == RunKind.TASK else [],
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    # --- stopping --------------------------------------------------------------------------------
    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Whoever may see the console may stop what runs away."""
        return self.has_module_permission(request)

    @admin.action(description=_("Stop"), permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        """Stops the selected runs, once that is confirmed."""
        selected = list(queryset.order_by("-created_at")[:MAX_STOPPED])
        active = [run for run in selected if not run.is_over]
        if active and "confirmed" not in request.POST:
            return self._ask(request, active)
        for run in active:
            store.request_cancel(run)
        if active:
            said = ngettext(
                "%(n)d task is being stopped.", "%(n)d tasks are being stopped.", len(active)
            )
            messages.success(request, said % {"n": len(active)})
        else:
            messages.info(request, _("Nothing of it is going on any more."))
        if len(selected) == 1:
            url = link_to("conversations_run_change", str(selected[0].pk))
            return HttpResponseRedirect(url)
        return HttpResponseRedirect(reverse("admin:conversations_run_changelist"))

    def _ask(self, request: HttpRequest, active: list[Run]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Stop?"),
            "opts": self.opts,
            "runs": active,
            "named": [(run, run_name(run)) for run in active[:MAX_NAMED]],
            "more": max(0, len(active) - MAX_NAMED),
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return render(request, "conversations/stop.html", context)

    # --- deleting --------------------------------------------------------------------------------
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # It is stopped first: its worker would go on for a while, for nobody.
        is_over = obj is None or obj.is_over
        return is_over and super().has_delete_permission(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        queryset.exclude(status__in=RunStatus.active()).delete()
