"""A loop's resources live as long as the loop."""

from __future__ import annotations

import asyncio

import pytest

from core.loops import PerLoop
from core.redis import AsyncRedis, redis_async


class Resource:
    is_closed = False


async def close(resource: Resource) -> None:
    await asyncio.sleep(0)
    resource.is_closed = True


def test_it_makes_one_for_each_loop_and_closes_it_at_the_end() -> None:
    held = PerLoop(Resource, close)

    async def take() -> Resource:
        first = held.get()
        await asyncio.sleep(0)
        assert held.get() is first
        assert not first.is_closed
        return first

    one, two = asyncio.run(take()), asyncio.run(take())
    assert one is not two
    assert one.is_closed
    assert two.is_closed


def test_it_needs_a_loop() -> None:
    with pytest.raises(RuntimeError):
        PerLoop(Resource, close).get()


def test_it_connects_to_redis_from_any_loop() -> None:
    async def ask() -> tuple[AsyncRedis, object]:
        await redis_async().set("word", "值")
        return redis_async(), await redis_async().get("word")

    (first, word), (second, again) = asyncio.run(ask()), asyncio.run(ask())
    assert word == again == "值"
    assert first is not second
