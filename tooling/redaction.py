"""Takes secrets out of what is shown, logged or told to a model. Pure."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

REDACTED = "••••"
# Shorter ones would take common words with them.
MIN_LENGTH = 4
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_GOS = {ord(each): f"\\u{ord(each):04x}" for each in "&<>"}
_PHPS = {ord(each): f"\\u{ord(each):04X}" for each in "&<>'"}
_DOTNETS = {ord(each): f"\\u{ord(each):04X}" for each in "&<>'+`\""}


def redact(text: str, values: Iterable[str]) -> str:
    """The text without the values, also where it has them escaped or in base64.

    Values shorter than four characters are left: they would hit by chance.
    """
    forms = {form for value in values if len(value) >= MIN_LENGTH for form in _forms(value)}
    # Longest first: a form may be a part of another.
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, REDACTED)
    return text


def _forms(value: str) -> Iterator[str]:
    yield value
    yield html.escape(value)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value)[1:-1].replace("/", "\\/")
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield from _in_cautious_json(value)
    for escaped in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield escaped
        yield _with_small_escapes(escaped)
    for position in range(3):
        for encoded in _in_base64(value.encode(errors="replace"), position):
            # What is left of a short one would hit by chance.
            if len(encoded) >= MIN_LENGTH:
                yield encoded


def _in_cautious_json(value: str) -> Iterator[str]:
    """As writers have it that keep JSON harmless inside HTML."""
    plain = json.dumps(value)[1:-1]
    for table in (_GOS, _PHPS):
        yield plain.translate(table)
    # Its hexadecimal digits are capital ones.
    dotnets = plain.replace('\\"', '"')
    yield _ESCAPE.sub(lambda match: "\\u" + match[1].upper(), dotnets).translate(_DOTNETS)


def _with_small_escapes(escaped: str) -> str:
    head, *rest = escaped.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _in_base64(data: bytes, position: int) -> Iterator[str]:
    """The characters that the data alone decides, where it begins that far into a group of three.

    A secret is often encoded together with something else, such as a user's name before it.
    """
    encoded = base64.b64encode(bytes(position) + data).decode()
    first = (0, 2, 3)[position]
    # Of the last group, characters that padding or what follows would share are left out.
    whole_bits = (position + len(data)) * 8
    plain = encoded[first : whole_bits // 6]
    yield plain
    yield plain.translate(str.maketrans("+/", "-_"))
