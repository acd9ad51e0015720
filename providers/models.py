"""The model catalogue: language, embedding and rerank models, recognisers and voices."""

from __future__ import annotations

import ipaddress
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.crypto import EncryptedTextField
from core.models import OwnedQuerySet, OwnedRow, Timestamped
from providers.profiles import VENDOR_CHOICES


class Provider(OwnedRow):
    """An account at a vendor: its address and key, shared by the models that name it."""

    name = models.CharField(_("name"), max_length=100)
    vendor = models.CharField(_("vendor"), max_length=32, choices=VENDOR_CHOICES)
    base_url = models.CharField(
        _("base URL"), max_length=500, blank=True, help_text=_("Empty: the vendor's own address.")
    )
    api_key = EncryptedTextField(_("API key"), blank=True, default="")
    is_enabled = models.BooleanField(_("enabled"), default=True)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("provider")
        verbose_name_plural = _("providers")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class CheckedRow(models.Model):
    """What the last test of a model found, shown where the operator looks."""

    last_checked_at = models.DateTimeField(_("last tested"), null=True, editable=False)
    last_check_ok = models.BooleanField(_("last test passed"), null=True, editable=False)
    last_check_message = models.CharField(
        _("last test result"), max_length=500, blank=True, editable=False
    )

    class Meta:
        abstract = True

    def note_check(self, *, is_ok: bool, message: str) -> None:
        """Stores what a test found, unless the row was deleted meanwhile."""
        self.last_checked_at, self.last_check_ok = timezone.now(), is_ok
        self.last_check_message = message[:500]
        type(self)._default_manager.filter(pk=self.pk).update(
            last_checked_at=self.last_checked_at,
            last_check_ok=self.last_check_ok,
            last_check_message=self.last_check_message,
        )


class ModelRow(OwnedRow, CheckedRow):
    """What every model has: a vendor, an address, a key. Blank ones come from the provider."""

    name = models.CharField(_("name"), max_length=100)
    provider = models.ForeignKey(
        Provider,
        models.SET_NULL,
        null=True,
        blank=True,
        verbose_name=_("provider"),
        help_text=_("Gives vendor, address and key where they are empty here."),
    )
    vendor = models.CharField(_("vendor"), max_length=32, choices=VENDOR_CHOICES)
    base_url = models.CharField(_("base URL"), max_length=500, blank=True)
    api_key = EncryptedTextField(_("API key"), blank=True, default="")
    is_enabled = models.BooleanField(_("enabled"), default=True)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class LlmType(models.TextChoices):
    TEXT = "text", _("Text")
    EMBEDDING = "embedding", _("Embedding")
    RERANK = "rerank", _("Rerank")


class Llm(ModelRow):
    """A language, embedding or rerank model. The three share one list in the platform family."""

    type = models.CharField(_("type"), max_length=16, choices=LlmType.choices, default=LlmType.TEXT)
    model_name = models.CharField(
        _("model name"), max_length=200, blank=True, help_text=_("As the vendor calls it.")
    )
    temperature = models.FloatField(
        _("temperature"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(2)],
        help_text=_("0 to 2. Empty: the vendor's default."),
    )
    context_length = models.PositiveIntegerField(
        _("context length"), null=True, blank=True, help_text=_("In tokens.")
    )
    max_output_tokens = models.PositiveIntegerField(
        _("longest answer"), null=True, blank=True, help_text=_("In tokens.")
    )
    supports_thinking = models.BooleanField(
        _("can be told to think"),
        default=False,
        help_text=_("The vendor's API has a switch for it, and the model obeys it."),
    )
    accepts_images = models.BooleanField(_("sees images"), default=False)
    description = models.CharField(_("description"), max_length=500, blank=True)
    aliases = ArrayField(
        models.CharField(max_length=100),
        verbose_name=_("other names"),
        default=list,
        blank=True,
        help_text=_("Clients may ask for it by these too, where no model has the name itself."),
    )
    dimensions = models.PositiveIntegerField(
        _("dimensions"), null=True, blank=True, help_text=_("Embedding models only.")
    )

    class Meta:
        verbose_name = _("language model")
        verbose_name_plural = _("language models")
        ordering: ClassVar = ["name"]


