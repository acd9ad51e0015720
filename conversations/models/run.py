"""Runs: the answering of one message, and the log of what happened in it."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from conversations.models.conversation import Conversation


class RunKind(models.TextChoices):
    TASK = "task", _("Task")
    CHAT = "chat", _("Chat")


class RunStatus(models.TextChoices):
    PENDING = "pending", _("Waiting")
    RUNNING = "running", _("Running")
    CANCEL_REQUESTED = "cancel_requested", _("Being stopped")
    SUCCEEDED = "succeeded", _("Done")
    FAILED = "failed", _("Failed")
    CANCELED = "canceled", _("Stopped")

    @classmethod
    def active(cls) -> tuple[RunStatus, ...]:
        """What is not over: it keeps its conversation, and of tasks its user, busy."""
        return (cls.PENDING, cls.RUNNING, cls.CANCEL_REQUESTED)

    @classmethod
    def owned(cls) -> tuple[RunStatus, ...]:
        """What some process works on, or did until it died."""
        return (cls.RUNNING, cls.CANCEL_REQUESTED)


class RunMode(models.TextChoices):
    FAST = "fast", _("Fast")
    THINKING = "thinking", _("Thinking")
    DEEP = "deep", _("Deep")


_ACTIVE = Q(status__in=["pending", "running", "cancel_requested"])


class Run(models.Model):
    """The answering of one message of a user: a background task, or one exchange of a chat.

    The row is the truth about it. Whoever works on it holds an `attempt`; every write asks for that
    number, so that a process that was given up changes nothing any more. The last event is written
    together with the final status: a run that is over has a complete log.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=8, choices=RunKind.choices)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="runs", verbose_name=_("owner")
    )
    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="runs", verbose_name=_("conversation")
    )
    turn = models.PositiveIntegerField(_("turn"))
    status = models.CharField(
        _("status"), max_length=16, choices=RunStatus.choices, default=RunStatus.PENDING
    )
    # What was asked, as conversations.types.RunRequestRow.
    request = models.JSONField(_("request"), default=dict)
    attempt = models.PositiveIntegerField(_("attempt"), default=0, editable=False)
    next_seq = models.PositiveBigIntegerField(default=0, editable=False)
    heartbeat_at = models.DateTimeField(_("last sign of life"), null=True, editable=False)
    worker = models.CharField(_("process"), max_length=100, blank=True, editable=False)
    # Set before the first tool runs that may change something: from then on nothing is repeated.
    has_acted = models.BooleanField(_("has acted"), default=False, editable=False)
    error_code = models.CharField(_("error code"), max_length=64, blank=True, editable=False)
    error_message = models.CharField(_("error"), max_length=500, blank=True, editable=False)
    input_tokens = models.PositiveIntegerField(_("input tokens"), default=0, editable=False)
    output_tokens = models.PositiveIntegerField(_("output tokens"), default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True, editable=False)

    # What people know it by, where that was read with it.
    shown_name: str = ""

    class Meta:
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        ordering: ClassVar = ["-created_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["owner"], condition=Q(kind="task") & _ACTIVE, name="run_one_task_per_user"
            ),
            models.UniqueConstraint(
                fields=["conversation"], condition=_ACTIVE, name="run_one_per_conversation"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["owner", "-created_at"], name="run_of_owner"),
            models.Index(fields=["heartbeat_at"], name="run_active", condition=_ACTIVE),
            models.Index(fields=["finished_at"], name="run_finished"),
        ]

    def __str__(self) -> str:
        return self.shown_name or str(self.pk)

    @property
    def is_over(self) -> bool:
        return self.status not in RunStatus.active()


class RunEvent(models.Model):
    """One event of a run. `seq` counts from 0 without a gap; type and data as clients get them."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveBigIntegerField()
    type = models.CharField(max_length=32)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering: ClassVar = ["seq"]

    def __str__(self) -> str:
        return f"{self.seq} {self.type}"
