"""What a key may take in a calendar month (UTC), against what it took.

The database knows what was written, which is a moment late; what this process has told since is
added. What other processes have not written yet is missing: a budget may be overrun by that, and by
the requests in flight.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import DatabaseError, InterfaceError
from django.db.models import F, Sum
from django.utils.translation import gettext as _

from accounts.keyring import KeyRecord
from core.db import in_db
from core.errors import RateLimited
from gateway.models import UsageDay

logger = logging.getLogger(__name__)

BUDGET_EXCEEDED = "budget_exceeded"
# Clients obey `Retry-After`: who comes back within the hour learns of a raised budget.
MAX_RETRY_AFTER_S = 3600
# Usage is written this long after it was told, at the latest; until then it may be counted twice.
WRITTEN_AFTER_S = 2.5
# What is told within this is kept as one: many requests a second are summed up for each.
_STEP_S = 0.25
# A database that does not answer within this is taken for away.
_PATIENCE_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    tokens: int = 0
    cost: Decimal = Decimal(0)


@dataclasses.dataclass(slots=True)
class _Told:
    """What was told within one step of time."""

    at: float
    tokens: int = 0
    cost: Decimal = Decimal(0)


@dataclasses.dataclass(slots=True)
class Month:
    """What one key took this month, as far as this process knows.

    `read_at` is when the database was last asked, by the loop's clock; None: never yet. `tokens`
    and `cost` are all that is known: what is written, and what was told since.
    """

    read_at: float | None = None
    tokens: int = 0
    cost: Decimal = Decimal(0)
    _told: deque[_Told] = dataclasses.field(default_factory=deque)

    def tell(self, spent: Spent, now: float) -> None:
        """Adds what a request took."""
        if not self._told or now - self._told[-1].at >= _STEP_S:
            self._told.append(_Told(now))
        last = self._told[-1]
        last.tokens += spent.tokens
        last.cost += spent.cost
        self.tokens += spent.tokens
        self.cost += spent.cost

    def read(self, written: Spent, asked_at: float) -> None:
        """Takes over what the database says, and forgets what must be in it."""
        self.read_at = asked_at
        while self._told and self._told[0].at < asked_at - WRITTEN_AFTER_S - _STEP_S:
            self._told.popleft()
        self.tokens = written.tokens + sum(each.tokens for each in self._told)
        self.cost = written.cost + sum((each.cost for each in self._told), Decimal(0))

    def check(self, record: KeyRecord) -> None:
        """Raises RateLimited with the code budget_exceeded where nothing is left."""
        budget = record.monthly_token_budget
        if budget is not None and self.tokens >= budget:
            text = _("The key has used its %(budget)s tokens of this month; it has new ones on")
            raise _exceeded(text % {"budget": f"{budget:,}"})
        money = record.monthly_cost_budget
        if money is not None and self.cost >= money:
            text = _("The key has used its budget of %(budget)s of this month; it has a new one on")
            raise _exceeded(text % {"budget": money})


class Months:
    """What keys took this month, read anew while they are used. One per event loop.

    No request waits for long: while the database is away, what is known holds on.
    """

    def __init__(self) -> None:
        self._reading: dict[int, asyncio.Task[None]] = {}
        self._is_away = False

    async def learn(self, key_id: int, month: Month) -> None:
        """Has a key's month read before its request goes on, if that can be."""
        self.renew({key_id: month})
        patience_s = 0.0 if self._is_away else _PATIENCE_S
        reading = self._reading[key_id]
        await asyncio.wait((reading,), timeout=patience_s)
        # Another reading of it may have begun meanwhile.
        if not reading.done():
            self._hold_on({key_id: month}, "it does not answer")

    def renew(self, months: dict[int, Month]) -> None:
        """Has the months read in the background; those that are being read are left to that."""
        wanted = {key_id: month for key_id, month in months.items() if key_id not in self._reading}
        if not wanted:
            return
        task = asyncio.get_running_loop().create_task(self._read(wanted))
        self._reading.update(dict.fromkeys(wanted, task))

    async def close(self) -> None:
        """Ends what is being read."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, months: dict[int, Month]) -> None:
        asked_at = time.monotonic()
        try:
            spent = await in_db(spent_this_month, tuple(months))
        except (DatabaseError, InterfaceError) as error:
            self._hold_on(months, repr(error))
        else:
            self._is_away = False
            for key_id, month in months.items():
                month.read(spent[key_id], asked_at)
        finally:
            for key_id in months:
                del self._reading[key_id]

    def _hold_on(self, months: dict[int, Month], reason: str) -> None:
        """Has what is known believed for a while longer."""
        for month in months.values():
            month.read_at = time.monotonic()
        if not self._is_away:
            self._is_away = True
            logger.warning("Budgets cannot be read; what is known holds on: %s", reason)


def has_budget(record: KeyRecord) -> bool:
    return record.monthly_token_budget is not None or record.monthly_cost_budget is not None


def spent_this_month(key_ids: Collection[int]) -> dict[int, Spent]:
    """What the database knows of each key. A unit of database work."""
    rows = (
        UsageDay.objects.filter(key_id__in=key_ids, day__gte=_today().replace(day=1))
        .values("key_id")
        .annotate(tokens=Sum(F("input_tokens") + F("output_tokens")), money=Sum("cost"))
        .values_list("key_id", "tokens", "money")
    )
    found = {key_id: Spent(int(tokens), money) for key_id, tokens, money in rows if key_id}
    return {key_id: found.get(key_id, Spent()) for key_id in key_ids}


def _today() -> date:
    return datetime.now(UTC).date()


def _exceeded(text: str) -> RateLimited:
    now = datetime.now(UTC)
    # The 28th is in every month, and 4 days later is the next.
    start = (now.replace(day=28) + timedelta(days=4)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    wait_s = max(1, int((start - now).total_seconds()))
    message = f"{text} {start:%Y-%m-%d} (UTC)."
    return RateLimited(message, code=BUDGET_EXCEEDED, retry_after=min(wait_s, MAX_RETRY_AFTER_S))
