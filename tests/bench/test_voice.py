"""The benchmark measures; on a small scale, so that it does not rot."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import uvicorn

from accounts.models import User
from bench.product import Product
from bench.vendors import running_vendors
from bench.voice import FLOOR_MS, Bench, Row, percentile
from core.db import in_db
from providers.catalogue import sync_builtin_models
from realtime import pipeline
from tests.conftest import make_key
from tooling.catalogue import sync_builtin_tools


@pytest.fixture
async def product(
    transactional_db: None, carol: User, loopback_allowed: None, tmp_path: Path
) -> AsyncIterator[Product]:
    """The application, served by this process."""
    from config.asgi import application

    await in_db(sync_builtin_models)
    await in_db(sync_builtin_tools)
    key = await in_db(make_key, carol)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, ws="websockets-sansio", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    yield Product(url, key, psutil.Process(), tmp_path)
    await pipeline.close_all()
    server.should_exit = True
    await serving


def measured(product: Product) -> Row:
    with running_vendors() as vendors:
        return Bench(product, vendors).measure(1, turns=1, interruptions=1)


@pytest.mark.processes
async def test_it_measures_turns_and_interruptions(product: Product) -> None:
    row = await asyncio.to_thread(measured, product)
    assert row.failures == []
    figures = row.figures()
    assert figures["failed"] == "0 of 3"
    assert figures["closed llm, tts"] == "2, 2"
    (waited_ms,) = row.heard_out.findings.voice_to_voice
    # Nobody is faster than the vendors; the windows of speech detection round by half of one.
    assert waited_ms > FLOOR_MS - 20
    (to_silence_ms,) = row.interrupted.findings.to_silence
    assert to_silence_ms > 0


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 5), (90, 9), (95, 10), (100, 10)])
def test_a_percentile_is_one_of_the_values(percent: int, value: int) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == value
