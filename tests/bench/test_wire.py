"""The benchmark of the streaming client measures; on a small scale, so that it does not rot."""

from __future__ import annotations

import sys
from typing import Any

from bench.programs import running
from bench.wire import measure


async def test_it_measures_every_client(loopback_allowed: None, settings: Any) -> None:
    settings.OUTBOUND_RULES_SOURCE = ""
    with running([sys.executable, "-m", "bench.wire", "--serve"], until="ready") as vendor:
        port = int(vendor.ready_line.split()[1])
        results = await measure(port, requests=20, streams=4, concurrent=2)
    assert list(results) == ["sockets", "core.wire", "httpx"]
    assert all(result.request.processor_us > 0 for result in results.values())