class TypedLlmManager(models.Manager["Llm"]):
    """Rows of one type; new rows get that type."""

    def __init__(self, type_: LlmType) -> None:
        super().__init__()
        self.type = type_

    def get_queryset(self) -> models.QuerySet[Llm]:
        return super().get_queryset().filter(type=self.type)

    def create(self, **kwargs: Any) -> Llm:
        return super().create(**{"type": self.type, **kwargs})


class Embedder(Llm):
    """An embedding model."""

    objects: ClassVar[Any] = TypedLlmManager(LlmType.EMBEDDING)

    class Meta:
        proxy = True
        verbose_name = _("embedding model")
        verbose_name_plural = _("embedding models")


class Reranker(Llm):
    """A rerank model."""

    objects: ClassVar[Any] = TypedLlmManager(LlmType.RERANK)

    class Meta:
        proxy = True
        verbose_name = _("rerank model")
        verbose_name_plural = _("rerank models")


class AsrLanguage(models.TextChoices):
    ZH = "zh", _("Chinese")
    EN = "en", _("English")
    MULTI = "multi", _("Several")


class Asr(ModelRow):
    """A speech recogniser."""

    language = models.CharField(
        _("language"), max_length=8, choices=AsrLanguage.choices, default=AsrLanguage.MULTI
    )
    model_name = models.CharField(_("model name"), max_length=200, blank=True)
    hotwords = ArrayField(
        models.CharField(max_length=100),
        verbose_name=_("hotwords"),
        default=list,
        blank=True,
        help_text=_("Words that the recogniser should expect."),
    )
    enable_punctuation = models.BooleanField(_("punctuation"), default=True)
    enable_normalization = models.BooleanField(_("normalisation"), default=True)

    class Meta:
        verbose_name = _("speech recogniser")
        verbose_name_plural = _("speech recognisers")
        ordering: ClassVar = ["name"]


class Gender(models.TextChoices):
    MALE = "Male", _("Male")
    FEMALE = "Female", _("Female")


class Voice(ModelRow):
    """A voice that speaks."""

    gender = models.CharField(
        _("gender"), max_length=8, choices=Gender.choices, default=Gender.FEMALE
    )
    language = models.CharField(_("language"), max_length=16, default="zh")
    description = models.CharField(_("description"), max_length=500, blank=True)
    model = models.CharField(_("model"), max_length=200, blank=True)
    voice_key = models.CharField(
        _("voice key"), max_length=200, blank=True, help_text=_("As the vendor calls the voice.")
    )
    speed = models.FloatField(
        _("speed"), default=1.0, validators=[MinValueValidator(0.5), MaxValueValidator(2)]
    )
    gain = models.FloatField(
        _("gain"),
        default=0,
        validators=[MinValueValidator(-10), MaxValueValidator(10)],
        help_text=_("In decibels."),
    )
    pitch = models.FloatField(
        _("pitch"),
        default=0,
        validators=[MinValueValidator(-12), MaxValueValidator(12)],
        help_text=_("In semitones."),
    )

    class Meta:
        verbose_name = _("voice")
        verbose_name_plural = _("voices")
        ordering: ClassVar = ["name"]


def validate_network(text: str) -> None:
    """Raises ValidationError for what is no address or network."""
    try:
        ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValidationError(_("Expected an address or a network in CIDR form.")) from None


class OutboundRule(Timestamped):
    """A private address that outbound requests may reach. Only operators can add one."""

    network = models.CharField(
        _("network"),
        max_length=64,
        validators=[validate_network],
        help_text=_("An address or CIDR, such as 192.168.1.20 or 10.0.0.0/8."),
    )
    port = models.PositiveIntegerField(
        _("port"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("Empty: every port."),
    )
    note = models.CharField(_("note"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("allowed private address")
        verbose_name_plural = _("allowed private addresses")
        ordering: ClassVar = ["network"]

    def __str__(self) -> str:
        return f"{self.network}:{self.port}" if self.port else self.network
