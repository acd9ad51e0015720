"""The record of each conversation, as the history lists it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from conversations.models.conversation import Channel, Conversation


class CallStatus(models.TextChoices):
    CONNECTED = "connected", _("Connected")
    MISSED = "missed", _("Missed")
    FAILED = "failed", _("Failed")


class CallSource(models.TextChoices):
    DEBUG = "debug", _("Console")
    EXTERNAL = "external", _("External")


class Call(models.Model):
    """The record of a conversation for the history (the contract's CallRecord), on every channel.

    It shares the conversation's id. Of a chat it begins with the first message and ends, for the
    time being, with the last. Owner, assistant and channel are the conversation's, repeated so that
    figures over a million records need no second table; `call_figures` answers for them alone.
    """

    conversation = models.OneToOneField(
        Conversation, models.CASCADE, primary_key=True, related_name="call"
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("owner"),
        # The composite indexes below begin with it.
        db_index=False,
    )
    assistant_key = models.CharField(max_length=64, default="", editable=False)
    channel = models.CharField(
        _("channel"), max_length=8, choices=Channel.choices, default=Channel.VOICE
    )
    source = models.CharField(_("source"), max_length=16, choices=CallSource.choices)
    # Missed until the session starts; a call that a crash left open is closed by the sweeper.
    status = models.CharField(
        _("status"), max_length=16, choices=CallStatus.choices, default=CallStatus.MISSED
    )
    started_at = models.DateTimeField(_("started"), default=timezone.now, db_index=True)
    ended_at = models.DateTimeField(_("ended"), null=True)
    cost = models.DecimalField(_("cost"), max_digits=12, decimal_places=6, default=0)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    error_code = models.CharField(_("error code"), max_length=64, blank=True)
    error_message = models.CharField(_("error"), max_length=500, blank=True)
    # In no index, so that a sign of life writes no other page than the row's.
    heartbeat_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("call")
        verbose_name_plural = _("calls")
        ordering: ClassVar = ["-started_at", "-conversation_id"]
        indexes: ClassVar = [
            models.Index(
                fields=["owner", "-started_at", "-conversation"],
                include=["assistant_key", "channel", "source", "status", "ended_at", "cost"],
                name="call_figures",
            ),
            models.Index(fields=["assistant_key", "-started_at"], name="call_with_assistant"),
            # Those that go on: a few of all, looked through every few seconds.
            models.Index(
                fields=["started_at"], name="call_open", condition=models.Q(ended_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return self.conversation_id
