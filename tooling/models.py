"""Tools: the system's own rows and those that users define."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import OwnedQuerySet, OwnedRow


class Category(models.TextChoices):
    QUERY = "query", _("Query (runs on the server)")
    SYSTEM = "system", _("System (runs on the client)")


def empty_object_schema() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "required": []}


class Tool(OwnedRow):
    """Something an assistant can do. System rows (no owner) are written by the first start."""

    name = models.CharField(_("name"), max_length=100)
    description = models.CharField(_("description"), max_length=1000, blank=True)
    category = models.CharField(_("category"), max_length=8, choices=Category.choices)
    icon = models.CharField(_("icon"), max_length=64, blank=True, default="Wrench")
    parameter_schema = models.JSONField(_("parameters"), default=empty_object_schema)
    parameter_defaults = models.JSONField(_("default arguments"), default=dict, blank=True)
    wait_for_response = models.BooleanField(
        _("wait for response"),
        default=False,
        help_text=_("Tools of the client only: the answer waits for what the client returns."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("tool")
        verbose_name_plural = _("tools")
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.name
