"""Knowledge bases."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import OwnedQuerySet, OwnedRow
from providers.models import Llm


class KnowledgeBase(OwnedRow):
    """A set of documents that assistants can quote."""

    name = models.CharField(_("name"), max_length=100)
    description = models.CharField(_("description"), max_length=500, blank=True)
    embedder = models.ForeignKey(
        Llm, models.PROTECT, null=True, blank=True, verbose_name=_("embedding model")
    )

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("knowledge base")
        verbose_name_plural = _("knowledge bases")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name
