"""What an assistant is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext_lazy as _

from core.crypto import EncryptedTextField
from core.models import OwnedQuerySet, OwnedRow
from knowledge.models import KnowledgeBase
from providers.models import Asr, Llm, Voice
from tooling.models import McpServer, Tool

MAX_PASSAGES = 20


class FirstTurn(models.TextChoices):
    BOT = "bot_first", _("The assistant speaks first")
    USER = "user_first", _("The user speaks first")


class Language(models.TextChoices):
    ZH = "zh", _("Chinese")
    EN = "en", _("English")


class KnowledgeMode(models.TextChoices):
    BEFORE = "before", _("Before every answer")
    TOOL = "tool", _("When the model asks for it")


class ConfigMode(models.TextChoices):
    PLATFORM = "platform", _("This platform")
    DIFY = "dify", "Dify"
    FASTGPT = "fastgpt", "FastGPT"
    NONE = "none", _("None")

    @classmethod
    def remote(cls) -> tuple[ConfigMode, ...]:
        """Those of other services, which need an address."""
        return (cls.DIFY, cls.FASTGPT)


class AssistantQuerySet(OwnedQuerySet["Assistant"]):
    """Assistants, and what a list of them shows without a query per row."""

    def for_display(self) -> Self:
        """Adds the ids of tools, knowledge bases and MCP servers, in the order of their choice."""
        assistant = {"assistant_id": OuterRef("pk")}
        tools = Assistant.tools.through.objects.filter(**assistant).order_by("pk")
        bases = Assistant.knowledge_bases.through.objects.filter(**assistant).order_by("pk")
        servers = Assistant.mcp_servers.through.objects.filter(**assistant).order_by("pk")
        return (
            self.select_related("voice__provider", "opener_audio__voice__provider")
            .defer("opener_audio__pcm")
            .annotate(
                tool_ids=ArraySubquery(tools.values("tool_id")),
                knowledge_base_ids=ArraySubquery(bases.values("knowledgebase_id")),
                knowledge_base_id=Subquery(bases.values("knowledgebase_id")[:1]),
                mcp_server_ids=ArraySubquery(servers.values("mcpserver_id")),
            )
        )


class Assistant(OwnedRow):
    """An assistant: what it says, hears, knows and may do. Fields as in the platform API."""

    name = models.CharField(_("name"), max_length=100)
    description = models.CharField(_("description"), max_length=500, blank=True)
    logo_url = models.CharField(_("picture"), max_length=500, blank=True)
    prompt = models.TextField(
        _("prompt"), blank=True, help_text=_("Who the assistant is. {{name}} inserts a variable.")
    )
    language = models.CharField(
        _("language"), max_length=8, choices=Language.choices, default=Language.ZH
    )

    first_turn_mode = models.CharField(
        _("first turn"), max_length=16, choices=FirstTurn.choices, default=FirstTurn.BOT
    )
    opener = models.TextField(
        _("opener"), blank=True, help_text=_("What the assistant says first.")
    )
    generated_opener_enabled = models.BooleanField(
        _("let the model write the opener"), default=False
    )
    manual_opener_tool_calls = models.JSONField(
        _("tool calls after the opener"),
        default=list,
        blank=True,
        help_text=_('A list of {"toolName": …, "arguments": {…}}.'),
    )
    opener_audio_enabled = models.BooleanField(_("prepare the opener's audio"), default=False)

    llm = models.ForeignKey(
        Llm,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("language model"),
        help_text=_("Empty: the default model."),
    )
    asr = models.ForeignKey(
        Asr,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("speech recogniser"),
        help_text=_("Empty: the default for the language."),
    )
    voice = models.ForeignKey(
        Voice,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("voice"),
        help_text=_("Empty: the default for the language."),
    )
    embedder = models.ForeignKey(
        Llm,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("embedding model"),
    )
    reranker = models.ForeignKey(
        Llm,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("rerank model"),
    )

    voice_output_enabled = models.BooleanField(_("speak answers"), default=True)
    speed = models.FloatField(
        _("speed"), default=1.0, validators=[MinValueValidator(0.5), MaxValueValidator(2)]
    )
    hotwords = ArrayField(
        models.CharField(max_length=100), verbose_name=_("hotwords"), default=list, blank=True
    )
    bot_cannot_be_interrupted = models.BooleanField(_("cannot be interrupted"), default=False)
    interruption_sensitivity_ms = models.PositiveIntegerField(
        _("speech that interrupts (ms)"),
        default=500,
        validators=[MinValueValidator(50), MaxValueValidator(5000)],
    )
    end_of_turn_silence_ms = models.PositiveIntegerField(
        _("silence that ends a turn (ms)"),
        default=500,
        validators=[MinValueValidator(100), MaxValueValidator(3000)],
    )
    asr_interim_enabled = models.BooleanField(_("interim transcripts"), default=False)

    tools = models.ManyToManyField(Tool, blank=True, verbose_name=_("tools"))
    mcp_servers = models.ManyToManyField(McpServer, blank=True, verbose_name=_("MCP servers"))
    knowledge_bases = models.ManyToManyField(
        KnowledgeBase, blank=True, related_name="assistants", verbose_name=_("knowledge bases")
    )
    knowledge_mode = models.CharField(
        _("search knowledge"),
        max_length=8,
        choices=KnowledgeMode.choices,
        default=KnowledgeMode.BEFORE,
        help_text=_("Before every answer suits every model; asking needs one that uses tools."),
    )
    knowledge_limit = models.PositiveIntegerField(
        _("passages"),
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_PASSAGES)],
        help_text=_("At most so many are put before the model."),
    )
    knowledge_min_score = models.FloatField(
        _("least similarity"),
        default=0.3,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text=_(
            "Cosine of question and passage, 0 to 1. A passage below it is left out, unless it "
            "has most of the question's words."
        ),
    )

    enable_memory = models.BooleanField(
        _("remember users"),
        default=False,
        help_text=_(
            "Keeps facts that users with an account tell it, and uses them when they come back. "
            "Each sees and deletes their own."
        ),
    )

    config_mode = models.CharField(
        _("brain"), max_length=16, choices=ConfigMode.choices, default=ConfigMode.PLATFORM
    )
    api_url = models.CharField(_("API address of the brain"), max_length=500, blank=True)
    api_key = EncryptedTextField(_("API key of the brain"), blank=True, default="")

    is_public = models.BooleanField(
        _("public"),
        default=False,
        help_text=_("Anyone with the link may talk to it, without a key."),
    )
    allowed_origins = ArrayField(
        models.CharField(max_length=200),
        verbose_name=_("allowed origins"),
        default=list,
        blank=True,
        help_text=_("Of a public assistant, as https://host. Empty: this server's own pages."),
    )
    call_count = models.PositiveIntegerField(_("calls"), default=0, editable=False)

    objects = AssistantQuerySet.as_manager()

    class Meta:
        verbose_name = _("assistant")
        verbose_name_plural = _("assistants")
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    def set_tools(self, tool_ids: Sequence[str]) -> None:
        """Replaces the tools; the order is kept, which `tools.set` does not promise."""
        links = Assistant.tools.through.objects
        links.filter(assistant_id=self.pk).delete()
        links.bulk_create(
            Assistant.tools.through(assistant_id=self.pk, tool_id=tool_id) for tool_id in tool_ids
        )

    def set_knowledge_bases(self, knowledge_base_ids: Sequence[str]) -> None:
        """Replaces the knowledge bases; the order is kept."""
        links = Assistant.knowledge_bases.through.objects
        links.filter(assistant_id=self.pk).delete()
        links.bulk_create(
            Assistant.knowledge_bases.through(assistant_id=self.pk, knowledgebase_id=base_id)
            for base_id in knowledge_base_ids
        )

    def set_mcp_servers(self, server_ids: Sequence[str]) -> None:
        """Replaces the MCP servers; the order is kept."""
        links = Assistant.mcp_servers.through.objects
        links.filter(assistant_id=self.pk).delete()
        links.bulk_create(
            Assistant.mcp_servers.through(assistant_id=self.pk, mcpserver_id=server_id)
            for server_id in server_ids
        )


class OpenerAudio(models.Model):
    """The opener of an assistant, spoken ahead of time."""

    assistant = models.OneToOneField(
        Assistant, models.CASCADE, primary_key=True, related_name="opener_audio"
    )
    # Of the text, the voice and its speed: a change of any makes the audio stale.
    text_hash = models.CharField(max_length=64, blank=True)
    # The voice that spoke; where the assistant names none, the default of that moment.
    voice = models.ForeignKey(Voice, models.SET_NULL, null=True, related_name="+")
    pcm = models.BinaryField(help_text="pcm_s16le, 16 kHz, mono", default=bytes)
    duration_ms = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("opener audio")
        verbose_name_plural = _("opener audio")

    def __str__(self) -> str:
        return self.assistant_id
