"""A moving window in Redis never lets more through in a minute than it may."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import window
from core.redis import redis_sync
from core.window import Returned

AT = 1_900_000_000.25


async def test_it_grants_up_to_the_limit_and_says_when_more_is_free() -> None:
    grants = [await window.take("w", 3, now=AT + number) for number in range(4)]
    assert [grant.granted for grant in grants] == [1, 1, 1, 0]
    assert [grant.left for grant in grants] == [2, 1, 0, 0]
    assert grants[0].wait_s == 0
    wait_s = grants[-1].wait_s
    assert 57 <= wait_s <= 58
    early = await window.take("w", 3, now=AT + 3 + wait_s - 0.1)
    late = await window.take("w", 3, now=AT + 3 + wait_s)
    assert (early.granted, late.granted) == (0, 1)


async def test_it_grants_a_part_of_what_is_wanted_but_not_less_than_the_least() -> None:
    assert (await window.take("w", 10, wanted=7, now=AT)).granted == 7
    assert (await window.take("w", 10, wanted=7, least=4, now=AT)).granted == 0
    assert (await window.take("w", 10, wanted=7, least=3, now=AT)).granted == 3


async def test_what_is_given_back_is_free_at_once() -> None:
    grant = await window.take("w", 10, wanted=10, hold_s=1, now=AT)
    assert (await window.take("w", 10, now=AT)).granted == 0
    again = await window.take("w", 10, wanted=9, returned=Returned(4, grant.second), now=AT + 0.5)
    assert again.granted == 4


async def test_it_counts_what_was_used_beyond_the_limit() -> None:
    grant = await window.count("w", 100, 250, now=AT)
    assert grant.left == -150
    assert 59 <= grant.wait_s <= 61
    assert (await window.count("w", 100, 0, now=AT + 62)).left == 100


async def test_it_takes_the_clock_of_redis() -> None:
    grants = await asyncio.gather(*(window.take("w", 20) for _number in range(30)))
    assert sum(grant.granted for grant in grants) == 20


async def test_a_window_is_forgotten_by_itself() -> None:
    await window.take("w", 20, wanted=5, hold_s=1)
    assert 0 < redis_sync().ttl("w") <= 63


_STEPS = st.lists(
    st.tuples(
        st.floats(0, 30, allow_nan=False),
        st.integers(1, 12),
        st.booleans(),
        st.floats(0, 1, allow_nan=False, exclude_max=True),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(limit=st.integers(1, 20), steps=_STEPS)
def test_no_minute_has_more_than_the_limit(
    limit: int, steps: list[tuple[float, int, bool, float]]
) -> None:
    """Whatever is wanted when; what is held is used as late as it may be."""
    redis_sync().flushdb()
    used = asyncio.run(_used(limit, steps))
    for start in used:
        assert sum(start <= at < start + 60 for at in used) <= limit


async def _used(limit: int, steps: list[tuple[float, int, bool, float]]) -> list[float]:
    now, used = AT, []
    for pause_s, wanted, is_held, late_s in steps:
        now += pause_s
        hold_s = 1 if is_held else 0
        grant = await window.take("w", limit, wanted=wanted, hold_s=hold_s, now=now)
        if not grant.granted:
            continue
        used.append(now)
        late = grant.granted - 1
        if is_held and late:
            # Half of what was held is given back.
            await window.take(
                "w", limit, wanted=0, returned=Returned(late // 2, grant.second), now=now
            )
            used += [now + late_s] * (late - late // 2)
        else:
            used += [now] * late
    return used


@pytest.mark.parametrize("limit", [0, 5])
async def test_a_limit_that_can_never_be_met_says_a_minute(limit: int) -> None:
    grant = await window.take("w", limit, wanted=9, least=9)
    assert grant.granted == 0
    assert grant.wait_s == 60
