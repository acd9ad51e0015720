"""Addresses as they are entered."""

from __future__ import annotations

from typing import Any

import pytest

from core.addresses import checked_address, literal_address
from core.errors import InvalidRequest
from core.http import forget_operator_rules
from providers.models import OutboundRule


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "http://api.example.com:8080/v1/{id}?q={q}&lang=zh",
        "https://bücher.example/ü",
        "https://8.8.8.8/",
        "https://[2001:4860:4860::8888]/",
        "HTTPS://API.example.com/",
        "https://example.com./",
        f"https://{'a' * 63}.example.com",
    ],
)
def test_it_takes_public_addresses(db: None, url: str) -> None:
    assert checked_address(f" {url} ", param="url") == url


def test_an_empty_one_stays_empty() -> None:
    assert checked_address("  ", param="url") == ""


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "//example.com",
        "https://",
        "https:///path",
        "ftp://example.com",
        "javascript:alert(1)",
        "https://user@example.com",
        "https://user:password@example.com",
        "https://@example.com",
        "https://example.com/#part",
        "https://example.com\\@127.0.0.1",
        "https://example.com/a b",
        "https://example.com/\u200b",
        "https://example.com:0",
        "https://example.com:65536",
        "https://example.com:x",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://{host}/",
        "https://example.com{x}",
        "https://example..com",
        "https://.example.com",
        f"https://{'a' * 64}.example.com",
        f"https://{'a.' * 127}com",
    ],
)
def test_it_refuses_what_is_no_plain_address(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_address(url, param="url")
    assert caught.value.param == "url"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("LOCALHOST", "127.0.0.1"),
        ("a.localhost.", "127.0.0.1"),
        ("::ffff:7f00:1", "::ffff:7f00:1"),
        ("example.com", None),
        ("localhost.example.com", None),
        ("deadbeef.example", None),
    ],
)
def test_it_reads_hosts_that_are_addresses_without_asking_anybody(
    host: str, address: str | None
) -> None:
    found = literal_address(host)
    assert (found and str(found)) == address


def test_operators_allow_private_addresses_in_the_console(db: None, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    url = "http://10.1.2.3:9000/v1"
    with pytest.raises(InvalidRequest):
        checked_address(url, param="url")
    OutboundRule.objects.create(network="10.0.0.0/8", port=9000)
    forget_operator_rules()
    assert checked_address(url, param="url") == url
    with pytest.raises(InvalidRequest):
        checked_address("http://10.1.2.3/v1", param="url")
