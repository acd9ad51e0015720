"""What users keep for their tasks: prompts, and how they want to be treated."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import Timestamped

NAME_PATTERN = r"^[\w\-\u4e00-\u9fff]{1,64}\Z"
_valid_name = RegexValidator(NAME_PATTERN, _("1 to 64 letters, digits, “_” or “-”."))


class Guidance(Timestamped):
    """Something that a user keeps under a name of their own."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=64, validators=[_valid_name])

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class Prompt(Guidance):
    """Instructions that go before a task's own."""

    content = models.TextField(_("content"), blank=True)

    class Meta:
        verbose_name = _("prompt")
        verbose_name_plural = _("prompts")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "name"], name="prompt_name_once")
        ]


class Personalization(Guidance):
    """How the agent of a user's tasks speaks and works; `content` is a PersonalizationRow."""

    content = models.JSONField(_("content"), default=dict, blank=True)

    class Meta:
        verbose_name = _("personalization")
        verbose_name_plural = _("personalizations")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "name"], name="personalization_name_once")
        ]
