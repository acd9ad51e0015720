"""Who is asking: users, their API keys and their refresh tokens."""

from __future__ import annotations

import hashlib
import secrets
from typing import ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Value
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.models import Timestamped

KEY_PREFIX = "sk-gw-"


class Users(UserManager["User"]):
    """Accounts; a name is found in whatever case it is written."""

    use_in_migrations = False

    def named(self, username: str) -> User | None:
        """The account of that name, None without one."""
        wanted = Lower(Value(self.model.normalize_username(username)))
        return self.alias(lower_name=Lower("username")).filter(lower_name=wanted).first()

    def get_by_natural_key(self, username: str | None) -> User:
        """What Django signs in with. Raises User.DoesNotExist."""
        user = self.named(username or "")
        if user is None:
            raise self.model.DoesNotExist
        return user


class User(AbstractUser):
    """An account. Staff are operators: they see and change everything."""

    email = models.EmailField(_("email address"), blank=True)
    avatar = models.CharField(_("avatar"), max_length=500, blank=True)
    description = models.CharField(_("description"), max_length=500, blank=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    objects: ClassVar[Users] = Users()

    class Meta(AbstractUser.Meta):
        constraints: ClassVar = [
            # Alice beside alice could be taken for her.
            models.UniqueConstraint(
                Lower("username"),
                name="user_name_in_any_case",
                violation_error_message=_("This user name is taken."),
            )
        ]

    @property
    def is_operator(self) -> bool:
        return self.is_staff


class Scope(models.TextChoices):
    """What a key may be used for."""

    MANAGE = "manage", _("Manage resources")
    CHAT = "chat", _("Chat")
    TASKS = "tasks", _("Background tasks")
    VOICE = "voice", _("Voice calls")
    GATEWAY = "gateway", _("Model gateway")


def all_scopes() -> list[str]:
    return list(Scope.values)


def hash_key(key: str) -> str:
    """Keys carry 256 random bits, so a plain hash is enough and can be looked up by index."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKey(Timestamped):
    """A credential of a user. The key itself is shown once and never stored."""

    owner = models.ForeignKey(
        User, models.CASCADE, related_name="api_keys", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100)
    prefix = models.CharField(_("visible prefix"), max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(
        models.CharField(max_length=16, choices=Scope.choices),
        verbose_name=_("scopes"),
        default=all_scopes,
        help_text=_("What the key may be used for."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    requests_per_minute = models.PositiveIntegerField(
        _("requests a minute"),
        null=True,
        blank=True,
        help_text=_("Replaces the default of every API. Empty: the defaults hold."),
    )
    allowed_models = ArrayField(
        models.CharField(max_length=200),
        verbose_name=_("allowed models"),
        default=list,
        blank=True,
        help_text=_("Names of models that the key may use on the gateway. Empty: all."),
    )
    monthly_token_budget = models.PositiveBigIntegerField(
        _("tokens a month"), null=True, blank=True, help_text=_("Empty: no limit.")
    )
    tokens_per_minute = models.PositiveIntegerField(
        _("tokens a minute"),
        null=True,
        blank=True,
        help_text=_("On the gateway, read and written together. Empty: no limit."),
    )
    monthly_cost_budget = models.DecimalField(
        _("budget a month"),
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        help_text=_("What requests on the gateway may cost. Empty: no limit."),
    )
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def generate(cls) -> str:
        """A new key: the prefix and 256 random bits."""
        return KEY_PREFIX + secrets.token_urlsafe(32)

    def set_key(self, key: str) -> None:
        self.digest = hash_key(key)
        self.prefix = key[: len(KEY_PREFIX) + 6]

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


class RefreshToken(models.Model):
    """One refresh token of a login. Using one twice revokes its whole family (the login)."""

    jti = models.CharField(max_length=32, primary_key=True)
    family = models.CharField(max_length=32, db_index=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="refresh_tokens")
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.jti
