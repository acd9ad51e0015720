"""Which upstream is asked first, and who is left in peace after failures."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import pytest

from gateway.routing import LONGEST_REST_S, REST_S, Health, attempts
from gateway.types import Target
from providers.types import Endpoint, LlmSpec

SPEC = LlmSpec(Endpoint("row", "openai_compatible", "http://127.0.0.1:9/v1", "", "m"), "m")


def target(name: str, *, priority: int = 0, weight: int = 1) -> Target:
    return Target(
        row_id=name,
        route_id=None,
        dialect="chat_completions",
        origin=None,
        model_name="m",
        spec=SPEC,
        priority=priority,
        weight=weight,
    )


def names(targets: list[Target]) -> list[str]:
    return [each.row_id for each in targets]


def test_it_asks_by_priority() -> None:
    late, early = target("late", priority=2), target("early", priority=1)
    assert names(Health().order([late, early], now=0)) == ["early", "late"]


def test_it_shares_requests_by_weight() -> None:
    light, heavy = target("light"), target("heavy", weight=3)
    health = Health()
    firsts = Counter(health.order([light, heavy], now=0)[0].row_id for _ in range(4_000))
    # Three in four; the bounds are nine standard deviations away.
    assert 2_750 < firsts["heavy"] < 3_250


def test_one_that_keeps_failing_rests_and_comes_last() -> None:
    health, flaky, spare = Health(), target("flaky"), target("spare", priority=9)
    for _ in range(2):
        health.failed(flaky, now=0)
    assert names(health.order([flaky, spare], now=0)) == ["flaky", "spare"]
    health.failed(flaky, now=0)
    assert names(health.order([flaky, spare], now=0)) == ["spare", "flaky"]
    assert health.is_resting(flaky, now=REST_S - 1)


def test_after_its_rest_a_single_request_tries_it() -> None:
    health, flaky, spare = Health(), target("flaky"), target("spare", priority=9)
    for _ in range(3):
        health.failed(flaky, now=0)
    later = REST_S + 1
    assert names(health.order([flaky, spare], now=later))[0] == "flaky"
    assert names(health.order([flaky, spare], now=later))[0] == "spare"
    health.succeeded(flaky)
    assert names(health.order([flaky, spare], now=later))[0] == "flaky"


def test_it_rests_longer_each_time_up_to_a_limit() -> None:
    health, flaky = Health(), target("flaky")
    now, rests = 0.0, []
    for _ in range(8):
        health.failed(flaky, now)
        rests.append(next(s for s in itertools.count() if not health.is_resting(flaky, now + s)))
        now += rests[-1]
    assert rests[:5] == [0, 0, REST_S, 2 * REST_S, 4 * REST_S]
    assert max(rests) == LONGEST_REST_S


def test_requests_that_fail_together_make_it_rest_once() -> None:
    health, flaky = Health(), target("flaky")
    for _ in range(50):
        health.failed(flaky, now=0)
    assert not health.is_resting(flaky, now=REST_S)


def test_it_rests_longer_when_the_one_that_tries_it_fails() -> None:
    health, flaky, spare = Health(), target("flaky"), target("spare", priority=9)
    for _ in range(3):
        health.failed(flaky, now=0)
    assert names(health.order([flaky, spare], now=REST_S))[0] == "flaky"
    health.failed(flaky, now=REST_S + 1)
    assert health.is_resting(flaky, now=REST_S + 2 * REST_S)
    assert not health.is_resting(flaky, now=REST_S + 1 + 2 * REST_S)


def test_all_that_rest_are_still_asked_when_nobody_else_is_left() -> None:
    health, one, two = Health(), target("one"), target("two")
    for each in (one, two):
        for _ in range(3):
            health.failed(each, now=0)
    assert sorted(names(health.order([one, two], now=1))) == ["one", "two"]


@pytest.mark.parametrize(("count", "asked"), [(1, 2), (2, 2), (3, 3), (7, 3)])
def test_a_request_is_put_to_a_few_upstreams_at_most(count: int, asked: int) -> None:
    targets = [dataclasses.replace(target("t"), row_id=str(number)) for number in range(count)]
    assert len(attempts(targets)) == asked
