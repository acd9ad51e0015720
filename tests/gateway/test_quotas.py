"""How much a key may ask, over all processes together."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis.exceptions

from accounts.keyring import KeyRecord
from accounts.models import ApiKey
from accounts.principals import Principal
from core import window
from core.db import in_db
from core.errors import RateLimited
from core.redis import redis_sync
from gateway import budgets, quotas
from gateway.models import UsageDay
from gateway.quotas import Quotas
from tests.conftest import make_key, make_user
from tests.core.test_changes import until


def record(**limits: Any) -> KeyRecord:
    principal = Principal(1, "alice", is_operator=False, scopes=frozenset({"gateway"}), key_id=1)
    fields: dict[str, Any] = {"key_id": 1, "key_name": "k", "requests_per_minute": 60, **limits}
    return KeyRecord(principal=principal, **fields)


async def enter(quotas_: Quotas, key: KeyRecord) -> quotas.Admission:
    return quotas_.try_enter(key) or await quotas_.enter(key)


async def count_admitted(quotas_: Quotas, key: KeyRecord, attempts: int) -> int:
    answers = await asyncio.gather(
        *(enter(quotas_, key) for _number in range(attempts)), return_exceptions=True
    )
    assert all(isinstance(each, (quotas.Admission, RateLimited)) for each in answers)
    return sum(isinstance(each, quotas.Admission) for each in answers)


async def test_it_says_what_is_left_and_when_to_come_back() -> None:
    ours, key = quotas.quotas(), record(requests_per_minute=3)
    admissions = [await enter(ours, key) for _number in range(3)]
    assert [each.remaining for each in admissions] == [2, 1, 0]
    assert {each.limit for each in admissions} == {3}
    assert all(59 <= each.reset_s <= 61 for each in admissions)
    with pytest.raises(RateLimited) as caught:
        await enter(ours, key)
    assert caught.value.retry_after in (60, 61)
    assert caught.value.error_code == "RATE_LIMITED"


async def test_keys_are_counted_apart() -> None:
    ours = quotas.quotas()
    assert await count_admitted(ours, record(requests_per_minute=2), 5) == 2
    assert await count_admitted(ours, record(requests_per_minute=2, key_id=2), 5) == 2


@pytest.mark.parametrize("limit", [60, 1200])
def test_two_loops_share_one_window(limit: int) -> None:
    key, admitted = record(requests_per_minute=limit), []

    async def ask() -> int:
        ours = quotas.quotas()
        total = 0
        for _number in range(10):
            total += await count_admitted(ours, key, limit // 10 + 1)
        return total

    threads = [
        threading.Thread(target=lambda: admitted.append(asyncio.run(ask()))) for _number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What one took ahead may be missing to the other; together they never have more.
    assert limit - limit * quotas._MOST_OF_LIMIT * 2 - 1 <= sum(admitted) <= limit


async def test_a_busy_key_asks_redis_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    take = window.take

    async def counted(*arguments: Any, **options: Any) -> window.Grant:
        taken.append(options["wanted"])
        return await take(*arguments, **options)

    monkeypatch.setattr(window, "take", counted)
    ours = quotas.quotas()
    for key, most in ((record(requests_per_minute=1_000_000), 30), (record(key_id=2), 30)):
        taken.clear()
        for _number in range(30):
            await enter(ours, key)
        assert len(taken) <= most
        assert len(taken) == 30 or key.requests_per_minute > 60


async def test_permits_that_are_not_used_are_given_back() -> None:
    ours, key = quotas.quotas(), record(requests_per_minute=1000)
    for _number in range(5):
        await enter(ours, key)
    account = ours._accounts[key.key_id]
    assert account.permits > 0
    await until(lambda: account.permits == 0)

    def counted() -> int:
        return sum(int(each) for each in redis_sync().hvals("gateway:requests:1"))

    await until(lambda: counted() == 5)


async def test_a_new_limit_holds_at_once() -> None:
    ours = quotas.quotas()
    assert await count_admitted(ours, record(requests_per_minute=2), 5) == 2
    assert await count_admitted(ours, record(requests_per_minute=4), 5) == 2
    assert await count_admitted(ours, record(requests_per_minute=1), 5) == 0


async def test_one_who_stops_waiting_does_not_stop_the_others() -> None:
    ours, key = quotas.quotas(), record(requests_per_minute=10)
    waiting = [asyncio.create_task(enter(ours, key)) for _number in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(each, quotas.Admission) for each in answers) == 4


async def test_without_redis_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(*_arguments: Any, **_options: Any) -> window.Grant:
        raise redis.exceptions.ConnectionError

    ours, key = quotas.quotas(), record(requests_per_minute=2, tokens_per_minute=5)
    assert await count_admitted(ours, key, 5) == 2
    monkeypatch.setattr(quotas, "_REFUSED_FOR_S", 0.0)
    monkeypatch.setattr(window, "take", away)
    monkeypatch.setattr(window, "count", away)
    ours._accounts.clear()
    assert await count_admitted(ours, key, 5) == 5
    ours.spend(key, 100, Decimal(0))
    assert await count_admitted(ours, key, 5) == 5


# --- Tokens ------------------------------------------------------------------------------------


async def test_tokens_of_a_minute_are_counted_after_the_answer() -> None:
    ours, key = quotas.quotas(), record(tokens_per_minute=100)
    await enter(ours, key)
    ours.spend(key, 99, Decimal(0))
    await enter(ours, key)
    ours.spend(key, 1, Decimal(0))
    with pytest.raises(RateLimited) as caught:
        await enter(ours, key)
    assert caught.value.retry_after is not None
    assert 50 <= caught.value.retry_after <= 61


async def test_other_loops_hear_of_spent_tokens() -> None:
    key = record(tokens_per_minute=100)
    ours = quotas.quotas()
    await enter(ours, key)
    ours.spend(key, 100, Decimal(0))

    def asked_elsewhere() -> bool:
        async def ask() -> bool:
            try:
                await enter(quotas.quotas(), key)
            except RateLimited:
                return True
            return False

        return asyncio.run(ask())

    async with asyncio.timeout(10):
        while not await asyncio.to_thread(asked_elsewhere):
            await asyncio.sleep(0.05)


# --- Budgets -----------------------------------------------------------------------------------


def use(key_id: int, *, tokens: int, cost: str = "0", day: datetime | None = None) -> None:
    UsageDay.objects.create(
        day=(day or datetime.now(UTC)).date(),
        key_id=key_id,
        model="m",
        input_tokens=tokens - 1,
        output_tokens=1,
        cost=Decimal(cost),
    )


def make_row() -> ApiKey:
    make_key(make_user("alice"))
    return ApiKey.objects.get()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "limits", [{"monthly_token_budget": 1000}, {"monthly_cost_budget": Decimal("2.50")}]
)
async def test_a_month_has_its_budget(limits: dict[str, Any]) -> None:
    row = await in_db(make_row)
    key = record(key_id=row.pk, **limits)
    ours = quotas.quotas()
    last_month = datetime.now(UTC).replace(day=1) - timedelta(days=1)
    await in_db(lambda: use(row.pk, tokens=5000, cost="50", day=last_month))
    await in_db(lambda: use(row.pk, tokens=999, cost="2.49"))
    await enter(ours, key)
    # Not written yet, but known here.
    ours.spend(key, 1, Decimal("0.01"))
    with pytest.raises(RateLimited) as caught:
        await enter(ours, key)
    assert caught.value.error_code == "budget_exceeded"
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= budgets.MAX_RETRY_AFTER_S
    assert f"{datetime.now(UTC):%Y}" in caught.value.message or datetime.now(UTC).month == 12


@pytest.mark.django_db(transaction=True)
async def test_what_others_wrote_is_learnt_while_a_key_is_used() -> None:
    row = await in_db(make_row)
    key = record(key_id=row.pk, monthly_token_budget=1000, requests_per_minute=100_000)
    ours = quotas.quotas()
    await enter(ours, key)
    await in_db(lambda: use(row.pk, tokens=1000))
    async with asyncio.timeout(10):
        while True:
            try:
                await enter(ours, key)
            except RateLimited:
                break
            await asyncio.sleep(0.05)


@pytest.mark.django_db(transaction=True)
async def test_a_raised_budget_holds_at_once() -> None:
    row = await in_db(make_row)
    await in_db(lambda: use(row.pk, tokens=1000))
    ours = quotas.quotas()
    with pytest.raises(RateLimited):
        await enter(ours, record(key_id=row.pk, monthly_token_budget=1000))
    await enter(ours, record(key_id=row.pk, monthly_token_budget=1001))


@pytest.mark.django_db(transaction=True)
async def test_a_database_that_says_nothing_holds_up_no_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = await in_db(make_row)
    await in_db(lambda: use(row.pk, tokens=900))
    key = record(key_id=row.pk, monthly_token_budget=1000, requests_per_minute=100_000)
    ours = quotas.quotas()
    await enter(ours, key)
    is_back, asked = asyncio.Event(), 0

    async def silent(*_arguments: object) -> dict[int, budgets.Spent]:
        nonlocal asked
        asked += 1
        await is_back.wait()
        return {row.pk: budgets.Spent(0)}

    monkeypatch.setattr(budgets, "in_db", silent)
    monkeypatch.setattr(quotas, "_STALE_AFTER_S", 0.0)
    async with asyncio.timeout(10):
        for _number in range(20):
            await enter(ours, key)
    assert asked == 1
    # What is known holds on, and what is told meanwhile counts.
    ours.spend(key, 100, Decimal(0))
    with pytest.raises(RateLimited):
        await enter(ours, key)
    # What was told lately may not be written, and counts on; what it had before is no more.
    is_back.set()
    month = ours._accounts[row.pk].month
    assert month is not None
    await until(lambda: month.tokens == 100)


async def test_a_month_is_known_at_once_however_much_was_told() -> None:
    month = budgets.Month()
    for number in range(10_000):
        month.tell(budgets.Spent(2, Decimal("0.5")), number / 1000)
    assert (month.tokens, month.cost) == (20_000, Decimal(5_000))
    assert len(month._told) <= 10 / budgets._STEP_S
    # What was told until 5 s is in what the database says, as the database was asked long after.
    month.read(budgets.Spent(10_000, Decimal(2_500)), 5 + budgets.WRITTEN_AFTER_S + budgets._STEP_S)
    assert (month.tokens, month.cost) == (20_000, Decimal(5_000))
    month.read(budgets.Spent(20_000, Decimal(5_000)), 100)
    assert (month.tokens, month.cost) == (20_000, Decimal(5_000))


async def test_a_month_that_is_read_again_at_once_was_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_back, has_answered = asyncio.Event(), False

    async def slow_the_second_time(*_arguments: object) -> dict[int, budgets.Spent]:
        nonlocal has_answered
        if has_answered:
            await is_back.wait()
        has_answered = True
        return {1: budgets.Spent(7)}

    monkeypatch.setattr(budgets, "in_db", slow_the_second_time)
    months, month = budgets.Months(), budgets.Month()
    months.renew({1: month})
    months._reading[1].add_done_callback(lambda _done: months.renew({1: month}))
    await months.learn(1, month)
    assert (month.tokens, has_answered, 1 in months._reading) == (7, True, True)
    assert "cannot be read" not in caplog.text
    is_back.set()
    await months.close()
