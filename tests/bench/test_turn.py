"""The benchmark of turns measures; on a small scale, so that it does not rot."""

from __future__ import annotations

from typing import Any

import pytest

from bench import turn
from providers.fakes import Behaviour, FakeUpstream


@pytest.fixture
def vendor(upstream: FakeUpstream) -> str:
    upstream.set_behaviour(Behaviour(reply=turn.ANSWER, tool_call=turn.CALL_JSON))
    return upstream.base_url


async def test_it_measures_both_loops_alone_and_together(
    vendor: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOUND_RULES_SOURCE = ""
    monkeypatch.setattr(turn, "WARM_UP", 1)
    result = await turn.measure(vendor, turns=3, concurrent=4)
    for cost in (result.ours, result.by_hand, result.together, result.by_hand_together):
        assert cost.processor_ms > 0
        assert cost.wall_ms > 0
    assert result.growth > 0
    assert any("sandbox" in line for line in result.lines())
