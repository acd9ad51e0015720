"""Checks at start: what is configured wrong is said before the first request finds out."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from core.http import configured_rules


@checks.register(checks.Tags.security)
def check_outbound_allow(**options: Any) -> list[checks.CheckMessage]:
    try:
        configured_rules()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="core.E001")]
    return []
