"""The services behind built-in tools, in the console."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from core.console import ConsoleAdmin, ConsoleForm
from core.errors import InvalidRequest
from tooling.admin.links import link_to
from tooling.catalogue import name_to_read
from tooling.models import Tool, ToolBackend
from tooling.vendors import SERVED_TOOLS, check_backend


class BackendForm(ConsoleForm):
    """A vendor that can serve the tool, with what it needs."""

    instance: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        address = self.fields["base_url"]
        address.required = False
        address.help_text = _("Empty: the vendor's own, where it has one.")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        tool = cleaned.get("tool") or self.instance.tool
        named = ("vendor", "base_url", "api_key")
        row = ToolBackend(tool=tool, **{name: cleaned[name] for name in named})
        try:
            check_backend(row)
        except InvalidRequest as error:
            self.add_error(error.param, error.message)
        return {**cleaned, "base_url": row.base_url}


@admin.register(ToolBackend)
class ToolBackendAdmin(ConsoleAdmin):
    """Whom the tools for weather and search ask. Without one they say that they are not set up."""

    empty_text = _(
        "The tools for weather and search ask a service. Add one, with its address or its key."
    )
    form = BackendForm
    list_display = ["show_tool", "vendor", "base_url", "is_enabled", "show_try"]
    list_display_links = ["show_tool"]
    list_select_related = ["tool"]
    ordering = ["pk"]
    fieldsets = [(None, {"fields": ["tool", "vendor", "base_url", "api_key", "is_enabled"]})]
    actions_submit_line = ["save_and_try"]

    @display(description=_("tool"), ordering="pk")
    def show_tool(self, row: ToolBackend) -> str:
        return name_to_read(row.tool)

    @display(description="")
    def show_try(self, row: ToolBackend) -> str:
        return format_html('<a class="text-link" href="{}">{}</a>', _try_url(row), _("Try it"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """As long as a tool that needs a service has none."""
        if not super().has_add_permission(request):
            return False
        return Tool.objects.filter(pk__in=SERVED_TOOLS, owner=None, backend=None).exists()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["tool"] if obj else []

    def formfield_for_foreignkey(
        self, db_field: models.ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "tool":
            kwargs["queryset"] = Tool.objects.filter(pk__in=SERVED_TOOLS, owner=None, backend=None)
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if db_field.name == "tool" and field is not None:
            field.label_from_instance = name_to_read
        return field

    @action(description=_("Save and try"), icon="play_arrow")
    def save_and_try(self, request: HttpRequest, obj: ToolBackend) -> None:
        """The answer leads to where the tool is tried."""

    def response_change(self, request: HttpRequest, obj: ToolBackend) -> HttpResponse:
        response: HttpResponse = super().response_change(request, obj)
        if any(name.endswith("_save_and_try") for name in request.POST):
            return HttpResponseRedirect(_try_url(obj))
        return response


def _try_url(row: ToolBackend) -> str:
    return link_to("tooling_tool_try", row.tool_id)
