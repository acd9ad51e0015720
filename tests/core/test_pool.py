"""The connection pool under the guarded client, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from core.http import guarded_client
from core.pool import ConnectionPool
from providers.fakes import FakeUpstream, Step


@pytest.fixture
async def client(upstream: FakeUpstream) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=60)
    async with guarded_client(timeout_s=5, limits=limits) as made:
        yield made


def pool_of(client: httpx.AsyncClient) -> ConnectionPool:
    transport: Any = client._transport
    assert isinstance(transport._pool, ConnectionPool)
    return transport._pool


async def test_one_connection_serves_one_request_after_the_other(
    upstream: FakeUpstream, client: httpx.AsyncClient
) -> None:
    for _ in range(5):
        assert (await client.get(f"{upstream.base_url}/models")).status_code == 200

    assert upstream.stats.connections == 1


async def test_our_method_is_the_one_that_is_called(
    upstream: FakeUpstream, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    original = ConnectionPool._assign_requests_to_connections

    def counted(self: ConnectionPool) -> Any:
        calls.append(1)
        return original(self)

    monkeypatch.setattr(ConnectionPool, "_assign_requests_to_connections", counted)
    await client.get(f"{upstream.base_url}/models")

    assert len(calls) >= 2


async def test_requests_beyond_the_limit_wait_their_turn(
    upstream: FakeUpstream, client: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(*(client.get(f"{upstream.base_url}/models") for _ in range(20)))

    assert [answer.status_code for answer in answers] == [200] * 20
    assert upstream.stats.connections <= 4


async def test_surplus_idle_connections_are_closed(
    upstream: FakeUpstream, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(client.get(f"{upstream.base_url}/models") for _ in range(4)))
    monkeypatch.setattr("core.pool._SWEEP_S", 0.0)

    await client.get(f"{upstream.base_url}/models")

    assert len(pool_of(client).connections) <= 2


async def test_a_connection_that_the_server_closed_is_not_used(
    upstream: FakeUpstream, client: httpx.AsyncClient
) -> None:
    await asyncio.gather(*(client.get(f"{upstream.base_url}/models") for _ in range(4)))
    upstream.drop_connections()

    answers = [await client.get(f"{upstream.base_url}/models") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200] * 4


async def test_a_cancelled_request_gives_its_place_free(
    upstream: FakeUpstream, client: httpx.AsyncClient
) -> None:
    upstream.script("models", *(Step(wait_ms=60_000) for _ in range(4)))
    hanging = [asyncio.create_task(client.get(f"{upstream.base_url}/models")) for _ in range(4)]
    await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("models").requests == 4
    )
    waiting = asyncio.create_task(client.get(f"{upstream.base_url}/models"))
    await asyncio.sleep(0)

    for task in hanging:
        task.cancel()
    await asyncio.wait(hanging)

    assert (await waiting).status_code == 200
