from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core import http
from tests.security.peers import Peer, peers


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server on this machine, which nobody has allowed to reach."""
    with peers(1) as (one,):
        yield one


@pytest.fixture
def two_peers() -> Iterator[list[Peer]]:
    with peers(2) as both:
        yield both


@pytest.fixture(autouse=True)
def no_operator_rules(settings: Any) -> None:
    """Only `OUTBOUND_ALLOW` holds here, which is empty; the console's rules need a database."""
    settings.OUTBOUND_RULES_SOURCE = ""
    http.forget_operator_rules()
