"""What a reply waits for: its device, and nobody else's."""

from __future__ import annotations

import asyncio

import pytest

from conversations.events import Executor, ToolCalled
from realtime.answering import ClientDevice
from realtime.messages import ToolOutput


def called(executor: Executor, *, waits: bool) -> ToolCalled:
    return ToolCalled("c1", "tool", {}, executor, waits, 15_000)


async def test_a_device_that_is_waited_for_is_heard_once() -> None:
    device = ClientDevice()
    device.expect(called("client", waits=True))
    waiting = asyncio.ensure_future(device.call(called("client", waits=True)))
    await asyncio.sleep(0)
    device.resolve(ToolOutput("c1", "tool", "yes", 200, "ok"))
    assert (await waiting).output == "yes"
    assert device._answers == {}


@pytest.mark.parametrize(("executor", "waits"), [("server", True), ("client", False)])
async def test_nothing_is_kept_for_a_call_that_no_device_answers(
    executor: Executor, waits: bool
) -> None:
    device = ClientDevice()
    device.expect(called(executor, waits=waits))
    assert device._answers == {}
