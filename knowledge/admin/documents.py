"""Documents, their stages and chunks, in the console."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from core.console import ConsoleAdmin, OperatorPermissions
from core.errors import AppError, NotFound
from knowledge.actions import (
    cancel_document,
    delete_document,
    reindex_document,
    retry_document,
)
from knowledge.admin import adding, states
from knowledge.admin.highlight import condensed
from knowledge.links import signed_url
from knowledge.models import Chunk, Document, DocumentStatus, KnowledgeBase, StageRun
from knowledge.wording import in_readers_language

BASE_PARAM = "knowledge_base__id__exact"
CHUNKS_PER_PAGE = RUNS_PER_PAGE = 20
# What a button of a row, or the action for many rows, does with a document.
DEEDS: dict[str, Callable[[Document], object]] = {
    "reread": reindex_document,
    "retry": retry_document,
    "cancel": cancel_document,
}


class StateFilter(admin.SimpleListFilter):
    """By state; several states that mean work are one."""

    title = _("status")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        ended = [status for status in DocumentStatus if status not in DocumentStatus.open()]
        return [
            ("open", _("In work")),
            ("late", _("Waiting too long")),
            *((status.value, status.label) for status in ended),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case None:
                return queryset
            case "open":
                return queryset.filter(status__in=DocumentStatus.open())
            case "late":
                return queryset.filter(states.is_late())
            case status:
                return queryset.filter(status=status)


class PartInline(TabularInline):  # type: ignore[misc]  # unfold ships no types
    """Rows that a worker wrote about a document."""

    extra = 0
    can_delete = False
    hide_title = True
    has_module_permission = OperatorPermissions.has_module_permission
    has_view_permission = OperatorPermissions.has_view_permission

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class StageInline(PartInline):
    """The attempts at the stages, the latest first."""

    model = StageRun
    fields = ["show_stage", "attempt", "started_at", "show_duration", "items", "show_error"]
    readonly_fields = fields
    ordering = ["-started_at", "-pk"]
    per_page = RUNS_PER_PAGE
    tab = True

    @display(description=_("stage"))
    def show_stage(self, run: StageRun) -> str:
        return run.get_stage_display()

    @display(description=_("duration"))
    def show_duration(self, run: StageRun) -> Any:
        if run.ended_at is None:
            return _("not ended")
        return _("%(seconds).1f s") % {"seconds": (run.ended_at - run.started_at).total_seconds()}

    @display(description=_("error"))
    def show_error(self, run: StageRun) -> str:
        return in_readers_language(run.error_message) or run.error_code or "-"


class ChunkInline(PartInline):
    """The chunks, a page of them at a time."""

    model = Chunk
    fields = ["show_place", "show_content"]
    readonly_fields = fields
    ordering = ["ordinal"]
    per_page = CHUNKS_PER_PAGE
    tab = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chunk]:
        chunks: QuerySet[Chunk] = super().get_queryset(request)
        return chunks.defer("lexemes")

    @display(description=_("place"))
    def show_place(self, chunk: Chunk) -> str:
        page = _("page %(n)d") % {"n": chunk.page} if chunk.page else ""
        return format_html(
            '<div class="chunk-place"><strong>{}</strong><span>{}</span><span>{}–{}</span></div>',
            chunk.ordinal + 1,
            page,
            chunk.char_start,
            chunk.char_end,
        )

    @display(description=_("content"))
    def show_content(self, chunk: Chunk) -> str:
        return format_html(
            '<div class="chunk-content"><p class="chunk-heading">{}</p><p>{}</p></div>',
            chunk.heading,
            condensed(chunk.content),
        )


@admin.register(Document)
class DocumentAdmin(ConsoleAdmin):
    """What was put into bases, how far each file has come, and what to do about it."""

    empty_text = _(
        "Documents come here from the page of a knowledge base, or over the API; each shows how "
        "far it has come."
    )
    list_display = ["show_name", "show_base", "show_state", "show_chunks", "created_at", "buttons"]
    list_display_links = None
    list_filter = [
        StateFilter,
        ("knowledge_base", AutocompleteSelectFilter),
        "file_type",
    ]
    list_select_related = ["knowledge_base"]
    list_before_template = "knowledge/document_list_head.html"
    search_fields = ["name"]
    search_help_text = _("Name of a document")
    actions = ["retry_selected", "reread_selected", "cancel_selected"]
    change_form_outer_before_template = "knowledge/document_head.html"
    inlines = [ChunkInline, StageInline]
    readonly_fields = ["show_base", "show_size", "char_count", "page_count", "processed_at"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("show_base", "file_type", "show_size"),
                    ("page_count", "char_count", "chunks_total"),
                    ("created_at", "processed_at", "attempt"),
                ]
            },
        ),
    ]

    class Media:
        js = ["console/live.js", "knowledge/adding.js"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("live/", view(states.live), name="knowledge_live"),
            path("<path:object_id>/file/", view(self.file_view), name="knowledge_document_file"),
        ]
        return [*own, *super().get_urls()]

    # --- adding ----------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not self.has_add_permission(request):
            raise Http404
        return adding.add_documents(request, self)

    # --- the list --------------------------------------------------------------------------------
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST" and "row_action" in request.POST:
            return self._act_on_row(request)
        context = {**(extra_context or {}), **_base_context(request)}
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def get_list_display(self, request: HttpRequest) -> list[str]:
        """Without the base, where the list is limited to one."""
        columns: list[str] = super().get_list_display(request)
        return [name for name in columns if name != "show_base" or BASE_PARAM not in request.GET]

    def _act_on_row(self, request: HttpRequest) -> HttpResponse:
        deed, _separator, document_id = request.POST["row_action"].partition(":")
        document = self.get_object(request, document_id) if "\0" not in document_id else None
        if document is None or deed not in DEEDS:
            raise Http404
        self._do(request, deed, [document])
        back = request.POST.get("next", "")
        if not url_has_allowed_host_and_scheme(back, allowed_hosts=None):
            back = request.get_full_path()
        return HttpResponseRedirect(back)

    @admin.action(description=_("Try again what failed or was cancelled"))
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        ended = [DocumentStatus.FAILED, DocumentStatus.CANCELLED]
        self._do(request, "retry", queryset.filter(status__in=ended))

    @admin.action(description=_("Read the selected documents again"))
    def reread_selected(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        self._do(request, "reread", queryset)

    @admin.action(description=_("Cancel the work on the selected documents"))
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        self._do(request, "cancel", queryset.filter(status__in=DocumentStatus.open()))

    def _do(self, request: HttpRequest, deed: str, documents: Iterable[Document]) -> None:
        done = 0
        for document in documents:
            try:
                DEEDS[deed](document)
                done += 1
            except AppError as error:
                text = _("%(name)s: %(error)s")
                values = {"name": document.name, "error": error.message}
                self.message_user(request, text % values, messages.ERROR)
        said = {
            "reread": ngettext(
                "%(n)d document is read again.", "%(n)d documents are read again.", done
            ),
            "retry": ngettext(
                "%(n)d document is tried again.", "%(n)d documents are tried again.", done
            ),
            "cancel": ngettext(
                "The work on %(n)d document was cancelled.",
                "The work on %(n)d documents was cancelled.",
                done,
            ),
        }
        if done:
            self.message_user(request, said[deed] % {"n": done}, messages.SUCCESS)

    @display(description=_("name"), ordering="name")
    def show_name(self, document: Document) -> str:
        return format_html(
            '<div><a class="document-name" href="{}">{}</a>'
            '<span class="row-note">{} · {}</span></div>',
            reverse("admin:knowledge_document_change", args=[document.pk]),
            document.name,
            document.file_type,
            filesizeformat(document.size),
        )

    @display(description=_("knowledge base"), ordering="knowledge_base__name")
    def show_base(self, document: Document) -> str:
        return format_html(
            '<a class="hover:text-primary-600" href="{}?{}={}">{}</a>',
            reverse("admin:knowledge_document_changelist"),
            BASE_PARAM,
            document.knowledge_base_id,
            document.knowledge_base.name,
        )

    @display(description=_("status"), ordering="status")
    def show_state(self, document: Document) -> str:
        return _live("document", document, states.document_state(document))

    @display(description=_("chunks"), ordering="chunks_total")
    def show_chunks(self, document: Document) -> str:
        return _live("chunks", document, str(document.chunks_total))

    @display(description="")
    def buttons(self, document: Document) -> str:
        return _live("buttons", document, states.document_buttons(document))

    @display(description=_("size"))
    def show_size(self, document: Document) -> str:
        return filesizeformat(document.size)

    # --- one document ----------------------------------------------------------------------------
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        document = self.get_object(request, unquote(object_id))
        context = {**(extra_context or {})}
        if document is not None:
            context |= {
                "title": document.name,
                "subtitle": None,
                "state": states.document_state(document),
                "buttons": states.document_buttons(document),
                # It stands among the buttons.
                "show_delete": False,
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def file_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """To the file as it was sent, by a link that expires."""
        document = self.get_object(request, unquote(object_id))
        if document is None:
            raise Http404
        return HttpResponseRedirect(signed_url(request, document))

    # --- deleting --------------------------------------------------------------------------------
    def get_deleted_objects(
        self, objs: Iterable[Document], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Counts the chunks; Django would load each one to name it."""
        documents = list(objs)
        figures = {
            str(Document._meta.verbose_name_plural): len(documents),
            str(Chunk._meta.verbose_name_plural): sum(row.chunks_total for row in documents),
        }
        return [row.name for row in documents], figures, set(), []

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ends at the documents of the base; what cannot be changed would lead to the home page."""
        document = self.get_object(request, unquote(object_id))
        response: HttpResponse = super().delete_view(request, object_id, extra_context)
        if document is None or response.status_code != 302:
            return response
        url = reverse("admin:knowledge_document_changelist")
        return HttpResponseRedirect(f"{url}?{BASE_PARAM}={document.knowledge_base_id}")

    def delete_model(self, request: HttpRequest, obj: Document) -> None:
        # Whoever else deletes it at the same time leaves nothing to do.
        with contextlib.suppress(NotFound):
            delete_document(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        for document in queryset:
            self.delete_model(request, document)


def _live(kind: str, document: Document, drawing: str) -> str:
    return format_html('<div data-live="{}:{}">{}</div>', kind, document.pk, drawing)


def _base_context(request: HttpRequest) -> dict[str, Any]:
    """The base that a list is limited to gives the list its name and the place to add files."""
    base_id = request.GET.get(BASE_PARAM, "")
    base = KnowledgeBase.objects.with_id(base_id) if base_id else None
    if base is None:
        return {}
    return {"base": base, "title": base.name, "adding": adding.panel()}
