"""JSON on one line, for protocols that end a record with a line's end."""

from __future__ import annotations

import json
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
# What JSON leaves as it is and some readers take for a line's end.
_BREAKS = ("\x85", "\u2028", "\u2029")


def one_line(payload: Any) -> str:
    """The payload as compact JSON, without any character at which a reader may split lines."""
    text = _encode(payload)
    if not text.isascii():
        for character in _BREAKS:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text
