"""Secrets at rest: encrypted with Fernet under keys of their own (`FIELD_KEYS`), which rotate."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django import forms
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models

if TYPE_CHECKING:
    TextField = models.TextField[str, str]
    AnyField = models.TextField[Any, Any]
else:
    TextField = AnyField = models.TextField

MASK = "************"


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise ImproperlyConfigured(
            "FIELD_KEYS is not set: stored secrets can be neither read nor written."
        )
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        raise ImproperlyConfigured(f"FIELD_KEYS: {error}") from None


def encrypt(text: str) -> str:
    """The text encrypted under the newest key; an empty text stays empty."""
    return _fernet(tuple(settings.FIELD_KEYS)).encrypt(text.encode()).decode() if text else ""


def decrypt(token: str) -> str:
    """The text behind a token. Raises ImproperlyConfigured when no key of ours opens it."""
    return _opened(token, _fernet(tuple(settings.FIELD_KEYS)).decrypt) if token else ""


def rotate(token: str) -> str:
    """The same secret under the newest key. Raises ImproperlyConfigured as `decrypt` does."""
    return _opened(token, _fernet(tuple(settings.FIELD_KEYS)).rotate) if token else ""


def is_newest(token: str) -> bool:
    """Whether the token is encrypted under the newest key already; so is an empty one."""
    try:
        _fernet(tuple(settings.FIELD_KEYS[:1])).decrypt(token.encode()) if token else b""
    except InvalidToken:
        return False
    return True


def _opened(token: str, use: Callable[[bytes], bytes]) -> str:
    try:
        return use(token.encode()).decode()
    except InvalidToken:
        raise ImproperlyConfigured(
            "A stored secret cannot be decrypted: a key is missing from FIELD_KEYS."
        ) from None


def mask(secret: str) -> str:
    """What may be shown of a secret: that there is one, and its last four characters."""
    if not secret:
        return ""
    return MASK + (secret[-4:] if len(secret) >= 12 else "")


def is_masked(text: str) -> bool:
    """Whether a client sent back what `mask` showed it, which means "keep the stored secret"."""
    return text.startswith(MASK)


class EncryptedTextField(TextField):
    """A text that is encrypted in the database and clear on the instance."""

    description = "Encrypted text"

    def get_prep_value(self, value: Any) -> Any:
        return encrypt(value) if value is not None else None

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        return decrypt(value) if value is not None else None

    def get_lookup(self, lookup_name: str) -> Any:
        # Two encryptions of one text differ, so a comparison in SQL would silently find nothing.
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None


class EncryptedJSONField(AnyField):
    """JSON that is encrypted in the database as a whole, and clear on the instance."""

    description = "Encrypted JSON"
    if TYPE_CHECKING:
        # What django-stubs takes the type of a value from; a TextField's would be a text.
        _pyi_private_set_type: Any
        _pyi_private_get_type: Any
        _pyi_lookup_exact_type: Any

    def get_prep_value(self, value: Any) -> Any:
        return encrypt(json.dumps(value, ensure_ascii=False)) if value is not None else None

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        return json.loads(decrypt(value)) if value is not None else None

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        raise TypeError("secrets are not serialised")

    def formfield(self, **kwargs: Any) -> Any:
        return forms.JSONField(**{"required": not self.blank, "label": self.verbose_name} | kwargs)

    def get_lookup(self, lookup_name: str) -> Any:
        # As of an encrypted text: nothing but null can be compared.
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None
