"""Stored secrets: unreadable without their keys, readable through a rotation."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError, ImproperlyConfigured

from accounts.models import User
from core import crypto
from providers.models import Llm


def test_it_reads_what_it_wrote(settings: Any) -> None:
    token = crypto.encrypt("sk-秘密")
    assert "秘密" not in token
    assert crypto.encrypt("sk-秘密") != token
    assert crypto.decrypt(token) == "sk-秘密"
    assert crypto.encrypt("") == crypto.decrypt("") == ""


def test_it_reads_old_secrets_while_keys_rotate(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    token = crypto.encrypt("secret")
    settings.FIELD_KEYS = [new, old]
    assert crypto.decrypt(token) == "secret"
    rotated = crypto.rotate(token)
    settings.FIELD_KEYS = [new]
    assert crypto.decrypt(rotated) == "secret"
    with pytest.raises(ImproperlyConfigured, match="FIELD_KEYS"):
        crypto.decrypt(token)


@pytest.mark.parametrize("keys", [[], ["no key"]])
def test_it_says_what_is_wrong_with_the_keys(settings: Any, keys: list[str]) -> None:
    settings.FIELD_KEYS = keys
    with pytest.raises(ImproperlyConfigured, match="FIELD_KEYS"):
        crypto.encrypt("secret")


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("", ""), ("short", "************"), ("sk-1234567890abcd", "************abcd")],
)
def test_it_masks(secret: str, shown: str) -> None:
    assert crypto.mask(secret) == shown
    assert crypto.is_masked(shown) is bool(shown)


def test_it_finds_nothing_by_a_secret(alice: User) -> None:
    Llm.objects.create(name="m", owner=alice, vendor="openai", api_key="sk-secret")
    with pytest.raises((FieldError, TypeError)):
        Llm.objects.filter(api_key="sk-secret").exists()
    assert Llm.objects.filter(api_key__isnull=False).exists()
