from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from tooling.redaction import REDACTED, redact

SECRET = 'sk/+ "é&<=\\%zA9'


def escaped(text: str, letters: str) -> str:
    """The letters as JSON's escapes, as .NET and Go write them inside of JSON."""
    hexadecimal = "04X" if "+" in letters else "04x"
    return "".join(f"\\u{ord(each):{hexadecimal}}" if each in letters else each for each in text)


@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps(text).replace("/", "\\/"),
        html.escape,
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        # Go, and .NET.
        lambda text: escaped(json.dumps(text), "&<>"),
        lambda text: escaped(json.dumps(text)[1:-1].replace('\\"', '"'), "&<>'+`\"").replace(
            "\\u00e9", "\\u00E9"
        ),
    ],
)
def test_it_finds_a_secret_however_it_is_written(write: Callable[[str], str]) -> None:
    small = quote(SECRET, safe="")
    small = "%".join(part[:2].lower() + part[2:] for part in small.split("%"))
    for written in (write(SECRET), small):
        shown = redact(f"before {written} after", [SECRET])
        assert shown.strip('"').startswith("before ")
        assert shown.endswith(" after")
        assert REDACTED in shown
        assert "zA9" not in shown


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "a longer name:"])
@pytest.mark.parametrize("after", ["", ":", ":x", ":more of it"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_it_finds_a_secret_in_base64(
    before: str, after: str, encode: Callable[[bytes], bytes]
) -> None:
    secret = "sk-?>~ÿ-0123456789"
    encoded = encode(f"{before}{secret}{after}".encode()).decode()
    shown = redact(f"Basic {encoded}", [secret])
    assert REDACTED in shown
    left = shown.removeprefix("Basic ").replace(REDACTED, "")
    # What is left belongs to the neighbours, and to one shared character on either side.
    neighbours = encode(before.encode()) + encode(after.encode())
    assert len(left) <= len(neighbours) + 4
    for start in range(len(secret) - 8):
        assert encode(secret[start : start + 6].encode()).decode()[2:6] not in left


def test_it_takes_all_values_longest_first() -> None:
    shown = redact("key abcd, longer abcdefgh, other wxyz", ["abcd", "abcdefgh", "wxyz"])
    assert shown == f"key {REDACTED}, longer {REDACTED}, other {REDACTED}"


def test_it_leaves_texts_without_secrets_and_short_values_alone() -> None:
    text = "nothing abc here: YWJj"
    assert redact(text, []) == text
    assert redact(text, ["", "abc", "long-secret"]) == text
