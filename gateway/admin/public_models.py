"""Public names and where they lead, each with its state, and a form to try one."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import ForeignKey, Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from accounts.models import User
from accounts.principals import principal_for_user
from core.console import ConsoleAdmin, OperatorPermissions
from core.loops import wait_for
from gateway.admin.money import money
from gateway.directory import problem_of
from gateway.models import Kind, PublicModel, Route, RouteQuerySet
from gateway.standing import standing_of
from gateway.trial import try_model
from providers.models import Llm, LlmType
from tooling.admin.links import link_to


class RouteInline(OperatorPermissions, TabularInline):  # type: ignore[misc]  # unfold ships no types
    """The models behind the name, and how each does."""

    model = Route
    extra = 0
    hide_title = True
    fields = ["llm", "priority", "weight", "is_enabled", "show_state"]
    readonly_fields = ["show_state"]
    verbose_name = gettext_lazy("route")
    verbose_name_plural = gettext_lazy("Routes")

    def has_add_permission(self, request: HttpRequest, obj: PublicModel | None = None) -> bool:
        return super().has_add_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        routes: RouteQuerySet = super().get_queryset(request)
        return routes.with_models()

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "llm":
            kinds = (LlmType.TEXT, LlmType.EMBEDDING)
            models = Llm.objects.filter(type__in=kinds).defer("api_key")
            kwargs["queryset"] = models.order_by("name")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @display(description=gettext_lazy("state"))
    def show_state(self, route: Route) -> str:
        if route._state.adding:
            return "-"
        context = {"standing": standing_of(route)}
        return render_to_string("gateway/route_state.html", context)


class TrialForm(forms.Form):
    words = forms.CharField(
        label=gettext_lazy("Text"),
        max_length=20_000,
        widget=UnfoldAdminTextareaWidget({"rows": 5}),
    )
    max_tokens = forms.IntegerField(
        label=gettext_lazy("Longest answer"),
        min_value=1,
        max_value=100_000,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("In tokens. Empty: as long as the model likes."),
    )

    def __init__(self, *args: Any, kind: Kind, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["words"].initial = _("Hello! Who are you?")
        if kind == Kind.EMBEDDING:
            del self.fields["max_tokens"]


@admin.register(PublicModel)
class PublicModelAdmin(ConsoleAdmin):
    """What clients of the gateway may ask for, beside the catalogue's models by their own names."""

    empty_text = gettext_lazy(
        "Names that clients ask for as “model”, each with routes to models of the catalogue. "
        "Models have their own names on the gateway without any of this."
    )
    list_display = ["show_name", "show_kind", "show_state", "show_routes", "show_price", "show_try"]
    list_display_links = None
    list_filter = ["kind", "is_enabled"]
    search_fields = ["name", "description"]
    inlines = [RouteInline]
    change_form_outer_before_template = "gateway/model_head.html"
    fieldsets = [
        (None, {"fields": [("name", "kind"), "description", "is_enabled"]}),
        (
            gettext_lazy("Prices"),
            {
                "fields": ["price_input", "price_output", "price_cache_read"],
                "description": gettext_lazy(
                    "In any currency; what requests cost, and budgets of keys, are in the same."
                ),
            },
        ),
        (gettext_lazy("Limits"), {"fields": [("max_tokens_cap", "cache_s")]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PublicModel]:
        rows: QuerySet[PublicModel] = super().get_queryset(request)
        return rows.prefetch_related(Prefetch("routes", Route.objects.with_models()))

    # --- the list --------------------------------------------------------------------------------
    @display(description=gettext_lazy("name"), ordering="name")
    def show_name(self, row: PublicModel) -> str:
        return format_html(
            '<div><a class="document-name" href="{}">{}</a><span class="row-note">{}</span></div>',
            link_to("gateway_publicmodel_change", str(row.pk)),
            row.name,
            row.description,
        )

    @display(description=gettext_lazy("kind"), ordering="kind")
    def show_kind(self, row: PublicModel) -> str:
        return row.get_kind_display()

    @display(
        description=gettext_lazy("state"),
        label={"works": "success", "partly": "warning", "failing": "danger", "off": "default"},
    )
    def show_state(self, row: PublicModel) -> tuple[str, Any]:
        if not row.is_enabled:
            return "off", _("Off")
        if problem_of(row):
            return "failing", _("Leads nowhere")
        states = [standing_of(route).state for route in row.routes.all()]
        usable = [state for state in states if state != "off"]
        if all(state == "failing" for state in usable):
            return "failing", _("Failing")
        return ("partly", _("In part")) if "failing" in usable else ("works", _("Works"))

    @display(description=gettext_lazy("routes"))
    def show_routes(self, row: PublicModel) -> str:
        names = [route.llm.name for route in row.routes.all()]
        text = " → ".join(names[:3]) + (" → …" if len(names) > 3 else "")
        return format_html('<span class="cell-text">{}</span>', text or "-")

    @display(description=gettext_lazy("price"))
    def show_price(self, row: PublicModel) -> str:
        if not row.price_input and not row.price_output:
            return "-"
        text = f"{money(row.price_input)} / {money(row.price_output)}"
        return format_html('<span class="whitespace-nowrap">{}</span>', text)

    @display(description="")
    def show_try(self, row: PublicModel) -> str:
        url = link_to("gateway_publicmodel_try", str(row.pk))
        return format_html('<a class="text-link" href="{}">{}</a>', url, _("Try it"))

    # --- one model -------------------------------------------------------------------------------
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {}), "tab": "settings"}
        row = self.get_object(request, unquote(object_id))
        if row is not None:
            context["problem"] = problem_of(row)
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<path:object_id>/try/",
            self.admin_site.admin_view(self.try_view),
            name="gateway_publicmodel_try",
        )
        return [own, *super().get_urls()]

    def try_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The form that asks the model once, and what came of it."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        kind = Kind(row.kind)
        form = TrialForm(request.POST if request.method == "POST" else None, kind=kind)
        trial = None
        if request.method == "POST" and form.is_valid():
            trial = wait_for(
                try_model(
                    principal_for_user(cast(User, request.user)),
                    row.name,
                    kind,
                    form.cleaned_data["words"],
                    max_tokens=form.cleaned_data.get("max_tokens"),
                )
            )
        context = {
            **self.admin_site.each_context(request),
            "title": row.name,
            "original": row,
            "opts": self.model._meta,
            "tab": "try",
            "form": form,
            "trial": trial,
            "problem": problem_of(row),
            "answered_by": _answered_by(trial.metered.target_row) if trial else "",
            "cost": money(trial.metered.cost) if trial else "",
        }
        return render(request, "gateway/try.html", context)


def _answered_by(row_id: str) -> str:
    return Llm.objects.filter(pk=row_id).values_list("name", flat=True).first() or ""
