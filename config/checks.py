"""System checks: settings that can be read but would fail, or be unsafe, later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from core.http import configured_rules


@register(Tags.security)
def check_outbound_rules(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """OUTBOUND_ALLOW can be read; otherwise every outbound request would fail."""
    try:
        configured_rules()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="config.E001")]
    return []


@register(Tags.security, deploy=True)
def check_field_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Stored secrets have a key."""
    if settings.FIELD_KEYS:
        return []
    return [Warning("FIELD_KEYS is not set: no secret can be stored.", id="config.W001")]


@register(Tags.security, deploy=True)
def check_hosts(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The server answers only to its own names."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [Warning("ALLOWED_HOSTS=* lets a stranger choose the host in links.", id="config.W002")]
