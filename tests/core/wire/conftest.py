from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from core import outbound
from core.wire import Wire


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on both kinds of event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def loopback(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    settings.OUTBOUND_RULES_SOURCE = ""
    outbound.forget_operator_rules()


def timers() -> int:
    """Timers that are still to come; uvloop does not tell."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return sum(not handle.cancelled() for handle in scheduled)


@pytest.fixture
async def client() -> AsyncIterator[Wire]:
    """A client of this test, which must leave nothing behind."""
    # Tasks and timers of the test's own machinery.
    tasks, before = len(asyncio.all_tasks()), timers()
    made = Wire()
    yield made
    await made.close()
    await asyncio.sleep(0)
    assert timers() <= before
    assert len(asyncio.all_tasks()) <= tasks
    # What this test made is young; all else in the process would take half a second.
    gc.collect(1)
