"""What was said: conversations and their messages."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from assistants.models import Assistant
from conversations.events import Citation
from conversations.types import MessageEntry, ToolOutcome
from conversations.types import Role as StoredRole
from core.ids import short_id
from core.models import Timestamped
from providers.types import ToolCall, Usage


class Channel(models.TextChoices):
    VOICE = "voice", _("Voice")
    CHAT = "chat", _("Chat")
    TASK = "task", _("Task")


class Conversation(Timestamped):
    """A conversation of a user with an assistant, on any surface."""

    id = models.CharField(max_length=64, primary_key=True, default=short_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="conversations",
        verbose_name=_("owner"),
        help_text=_("Empty: a caller without an account; operators see it."),
    )
    assistant = models.ForeignKey(
        Assistant,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="conversations",
        verbose_name=_("assistant"),
    )
    # Kept as they were, so that history stays readable after the assistant is gone.
    assistant_key = models.CharField(max_length=64, db_index=True, editable=False)
    assistant_name = models.CharField(_("assistant's name"), max_length=100, editable=False)
    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    title = models.CharField(_("title"), max_length=200, blank=True)
    # The id that the client gave it, where it gave one: an id of the owner's own.
    alias = models.CharField(max_length=64, blank=True, editable=False)
    summary = models.TextField(_("summary"), blank=True)
    # Values as in conversations.types: SettingsRow and TodoRow.
    settings = models.JSONField(_("settings"), default=dict, blank=True)
    todo = models.JSONField(_("to-do list"), default=list, blank=True)
    remote_id = models.CharField(
        _("conversation at the other service"),
        max_length=255,
        blank=True,
        help_text=_("Of an assistant that another service answers for, which keeps the history."),
    )
    # The next turn and the next message; whoever starts a turn takes a number and goes on from it.
    next_turn = models.PositiveIntegerField(default=1, editable=False)
    next_seq = models.PositiveIntegerField(default=1, editable=False)

    # What people know one without a title by, where that was read with it.
    shown_name: str = ""

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [
            models.Index(fields=["owner", "-created_at"]),
            models.Index(fields=["owner", "channel", "-updated_at"], name="conversation_recent"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["owner", "alias"],
                condition=~models.Q(alias=""),
                name="conversation_alias_once",
            )
        ]

    def __str__(self) -> str:
        return self.title or self.shown_name or self.id


class Role(models.TextChoices):
    USER = "user", _("User")
    ASSISTANT = "assistant", _("Assistant")
    TOOL = "tool", _("Tool")
    SYSTEM = "system", _("System")


class Message(models.Model):
    """One message. `text` is what the other side got: of an interrupted answer, what was heard."""

    id = models.BigAutoField(primary_key=True)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    turn = models.PositiveIntegerField(_("turn"))
    seq = models.PositiveIntegerField(_("position"))
    role = models.CharField(_("role"), max_length=16, choices=Role.choices)
    text = models.TextField(_("text"), blank=True)
    generated_text = models.TextField(
        _("generated text"), blank=True, help_text=_("Of an interrupted answer: all that was made.")
    )
    is_interrupted = models.BooleanField(_("interrupted"), default=False)
    # Rows as in conversations.types: ToolCallRow on the assistant's messages, ToolResultRow on the
    # tool's, whose text is the output.
    tool_calls = models.JSONField(_("tool calls"), default=list, blank=True)
    tool_result = models.JSONField(_("tool result"), null=True, blank=True)
    confidence = models.FloatField(_("confidence"), null=True, blank=True)
    start_ms = models.PositiveIntegerField(
        _("start (ms)"), null=True, help_text=_("From the start of the call.")
    )
    end_ms = models.PositiveIntegerField(_("end (ms)"), null=True)
    # AttachmentRow: what was sent along with the user's words.
    attachments = models.JSONField(_("attachments"), default=list, blank=True)
    model_name = models.CharField(_("model"), max_length=200, blank=True)
    input_tokens = models.PositiveIntegerField(_("input tokens"), default=0)
    output_tokens = models.PositiveIntegerField(_("output tokens"), default=0)
    metrics = models.JSONField(_("times (ms)"), default=dict, blank=True)
    error = models.CharField(_("error"), max_length=500, blank=True)
    # CitationRow: the passages that were put before the model for this answer.
    citations = models.JSONField(_("sources"), default=list, blank=True)
    knowledge_note = models.CharField(
        _("note on the search"),
        max_length=500,
        blank=True,
        help_text=_("What the search in the knowledge went without."),
    )
    apology = models.CharField(
        _("apology"),
        max_length=500,
        blank=True,
        default="",
        help_text=_("Of an answer that failed: what was shown behind its text."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering: ClassVar = ["seq"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["conversation", "seq"], name="message_seq_once")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["created_at"], name="message_failed", condition=~models.Q(error="")
            ),
            models.Index(
                fields=["-created_at"], name="message_of_tool", condition=models.Q(role="tool")
            ),
            # What answers took, read without the messages themselves, which are long.
            models.Index(
                fields=["conversation", "created_at"],
                include=["model_name", "input_tokens", "output_tokens"],
                name="message_usage",
                condition=models.Q(role="assistant") & ~models.Q(model_name=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.text[:80]}"

    @property
    def shown_text(self) -> str:
        """All that was shown of an answer in a chat: its text, and the apology where it failed."""
        return "\n\n".join(part for part in (self.text, self.apology) if part)

    def entry(self) -> MessageEntry:
        """The message without the row, as `conversations.history` reads it."""
        return MessageEntry(
            turn=self.turn,
            role=cast(StoredRole, self.role),
            text=self.text,
            generated_text=self.generated_text,
            is_interrupted=self.is_interrupted,
            tool_calls=tuple(ToolCall(**call) for call in self.tool_calls),
            outcome=ToolOutcome.of(self.tool_result) if self.tool_result else None,
            confidence=self.confidence,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            attachments=tuple(self.attachments),
            model_name=self.model_name,
            usage=Usage(self.input_tokens, self.output_tokens),
            metrics=self.metrics,
            error=self.error,
            citations=tuple(Citation(**row) for row in self.citations),
            knowledge_note=self.knowledge_note,
            apology=self.apology,
            at=self.created_at,
        )


class ToolMessages(models.Manager[Message]):
    """What answered the calls of tools."""

    def get_queryset(self) -> models.QuerySet[Message]:
        return super().get_queryset().filter(role=Role.TOOL)


class ToolUse(Message):
    """A call of a tool, as the message that answered it."""

    objects: ClassVar[Any] = ToolMessages()

    class Meta:
        proxy = True
        verbose_name = _("tool call")
        verbose_name_plural = _("tool calls")
        ordering: ClassVar = ["-created_at", "-id"]

    def __str__(self) -> str:
        return str((self.tool_result or {}).get("name", self.pk))
