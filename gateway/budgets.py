"""What a key may take in a calendar month (UTC), against what it took.

The database knows what was written, which is a moment late; what this process has told since is
added. What other processes have not written yet is missing: a budget may be overrun by that, and by
the requests in flight.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db.models import F, Sum
from django.utils.translation import gettext as _

from accounts.keyring import KeyRecord
from core.errors import RateLimited
from gateway.models import UsageDay

BUDGET_EXCEEDED = "budget_exceeded"
# Clients obey `Retry-After`: who comes back within the hour learns of a raised budget.
MAX_RETRY_AFTER_S = 3600
# Usage is written this long after it was told, at the latest; until then it may be counted twice.
WRITTEN_AFTER_S = 2.5


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    tokens: int = 0
    cost: Decimal = Decimal(0)


@dataclasses.dataclass(slots=True)
class Month:
    """What one key took this month, as far as this process knows.

    `read_at` is when the database was last asked, by the loop's clock; None: never yet.
    """

    written: Spent = Spent()
    read_at: float | None = None
    told: deque[tuple[float, Spent]] = dataclasses.field(default_factory=deque)

    def tell(self, spent: Spent, now: float) -> None:
        """Adds what a request took."""
        self.told.append((now, spent))

    def read(self, written: Spent, asked_at: float) -> None:
        """Takes over what the database says, and forgets what must be in it."""
        self.written, self.read_at = written, asked_at
        while self.told and self.told[0][0] < asked_at - WRITTEN_AFTER_S:
            self.told.popleft()

    def check(self, record: KeyRecord) -> None:
        """Raises RateLimited with the code budget_exceeded where nothing is left."""
        tokens, cost = self.written.tokens, self.written.cost
        for _at, spent in self.told:
            tokens += spent.tokens
            cost += spent.cost
        budget = record.monthly_token_budget
        if budget is not None and tokens >= budget:
            text = _("The key has used its %(budget)s tokens of this month; it has new ones on")
            raise _exceeded(text % {"budget": f"{budget:,}"})
        money = record.monthly_cost_budget
        if money is not None and cost >= money:
            text = _("The key has used its budget of %(budget)s of this month; it has a new one on")
            raise _exceeded(text % {"budget": money})


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
