"""Limits hold over all doors and processes; without Redis they are off and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts import limits, tickets
from accounts.limits import VoiceSlots, _Rate, _Windows
from accounts.models import User
from accounts.principals import Principal, principal_for_user
from config.supervisor.process import free_port
from core import window
from core.errors import RateLimited, Unauthenticated, Unavailable
from core.redis import redis_async, redis_sync
from tests.conftest import client_with, make_key
from tests.core.test_families import FAMILIES, message_of
from tests.core.urls import PREFIXES

pytestmark = pytest.mark.urls("tests.core.urls")


TAKE = window.take_sync


def counted(family: str = "platform") -> str:
    return f"{PREFIXES[family]}-counted"


def set_clock(monkeypatch: pytest.MonkeyPatch, at_s: float) -> None:
    """Has windows see this time, in seconds since a moment at the beginning of a second."""
    take = partial(TAKE, now=1_900_000_000 + at_s)
    monkeypatch.setattr(window, "take_sync", take)


@pytest.fixture
def five_a_minute(settings: Any) -> None:
    settings.PLATFORM_REQUESTS_PER_MINUTE = 5


@pytest.fixture
def redis_away(settings: Any) -> Iterator[None]:
    """Redis is not there; nobody listens on its port."""

    def forget() -> None:
        redis_sync.cache_clear()
        limits.windows._skip_until = 0.0

    original = settings.REDIS_URL
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    forget()
    yield
    settings.REDIS_URL = original
    forget()


# --- Requests a minute -------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("five_a_minute")
def test_it_stops_at_the_limit_in_the_familys_shape(alice: User, family: str) -> None:
    client = client_with(make_key(alice, requests_per_minute=5))
    assert {client.get(counted(family)).status_code for _number in range(5)} == {200}
    response = client.get(counted(family))
    message_of(response, family, 429)
    assert 1 <= int(response["Retry-After"]) <= 61


@pytest.mark.usefixtures("five_a_minute")
def test_it_counts_each_credential_for_itself(alice: User, alice_api: APIClient) -> None:
    other = client_with(make_key(alice))
    for _number in range(5):
        assert alice_api.get(counted()).status_code == 200
    assert alice_api.get(counted()).status_code == 429
    assert other.get(counted()).status_code == 200


@pytest.mark.usefixtures("five_a_minute")
def test_it_counts_both_headers_together(alice_key: str) -> None:
    doors = [
        APIClient(HTTP_AUTHORIZATION=f"Bearer {alice_key}"),
        APIClient(HTTP_X_API_KEY=alice_key),
    ]
    statuses = [doors[number % 2].get(counted()).status_code for number in range(6)]
    assert statuses == [200] * 5 + [429]


def test_it_takes_a_keys_own_number_instead_of_the_default(alice: User, settings: Any) -> None:
    settings.PLATFORM_REQUESTS_PER_MINUTE = 2
    generous = client_with(make_key(alice, requests_per_minute=4))
    plain = client_with(make_key(alice))
    assert [generous.get(counted()).status_code for _number in range(5)] == [200] * 4 + [429]
    assert [plain.get(counted()).status_code for _number in range(3)] == [200] * 2 + [429]


def test_it_counts_the_gateway_apart(alice: User) -> None:
    client = client_with(make_key(alice, requests_per_minute=2))
    for family, statuses in (("platform", [200, 200, 429]), ("gateway", [200, 200, 429])):
        assert [client.get(counted(family)).status_code for _number in range(3)] == statuses
    assert client.get(counted("tasks")).status_code == 429


@pytest.mark.usefixtures("five_a_minute")
def test_it_lets_requests_in_again_as_the_window_moves(
    alice_api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = []
    for at_s in (0, 30, 30, 30, 30, 45, 61, 61):
        set_clock(monkeypatch, at_s)
        statuses.append(alice_api.get(counted()).status_code)
    assert statuses == [200, 200, 200, 200, 200, 429, 200, 429]


def test_it_counts_what_all_processes_let_in_together() -> None:
    # Another process has its own objects.
    waits = [limits.hit("group", "who", 3), _Windows().take(_Rate(3, 60), "group:who")]
    waits += [limits.hit("group", "who", 3) for _number in range(2)]
    assert [wait_s is None for wait_s in waits] == [True, True, True, False]
    assert limits.hit("group", "somebody else", 3) is None
    assert limits.hit("another group", "who", 3) is None


def test_it_lets_no_more_in_than_there_is_room_for_in_a_race() -> None:
    with ThreadPoolExecutor(10) as threads:
        waits = list(threads.map(lambda _number: limits.hit("group", "who", 20), range(50)))
    assert waits.count(None) == 20


def test_it_weighs_what_is_asked_and_says_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at(seconds: float, cost: int) -> float | None:
        set_clock(monkeypatch, seconds)
        return limits.hit("tokens", "who", 1000, cost=cost)

    assert at(0, 600) is None
    assert at(10, 300) is None
    # For a little the first has to go, for more the second too; what is refused takes nothing.
    # The second in which something was asked counts as a whole.
    assert at(20, 200) == 41
    assert at(20, 700) == 41
    assert at(20, 701) == 51
    assert at(20, 1001) == 60
    assert at(20, 100) is None
    assert at(60.9, 600) is not None
    assert at(61, 600) is None
    assert at(200, 1000) is None


def test_it_keeps_longer_periods_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    for at_s in (0, 1800, 3500, 3601, 3602):
        set_clock(monkeypatch, at_s)
        waits.append(_Windows().take(_Rate(2, 3600), "attempts"))
    assert waits == [None, None, 101, None, 1799]


def test_it_keeps_nothing_of_who_asks_no_more() -> None:
    limits.hit("group", "who", 3)
    (key,) = redis_sync().scan_iter("limits:*")
    assert 0 < redis_sync().ttl(key) <= 62


@pytest.mark.usefixtures("redis_away")
def test_it_refuses_nobody_without_redis() -> None:
    assert {limits.hit("group", "who", 1) for _number in range(3)} == {None}


@pytest.mark.usefixtures("redis_away")
def test_it_stays_up_without_redis_and_says_so_once(
    alice: User, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits._outage, "_logged_at", float("-inf"))
    client = client_with(make_key(alice, requests_per_minute=2))
    assert {client.get(counted()).status_code for _number in range(5)} == {200}
    said = [record for record in caplog.records if "Redis does not answer" in record.message]
    assert len(said) == 1


# --- Voice sockets -----------------------------------------------------------------------------


async def test_it_lends_as_many_slots_as_allowed(settings: Any) -> None:
    settings.VOICE_SOCKETS_PER_USER = 3
    slots = VoiceSlots()
    held = [await slots.acquire("alice") for _number in range(3)]
    with pytest.raises(RateLimited):
        await slots.acquire("alice")
    await slots.acquire("bob")
    await slots.release("alice", held[0])
    await slots.acquire("alice")
    with pytest.raises(RateLimited):
        await slots.acquire("alice")


async def test_it_lends_no_slot_twice_in_a_race(settings: Any) -> None:
    settings.VOICE_SOCKETS_PER_USER = 10
    results = await asyncio.gather(
        *(VoiceSlots().acquire("alice") for _number in range(50)), return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 10
    assert sum(isinstance(result, RateLimited) for result in results) == 40


async def test_it_takes_back_the_slots_of_a_dead_process(settings: Any) -> None:
    settings.VOICE_SOCKETS_PER_USER = 2
    slots = VoiceSlots()
    dead, alive = await slots.acquire("alice"), await slots.acquire("alice")
    # Half a minute passes: all leases run out, and one holder renews.
    for slot in (dead, alive):
        await redis_async().zincrby("voice:slots:alice", -31, slot)
    await slots.renew("alice", alive)
    await slots.acquire("alice")
    with pytest.raises(RateLimited):
        await slots.acquire("alice")
    assert 0 < await redis_async().ttl("voice:slots:alice") <= 60


@pytest.mark.usefixtures("redis_away")
async def test_it_lends_slots_without_redis() -> None:
    slots = VoiceSlots()
    held = [await slots.acquire("alice") for _number in range(20)]
    await slots.renew("alice", held[0])
    await slots.release("alice", held[0])


# --- Tickets -----------------------------------------------------------------------------------


def somebody() -> Principal:
    return principal_for_user(User(pk=7, username="alice"))


async def test_it_redeems_a_ticket_once() -> None:
    ticket = await tickets.issue(somebody(), None)
    principal = await tickets.redeem(ticket)
    assert (principal.user_id, principal.username) == (7, "alice")
    assert principal.scopes == {"voice"}
    assert principal.assistant_id is None
    with pytest.raises(Unauthenticated):
        await tickets.redeem(ticket)


async def test_it_redeems_a_ticket_once_in_a_race() -> None:
    ticket = await tickets.issue(somebody(), None)
    results = await asyncio.gather(
        *(tickets.redeem(ticket) for _number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, Principal) for result in results) == 1


async def test_it_restricts_a_ticket_to_its_assistant() -> None:
    principal = await tickets.redeem(await tickets.issue(somebody(), "abc"))
    assert principal.assistant_id == "abc"
    again = await tickets.redeem(await tickets.issue(principal, None))
    assert again.assistant_id == "abc"


async def test_it_keeps_a_ticket_a_minute_and_unreadable() -> None:
    ticket = await tickets.issue(somebody(), None)
    (key,) = await redis_async().keys("ticket:*")
    assert ticket not in key
    assert 0 < await redis_async().ttl(key) <= 60
    await redis_async().expire(key, 0)
    with pytest.raises(Unauthenticated):
        await tickets.redeem(ticket)


@pytest.mark.parametrize("ticket", ["", "x", "x" * 10_000, "é", "\0", "*", "../x"])
async def test_it_survives_hostile_tickets(ticket: str) -> None:
    with pytest.raises(Unauthenticated):
        await tickets.redeem(ticket)


@pytest.mark.usefixtures("redis_away")
async def test_it_says_that_tickets_are_unavailable_without_redis() -> None:
    with pytest.raises(Unavailable):
        await tickets.issue(somebody(), None)
    with pytest.raises(Unavailable):
        await tickets.redeem("x")
