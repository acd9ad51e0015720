"""How routes and keys stand, for operators: from what was written down, not from memory.

Which routes rest is known to each process alone; what all of them see is the last failure of a
route and whether it answered since.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Sequence
from typing import Literal

from django.db.models import Prefetch, Q, QuerySet

from accounts.models import ApiKey
from gateway.budgets import Spent, spent_this_month
from gateway.directory import problem_of, problem_of_route
from gateway.models import PublicModel, Route, UsageRecord

State = Literal["works", "recovered", "failing", "off"]


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How a route stands. `text` is its last error, or why nothing can take it."""

    state: State
    text: str = ""
    since: datetime.datetime | None = None


def standing_of(route: Route) -> Standing:
    """The route's state; one query where it ever failed."""
    if problem := problem_of_route(route):
        return Standing("off", problem)
    if route.last_failed_at is None:
        return Standing("works")
    answered = UsageRecord.objects.filter(
        route_id=route.pk, created_at__gt=route.last_failed_at, status__lt=400, error_type=""
    )
    state: State = "recovered" if answered.exists() else "failing"
    return Standing(state, route.last_error, route.last_failed_at)


def failing_models() -> list[tuple[PublicModel, str]]:
    """The enabled public names that nobody is answered under, each with why."""
    found = []
    routes = Prefetch("routes", Route.objects.with_models())
    for row in PublicModel.objects.filter(is_enabled=True).prefetch_related(routes):
        if problem := problem_of(row):
            found.append((row, problem))
            continue
        standings = [standing_of(route) for route in row.routes.all()]
        usable = [each for each in standings if each.state != "off"]
        if all(each.state == "failing" for each in usable):
            found.append((row, " ".join(dict.fromkeys(each.text for each in usable))))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Month:
    """What a key took this month (UTC), beside what it may take."""

    key: ApiKey
    spent: Spent

    @property
    def token_share(self) -> float | None:
        """Of its budget of tokens; None without one."""
        return _share(self.spent.tokens, self.key.monthly_token_budget)

    @property
    def cost_share(self) -> float | None:
        """Of its budget of money; None without one."""
        return _share(float(self.spent.cost), self.key.monthly_cost_budget)

    @property
    def is_over(self) -> bool:
        return any(
            share is not None and share >= 1 for share in (self.token_share, self.cost_share)
        )


def _share(taken: float, budget: object) -> float | None:
    if budget is None:
        return None
    most = float(str(budget))
    return taken / most if most else 1.0


def months_of(keys: Iterable[ApiKey]) -> list[Month]:
    """This month of each key, in one query."""
    rows = list(keys)
    spent = spent_this_month([key.pk for key in rows])
    return [Month(key, spent[key.pk]) for key in rows]


def with_budget() -> QuerySet[ApiKey]:
    """The keys that can be used and have a budget."""
    has_one = Q(monthly_token_budget__isnull=False) | Q(monthly_cost_budget__isnull=False)
    return ApiKey.objects.filter(has_one, is_enabled=True)


def spent_keys(most: int) -> Sequence[Month]:
    """Keys that have used up a budget of this month."""
    return [month for month in months_of(with_budget()[: most * 100]) if month.is_over][:most]
