"""What operators allowed, as the guarded client reads it."""

from __future__ import annotations

import ipaddress

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from accounts.models import User
from core.http import parse_rule
from providers.models import OutboundRule
from providers.outbound import operator_rules

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("network", "port", "inside"),
    [
        ("192.168.1.20", None, "192.168.1.20"),
        ("10.0.0.0/8", 11434, "10.1.2.3"),
        ("10.1.2.3/8", 80, "10.255.0.1"),
        ("fd00::/8", None, "fd00::1"),
        ("fd00::5", 8000, "fd00::5"),
        ("fd00::/8", 8000, "fdff::1"),
    ],
)
def test_it_writes_rules_that_the_guard_understands(
    network: str, port: int | None, inside: str
) -> None:
    OutboundRule.objects.create(network=network, port=port)
    (text,) = operator_rules()
    rule = parse_rule(text)
    assert rule.covers(ipaddress.ip_address(inside), port or 1234)
    assert not rule.covers(ipaddress.ip_address("8.8.8.8"), port or 1234)
    assert rule.covers(ipaddress.ip_address(inside), 9) is (port is None)


def test_it_leaves_out_a_rule_that_is_no_address() -> None:
    OutboundRule.objects.create(network="printer.local")
    OutboundRule.objects.create(network="192.168.1.20")
    assert operator_rules() == ("192.168.1.20/32",)


@pytest.mark.parametrize(
    ("network", "port", "stored"),
    [
        ("127.0.0.1:11434", "", ("127.0.0.1", 11434)),
        ("10.0.0.0/8:8080", "", ("10.0.0.0/8", 8080)),
        ("[fd00::5]:8000", "8000", ("fd00::5", 8000)),
        ("192.168.1.20", "", ("192.168.1.20", None)),
        ("192.168.1.20", "80", ("192.168.1.20", 80)),
        ("127.0.0.1:11434", "80", None),
        ("127.0.0.1:99999", "", None),
        ("printer:80", "", None),
    ],
)
def test_it_takes_an_address_with_its_port_in_one_box(
    carol: User, network: str, port: str, stored: tuple[str, int | None] | None
) -> None:
    client = Client()
    client.force_login(carol)
    sent = {"network": network, "port": port, "note": ""}
    answer = client.post(reverse("admin:providers_outboundrule_add"), sent)
    assert answer.status_code == (302 if stored else 200)
    expected = [stored] if stored else []
    assert list(OutboundRule.objects.values_list("network", "port")) == expected


@pytest.mark.parametrize(("network", "is_accepted"), [("10.0.0.0/8", True), ("printer", False)])
def test_it_checks_a_rule_before_it_is_stored(network: str, is_accepted: bool) -> None:
    rule = OutboundRule(network=network)
    if is_accepted:
        rule.full_clean()
        return
    with pytest.raises(ValidationError):
        rule.full_clean()
