from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.tooling.runner.service import Service, serving


@pytest.fixture
async def service(settings: Any) -> AsyncIterator[Service]:
    """A service on loopback that the guard lets us reach."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    settings.OUTBOUND_RULES_SOURCE = ""
    async with serving() as served:
        yield served
