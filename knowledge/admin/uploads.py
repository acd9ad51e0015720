"""Files that users sent ahead, in the console."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from core.console import ReadOnlyAdmin
from knowledge.models import Upload


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin):
    """What was uploaded, to be named in a later request by its link."""

    empty_text = _(
        "Files that clients send to /upload, to name them in a later message, stand here for a "
        "while."
    )
    list_display = ["name", "file_type", "show_size", "owner", "created_at"]
    list_filter = [("owner", AutocompleteSelectFilter), "file_type"]
    list_select_related = ["owner"]
    search_fields = ["name", "owner__username"]
    fieldsets = [(None, {"fields": ["name", "file_type", "show_size", "owner", "created_at"]})]
    readonly_fields = ["show_size"]

    @display(description=_("size"), ordering="size")
    def show_size(self, upload: Upload) -> Any:
        return filesizeformat(upload.size)
