"""Public models and their routes, and what requests took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey
from core.models import Timestamped
from providers.models import Llm, LlmType

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

# What the other names of the gateway mean, so that no row can take their place.
ASSISTANT_PREFIX = "assistant:"


class Kind(models.TextChoices):
    CHAT = "chat", _("Chat")
    EMBEDDING = "embedding", _("Embedding")


_TYPE_OF_KIND = {Kind.CHAT: LlmType.TEXT, Kind.EMBEDDING: LlmType.EMBEDDING}


def _price(name: StrOrPromise, **options: Any) -> models.DecimalField[Any, Any]:
    return models.DecimalField(
        name, max_digits=12, decimal_places=4, validators=[MinValueValidator(0)], **options
    )


class PublicModel(Timestamped):
    """A name on the gateway, for everybody whose key allows it."""

    name = models.CharField(
        _("public name"),
        max_length=100,
        unique=True,
        validators=[
            RegexValidator(
                r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$",
                _("Letters, digits and . _ : / - only, beginning with a letter or a digit."),
            )
        ],
        help_text=_("What clients write as “model”."),
    )
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices, default=Kind.CHAT)
    description = models.CharField(_("description"), max_length=500, blank=True)
    is_enabled = models.BooleanField(_("enabled"), default=True)
    max_tokens_cap = models.PositiveIntegerField(
        _("longest answer"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Requests for more tokens are refused. Empty: no limit of ours."),
    )
    price_input = _price(_("price of input"), default=0, help_text=_("For a million tokens."))
    price_output = _price(_("price of output"), default=0, help_text=_("For a million tokens."))
    price_cache_read = _price(
        _("price of cached input"),
        null=True,
        blank=True,
        help_text=_("For a million tokens. Empty: as other input."),
    )
    cache_s = models.PositiveIntegerField(
        _("keep answers for"),
        default=0,
        help_text=_(
            "In seconds; 0: never. Embeddings, and answers to requests with temperature 0, are "
            "then given again to the same request of the same key."
        ),
    )

    class Meta:
        verbose_name = _("public model")
        verbose_name_plural = _("public models")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.name.lower().startswith(ASSISTANT_PREFIX):
            raise ValidationError({"name": _("Names with “assistant:” belong to assistants.")})


class RouteQuerySet(models.QuerySet["Route"]):
    def with_models(self) -> RouteQuerySet:
        """With what they lead to, but for secrets: one that no key opens spoils its route alone."""
        routes = self.select_related("llm__provider", "model")
        return routes.defer("llm__api_key", "llm__provider__api_key")


class Route(Timestamped):
    """A model of the catalogue behind a public name."""

    model = models.ForeignKey(
        PublicModel, models.CASCADE, related_name="routes", verbose_name=_("public model")
    )
    llm = models.ForeignKey(
        Llm, models.CASCADE, related_name="gateway_routes", verbose_name=_("model")
    )
    priority = models.PositiveIntegerField(
        _("priority"), default=0, help_text=_("0 is asked first; higher ones when it fails.")
    )
    weight = models.PositiveIntegerField(
        _("weight"),
        default=1,
        validators=[MinValueValidator(1)],
        help_text=_("Its share among those of the same priority."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    last_error = models.CharField(_("last error"), max_length=500, blank=True, editable=False)
    last_failed_at = models.DateTimeField(_("last failed"), null=True, editable=False)

    objects = RouteQuerySet.as_manager()

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        ordering: ClassVar = ["priority", "-weight", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "llm"], name="one_route_to_a_model"),
            models.CheckConstraint(condition=models.Q(weight__gte=1), name="route_has_weight"),
        ]

    def __str__(self) -> str:
        return f"{self.model} → {self.llm}"

    def clean(self) -> None:
        super().clean()
        if self.llm_id and self.model_id and self.llm.type != _TYPE_OF_KIND[Kind(self.model.kind)]:
            raise ValidationError({"llm": _("A model of another kind than the public name.")})


# Of requests: those that were refused, failed, or broke off after their answer had begun.
FAILED = models.Q(status__gte=400) | ~models.Q(error_type="")


class UsageRecord(models.Model):
    """One request on the gateway and what it took. Names and numbers outlive what they name."""

    request_id = models.CharField(_("request"), max_length=40, primary_key=True)
    key = models.ForeignKey(
        ApiKey, models.DO_NOTHING, null=True, db_constraint=False, verbose_name=_("key")
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        db_constraint=False,
        verbose_name=_("owner"),
    )
    endpoint = models.CharField(_("endpoint"), max_length=24)
    model = models.CharField(_("model"), max_length=200)
    target_row = models.CharField(_("answered by"), max_length=64, blank=True)
    route = models.ForeignKey(
        Route, models.SET_NULL, null=True, db_constraint=False, verbose_name=_("route")
    )
    status = models.PositiveSmallIntegerField(_("status"))
    error_type = models.CharField(_("error"), max_length=64, blank=True)
    error_message = models.CharField(_("message"), max_length=500, blank=True)
    is_streamed = models.BooleanField(_("streamed"), default=False)
    is_aborted = models.BooleanField(_("left by the client"), default=False)
    is_cached = models.BooleanField(_("from the cache"), default=False)
    is_estimated = models.BooleanField(_("estimated"), default=False)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    input_tokens = models.PositiveIntegerField(_("tokens read"), default=0)
    output_tokens = models.PositiveIntegerField(_("tokens written"), default=0)
    cache_read_tokens = models.PositiveIntegerField(_("read from the cache"), default=0)
    cache_write_tokens = models.PositiveIntegerField(_("written to the cache"), default=0)
    latency_ms = models.FloatField(_("took"), default=0, help_text=_("In milliseconds."))
    first_byte_ms = models.FloatField(_("first byte after"), null=True)
    cost = models.DecimalField(_("cost"), max_digits=18, decimal_places=8, default=0)
    created_at = models.DateTimeField(_("time"))

    class Meta:
        verbose_name = _("gateway request")
        verbose_name_plural = _("gateway requests")
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [
            models.Index(fields=["-created_at"], name="gateway_latest"),
            models.Index(fields=["owner", "-created_at"], name="gateway_of_owner"),
            models.Index(fields=["key", "-created_at"], name="gateway_of_key"),
            models.Index(
                fields=["-created_at"],
                condition=models.Q(status__gte=400),
                name="gateway_errors",
            ),
        ]

    def __str__(self) -> str:
        return self.request_id


class UsageDay(models.Model):
    """The sum of a key's requests to a model on a day (UTC), kept when the requests are deleted.

    The key's number stays when the key is deleted: without it two keys would have the same row.
    """

    day = models.DateField(_("day"))
    key = models.ForeignKey(
        ApiKey, models.DO_NOTHING, null=True, db_constraint=False, verbose_name=_("key")
    )
    key_name = models.CharField(_("key"), max_length=120, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        db_constraint=False,
        verbose_name=_("owner"),
    )
    model = models.CharField(_("model"), max_length=200)
    requests = models.PositiveBigIntegerField(_("requests"), default=0)
    errors = models.PositiveBigIntegerField(_("errors"), default=0)
    input_tokens = models.PositiveBigIntegerField(_("tokens read"), default=0)
    output_tokens = models.PositiveBigIntegerField(_("tokens written"), default=0)
    latency_ms = models.FloatField(_("time taken"), default=0)
    cost = models.DecimalField(_("cost"), max_digits=20, decimal_places=8, default=0)

    class Meta:
        verbose_name = _("gateway usage of a day")
        verbose_name_plural = _("gateway usage by day")
        ordering: ClassVar = ["-day"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["day", "key", "model"], nulls_distinct=False, name="one_row_a_day"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["owner", "-day"], name="gateway_days_of_owner")]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"
