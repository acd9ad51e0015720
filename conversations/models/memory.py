"""What an assistant remembers of a user, and what users said of its answers."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from pgvector.django import HalfVectorField

from assistants.models import Assistant
from conversations.models.conversation import Conversation, Message
from core.ids import short_id
from core.models import Timestamped


class Memory(Timestamped):
    """One fact about a user, known to one assistant. It is the user's, who may delete it."""

    id = models.CharField(max_length=64, primary_key=True, default=short_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="memories",
        verbose_name=_("about"),
    )
    assistant = models.ForeignKey(
        Assistant, models.CASCADE, related_name="memories", verbose_name=_("assistant")
    )
    conversation = models.ForeignKey(
        Conversation,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="memories",
        verbose_name=_("conversation"),
        help_text=_("Where it was learnt; it is forgotten with it."),
    )
    text = models.CharField(_("fact"), max_length=500)
    # Of the text in one form: the same fact is kept once.
    digest = models.CharField(max_length=64, editable=False)
    lexemes = SearchVectorField(editable=False)
    # Null until it is computed; vectors of another model than the assistant's are not compared.
    embedding = HalfVectorField(null=True, editable=False)
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        verbose_name = _("memory")
        verbose_name_plural = _("memories")
        ordering: ClassVar = ["-updated_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["owner", "assistant", "digest"], name="memory_fact_once"
            )
        ]

    def __str__(self) -> str:
        return self.text


class Lesson(models.Model):
    """Something said that nobody has learnt from yet: a turn, or, as turn 0, a whole call."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="lessons")
    turn = models.PositiveIntegerField(_("turn"))
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    # From then on a worker may take it; while one has it, when another may.
    due_at = models.DateTimeField(_("due"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("lesson")
        verbose_name_plural = _("lessons")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["conversation", "turn"], name="lesson_once")
        ]

    def __str__(self) -> str:
        return f"{self.conversation_id} {self.turn}"


class Feedback(models.Model):
    """What a user thought of one answer."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("owner")
    )
    message = models.ForeignKey(
        Message,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="feedback",
        verbose_name=_("message"),
    )
    is_positive = models.BooleanField(_("liked"))
    user_input = models.TextField(_("question"), blank=True)
    agent_output = models.TextField(_("answer"), blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("feedback")
        verbose_name_plural = _("feedback")
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.agent_output[:80]
