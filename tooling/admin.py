"""Tools in the console."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from core.console import ConsoleAdmin
from tooling.catalogue import description_to_read, name_to_read
from tooling.models import Category, Tool


@admin.register(Tool)
class ToolAdmin(ConsoleAdmin):
    """What assistants can do. Of the system's own tools only "enabled" can be changed."""

    list_display = ["show_name", "id", "show_category", "show_description", "is_enabled"]
    list_filter = ["category", "is_enabled"]
    search_fields = ["id", "name", "description"]
    fieldsets = [
        (None, {"fields": ["id", "show_name", "show_description", "is_enabled"]}),
        (
            _("Calls"),
            {"fields": ["category", "wait_for_response", "parameter_schema", "parameter_defaults"]},
        ),
    ]

    @display(description=_("name"), ordering="name")
    def show_name(self, tool: Tool) -> str:
        return name_to_read(tool)

    @display(description=_("description"))
    def show_description(self, tool: Tool) -> str:
        return description_to_read(tool)

    @display(description=_("runs on"), label={Category.QUERY: "info", Category.SYSTEM: "warning"})
    def show_category(self, tool: Tool) -> tuple[str, Any]:
        is_server = tool.category == Category.QUERY
        return tool.category, _("the server") if is_server else _("the client")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [
            "id",
            "show_name",
            "show_description",
            "category",
            "wait_for_response",
            "parameter_schema",
            "parameter_defaults",
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
