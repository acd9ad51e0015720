"""Identifiers: short, opaque, made from the system's random source."""

from __future__ import annotations

import secrets


def short_id() -> str:
    """Twelve hexadecimal characters (48 random bits): the id of most rows."""
    return secrets.token_hex(6)


def prefixed_id(prefix: str) -> str:
    """`<prefix>_` and 24 hexadecimal characters, for ids that travel in protocols."""
    return f"{prefix}_{secrets.token_hex(12)}"
