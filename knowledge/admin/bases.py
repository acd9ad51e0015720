"""Knowledge bases in the console."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from core.console import ConsoleAdmin, ConsoleForm
from knowledge.actions import delete_base, rebuild_vectors
from knowledge.admin import states
from knowledge.models import Chunk, Document, IndexState, KnowledgeBase, SpaceStatus, VectorSpace


class BaseForm(ConsoleForm):
    """Checks what the API checks."""

    class Meta:
        help_texts: ClassVar = {
            "owner": gettext_lazy(
                "Without an owner it is the system's: every user can search it and read its files."
            )
        }

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        owner, embedder = cleaned.get("owner"), cleaned.get("embedder")
        if embedder and embedder.owner_id not in (None, owner.pk if owner else None):
            text = _("This model is neither the owner's nor the system's.")
            self.add_error("embedder", text)
        return cleaned


class TroubleFilter(admin.SimpleListFilter):
    """Bases in which something went wrong."""

    title = gettext_lazy("problems")
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("documents", gettext_lazy("A document failed")),
            ("vectors", gettext_lazy("Vectors or their index failed")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "documents":
                failed = Document.objects.filter(status="failed")
                return queryset.filter(pk__in=failed.values("knowledge_base"))
            case "vectors":
                failing = VectorSpace.objects.filter(states.WITH_TROUBLE)
                return queryset.filter(pk__in=failing.values("knowledge_base"))
        return queryset


@admin.register(KnowledgeBase)
class KnowledgeBaseAdmin(ConsoleAdmin):
    """Sets of documents: their settings, their vectors, and the way to their documents."""

    empty_text = gettext_lazy(
        "A knowledge base holds documents that assistants answer from. Add one, then drop files "
        "on its page."
    )
    form = BaseForm
    list_display = [
        "show_name",
        "show_owner",
        "show_documents",
        "show_chunks",
        "show_model",
        "show_index",
        "show_last_search",
    ]
    list_display_links = None
    # The model's own is lost where rows are counted.
    ordering = ["name", "pk"]
    list_filter = [TroubleFilter, ("owner", AutocompleteSelectFilter)]
    search_fields = ["name", "description"]
    search_help_text = gettext_lazy("Name or description")
    autocomplete_fields = ["owner"]
    change_form_outer_before_template = "knowledge/base_head.html"
    readonly_fields = ["show_spaces"]
    fieldsets = [
        (None, {"fields": ["name", "description", "owner"]}),
        (
            gettext_lazy("Vectors"),
            {
                "fields": ["embedder", "show_spaces"],
                "description": gettext_lazy(
                    "With another model, new vectors are built beside the present ones, which are "
                    "searched until the new ones are complete."
                ),
            },
        ),
        (gettext_lazy("Chunks"), {"fields": [("chunk_size", "chunk_overlap")]}),
    ]

    class Media:
        js = ["console/live.js"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        # What is in a base is for its owner alone, unless it is given to all on purpose.
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}

    # --- the list --------------------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[KnowledgeBase]:
        return states.with_figures(super().get_queryset(request))

    @display(description=gettext_lazy("name"), ordering="name")
    def show_name(self, base: KnowledgeBase) -> str:
        return format_html(
            '<div><a class="document-name" href="{}?knowledge_base__id__exact={}">{}</a>'
            '<span class="row-note">{}</span></div>',
            reverse("admin:knowledge_document_changelist"),
            base.pk,
            base.name,
            base.description,
        )

    @display(description=gettext_lazy("documents"), ordering="documents_total")
    def show_documents(self, base: Any) -> str:
        return format_html('<div data-live="base:{}">{}</div>', base.pk, states.base_counts(base))

    @display(description=gettext_lazy("chunks"), ordering="chunks_total")
    def show_chunks(self, base: Any) -> int:
        return int(base.chunks_total)

    @display(description=gettext_lazy("embedding model"))
    def show_model(self, base: KnowledgeBase) -> Any:
        spaces = {space.status: space for space in base.spaces.all()}
        active = spaces.get(SpaceStatus.ACTIVE)
        if (building := spaces.get(SpaceStatus.BUILDING)) is None:
            return (active.embedder if active else base.embedder) or _("Default")
        if active is None:
            return building.embedder
        return f"{active.embedder} → {building.embedder}"

    @display(
        description=gettext_lazy("index"),
        label={
            IndexState.NONE: "default",
            IndexState.BUILDING: "info",
            IndexState.READY: "success",
            "failed": "danger",
        },
    )
    def show_index(self, base: KnowledgeBase) -> Any:
        spaces = list(base.spaces.all())
        for space in spaces:
            if space.index_state == IndexState.FAILED or space.error_code:
                return "failed", _("Failed")
        active = next((space for space in spaces if space.status == SpaceStatus.ACTIVE), None)
        return (active.index_state, active.get_index_state_display()) if active else "-"

    @display(description=gettext_lazy("last search"), ordering="last_search")
    def show_last_search(self, base: Any) -> Any:
        return base.last_search or "-"

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<path:object_id>/retry-vectors/",
            self.admin_site.admin_view(require_POST(self.retry_vectors)),
            name="knowledge_retry_vectors",
        )
        return [own, *super().get_urls()]

    def retry_vectors(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lets a build that waits be tried at once, whatever it waits for."""
        base = self.get_object(request, unquote(object_id))
        if base is None:
            raise Http404
        if rebuild_vectors(base) is None:
            self.message_user(request, _("There is nothing to build."), messages.INFO)
        else:
            self.message_user(request, _("The vectors are being built."), messages.SUCCESS)
        url = reverse("admin:knowledge_knowledgebase_change", args=[base.pk])
        return HttpResponseRedirect(url)

    # --- settings --------------------------------------------------------------------------------
    @display(description=gettext_lazy("vectors"))
    def show_spaces(self, base: KnowledgeBase) -> str:
        return format_html('<div data-live="spaces:{}">{}</div>', base.pk, states.spaces(base))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "embedder" in form.changed_data and rebuild_vectors(obj) is not None:
            text = _("New vectors are built; until then the present ones are searched.")
            self.message_user(request, text, messages.INFO)

    def response_add(
        self, request: HttpRequest, obj: KnowledgeBase, post_url_continue: str | None = None
    ) -> HttpResponse:
        """To the place where the first documents are added."""
        response: HttpResponse = super().response_add(request, obj, post_url_continue)
        if "_popup" in request.POST or "_addanother" in request.POST:
            return response
        list_url = reverse("admin:knowledge_document_changelist")
        return HttpResponseRedirect(f"{list_url}?knowledge_base__id__exact={obj.pk}")

    # --- deleting --------------------------------------------------------------------------------
    def get_deleted_objects(
        self, objs: Iterable[KnowledgeBase], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Counts what a base holds; Django would load each chunk to name it."""
        bases = states.with_figures(KnowledgeBase.objects.filter(pk__in=[row.pk for row in objs]))
        rows: list[Any] = list(bases.prefetch_related("assistants"))
        figures = {
            str(KnowledgeBase._meta.verbose_name_plural): len(rows),
            str(Document._meta.verbose_name_plural): sum(row.documents_total for row in rows),
            str(Chunk._meta.verbose_name_plural): sum(row.chunks_total for row in rows),
        }
        return [_with_assistants(row) for row in rows], figures, set(), []

    def delete_model(self, request: HttpRequest, obj: KnowledgeBase) -> None:
        delete_base(obj, force=True)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[KnowledgeBase]) -> None:
        for base in queryset:
            delete_base(base, force=True)


def _with_assistants(base: Any) -> str:
    assistants = [assistant.name for assistant in base.assistants.all()]
    if not assistants:
        return str(base.name)
    text = _("%(name)s: used by %(assistants)s, who then answer without it")
    return text % {"name": base.name, "assistants": ", ".join(assistants)}
