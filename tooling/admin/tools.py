"""Tools in the console: the system's own to be switched, those of users to be made and tried."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from core.console import ConsoleForm, rehearse
from tooling.actions import ToolValues, create_tool, delete_tool, update_tool
from tooling.admin import trying
from tooling.admin.fields import JsonField, JsonWidget, headers_field, secrets_field
from tooling.admin.links import link_to
from tooling.admin.testing import Autotested
from tooling.catalogue import description_to_read, is_builtin, name_to_read
from tooling.models import Category, Method, Subject, Tool, empty_object_schema
from tooling.secrecy import missing_secrets

# What a list shows of a description.
MAX_NOTE = 120
REQUEST_FIELDS = [
    ("http_method", "http_timeout_ms"),
    "http_url",
    "http_headers",
    "secrets",
    "http_body",
    "result_pointer",
]


class ToolForm(ConsoleForm):
    """What the actions refuse is said at the field that is to blame."""

    instance: Any
    http_headers = headers_field(
        label=gettext_lazy("Headers"),
        help_text=gettext_lazy("Stored encrypted. {name} inserts an argument or a secret."),
    )
    secrets = secrets_field(
        label=gettext_lazy("Secrets"),
        help_text=gettext_lazy(
            "Values for {name} in the address, the headers and the body. Stored encrypted, and "
            "sent to the host of the address only: for another host they are entered anew."
        ),
    )
    parameter_schema = JsonField(
        label=gettext_lazy("Parameters"),
        initial=empty_object_schema,
        widget=JsonWidget({"rows": 14}),
        help_text=gettext_lazy("A JSON Schema of an object; the model reads the descriptions."),
    )
    parameter_defaults = JsonField(
        label=gettext_lazy("Default arguments"),
        initial=dict,
        required=False,
        widget=JsonWidget({"rows": 4}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "secrets" in self.fields and not self.instance._state.adding:
            stored = {row.name: row.value for row in self.instance.secrets.all()}
            self.initial["secrets"] = self.fields["secrets"].initial = stored

    def values(self) -> ToolValues:
        """What was sent, as the actions take it. A secret that is not there any more is emptied."""
        values = {name: value for name, value in self.cleaned_data.items() if name != "owner"}
        if "secrets" in values:
            stored = dict.fromkeys(self.fields["secrets"].initial or {}, "")
            values["secrets"] = {**stored, **values["secrets"]}
        if "parameter_defaults" in values:
            values["parameter_defaults"] = values["parameter_defaults"] or {}
        return cast(ToolValues, values)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        rehearse(self, store)
        return cleaned


def store(form: ToolForm) -> Tool:
    """Saves what a form holds. Raises what the actions raise."""
    # As it is stored: the form has already put its values on its own instance.
    tool = Tool.objects.filter(pk=form.instance.pk).first()
    if tool is None:
        owner = form.cleaned_data.get("owner")
        return create_tool(owner.pk if owner else None, form.values())
    return update_tool(tool, form.values(), by_operator=True)


class OriginFilter(admin.SimpleListFilter):
    """The system's tools, which everybody sees, and those of users."""

    title = gettext_lazy("origin")
    parameter_name = "origin"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("system", gettext_lazy("System")), ("own", gettext_lazy("Users"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "system":
                return queryset.filter(owner=None)
            case "own":
                return queryset.exclude(owner=None)
        return queryset


@admin.register(Tool)
class ToolAdmin(Autotested):
    """What assistants can do. Of the system's own tools only "enabled" can be changed."""

    empty_text = gettext_lazy(
        "Tools let assistants act: a request to your own service, for example. Add one with its "
        "address."
    )
    subject = Subject.TOOL
    form = ToolForm
    list_display = [
        "show_name",
        "show_called",
        "show_category",
        "show_owner",
        "show_check",
        "is_enabled",
        "show_try",
    ]
    list_display_links = None
    list_filter = [
        "category",
        OriginFilter,
        "is_enabled",
        "check_ok",
        ("owner", AutocompleteSelectFilter),
    ]
    list_select_related = ["owner"]
    search_fields = ["id", "name", "function_name", "description", "http_url"]
    search_help_text = gettext_lazy("Name, description or address")
    autocomplete_fields = ["owner"]
    change_form_outer_before_template = "tooling/tool_head.html"
    fieldsets: Any = [
        (
            None,
            {
                "fields": [
                    ("name", "function_name"),
                    "description",
                    ("category", "owner"),
                    ("is_enabled", "wait_for_response"),
                ]
            },
        ),
        (
            gettext_lazy("Arguments"),
            {"fields": ["parameter_schema", "parameter_defaults"]},
        ),
        (
            gettext_lazy("Request"),
            {
                "fields": REQUEST_FIELDS,
                "classes": ["of-query"],
                "description": gettext_lazy(
                    "What the server sends when a model calls the tool. Tools of the client have "
                    "none."
                ),
            },
        ),
    ]
    builtin_fieldsets = [
        (
            None,
            {"fields": [("show_plain_name", "id"), "show_description", "show_side", "is_enabled"]},
        ),
        (
            gettext_lazy("Arguments"),
            {"fields": ["parameter_schema", "parameter_defaults", "wait_for_response"]},
        ),
    ]

    class Media:
        js = ["tooling/tool.js"]

    # --- the list --------------------------------------------------------------------------------
    @display(description=gettext_lazy("name"), ordering="name")
    def show_name(self, tool: Tool) -> str:
        return format_html(
            '<div><a class="document-name" href="{}">{}</a><span class="row-note">{}</span></div>',
            link_to("tooling_tool_change", tool.pk),
            name_to_read(tool),
            Truncator(description_to_read(tool)).chars(MAX_NOTE),
        )

    @display(description=gettext_lazy("called"), ordering="id")
    def show_called(self, tool: Tool) -> str:
        return format_html('<code class="called">{}</code>', tool.called)

    @display(
        description=gettext_lazy("runs on"),
        label={Category.QUERY: "info", Category.SYSTEM: "warning"},
    )
    def show_category(self, tool: Tool) -> tuple[str, str]:
        return tool.category, self.show_side(tool)

    @display(description=gettext_lazy("runs on"))
    def show_side(self, tool: Tool) -> str:
        """For forms, where unfold would show the pair that colours a list's cell."""
        return _("the server") if tool.category == Category.QUERY else _("the client")

    @display(
        description=gettext_lazy("last test"),
        label={"passed": "success", "failed": "danger", "never": "default"},
    )
    def show_check(self, tool: Tool) -> tuple[str, str]:
        if tool.check_ok is None:
            return "never", _("Not tested")
        return ("passed", _("Passed")) if tool.check_ok else ("failed", _("Failed"))

    @display(description="")
    def show_try(self, tool: Tool) -> str:
        if tool.category != Category.QUERY:
            return ""
        url = link_to("tooling_tool_try", tool.pk)
        return format_html('<a class="text-link" href="{}">{}</a>', url, _("Try it"))

    # --- one tool --------------------------------------------------------------------------------
    @display(description=gettext_lazy("name"))
    def show_plain_name(self, tool: Tool) -> str:
        return name_to_read(tool)

    @display(description=gettext_lazy("description"))
    def show_description(self, tool: Tool) -> str:
        return description_to_read(tool)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.builtin_fieldsets if obj and is_builtin(obj) else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        if obj is None:
            return []
        if not is_builtin(obj):
            # Whom secrets belong to never changes.
            return ["owner"]
        return [
            "id",
            "show_plain_name",
            "show_description",
            "show_side",
            "wait_for_response",
            "parameter_schema",
            "parameter_defaults",
        ]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj and is_builtin(obj):
            form = super().get_form(request, obj, change, **{**kwargs, "fields": ["is_enabled"]})
            # Those that the form itself declares are on it otherwise.
            form.base_fields = {"is_enabled": form.base_fields["is_enabled"]}
            return form
        # Secrets are rows of their own, and no field of the model.
        fields = flatten_fieldsets(self.fieldsets)
        named = {**kwargs, "fields": [name for name in fields if name != "secrets"]}
        return super().get_form(request, obj, change, **named)

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "http_method":
            kwargs["choices"] = [(method.value, method.value) for method in Method]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    def formfield_for_dbfield(
        self, db_field: models.Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> forms.Field | None:
        if db_field.name == "description":
            kwargs["widget"] = UnfoldAdminTextareaWidget({"rows": 3})
        if db_field.name == "http_body":
            kwargs["widget"] = UnfoldAdminTextareaWidget({"rows": 5, "class": "json-text"})
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        start = {"owner": request.user.pk, "category": Category.QUERY}
        return {**start, **super().get_changeform_initial_data(request)}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {}), "tab": "settings"}
        tool = self.get_object(request, unquote(object_id))
        if tool is not None and not is_builtin(tool):
            context["missing"] = missing_secrets(tool, tool.secrets.all())
        return super().change_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        stored = store(form)
        # What comes after, such as the log of changes, is about the row that was stored.
        obj.pk, obj._state.adding = stored.pk, False

    def delete_model(self, request: HttpRequest, obj: Tool) -> None:
        delete_tool(obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for tool in queryset:
            self.delete_model(request, tool)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and is_builtin(obj))

    # --- trying ----------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<path:object_id>/try/",
            self.admin_site.admin_view(self.try_view),
            name="tooling_tool_try",
        )
        return [own, *super().get_urls()]

    def try_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The form that runs the tool once, and what came of it."""
        tool = self.get_object(request, unquote(object_id))
        if tool is None:
            raise Http404
        return trying.show_tool(request, self, tool)
