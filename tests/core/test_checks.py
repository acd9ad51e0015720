"""A wrong setting is named at start."""

from __future__ import annotations

from typing import Any

from config.checks import check_outbound_rules


def test_it_names_a_wrong_outbound_rule(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["10.0.0.0/8", "somewhere"]
    (found,) = check_outbound_rules(None)
    assert "OUTBOUND_ALLOW" in found.msg
    assert "somewhere" in found.msg
    settings.OUTBOUND_ALLOW = ["10.0.0.0/8"]
    assert check_outbound_rules(None) == []
