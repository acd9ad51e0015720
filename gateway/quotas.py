"""How much a key may ask of the gateway: requests and tokens a minute, tokens and cost a month.

Requests are counted in one exact window for all processes (`core.window`). A process takes permits
ahead for what a busy key needs within a moment, so that most requests wait for no answer of Redis;
what it does not use within a second it gives back. A key of less than 400 a minute takes them one
by one. Tokens are counted when they are known: the requests in flight may overrun a limit. Without
Redis nothing is refused by the minute; without the database, what is known of budgets holds on.
Nobody waits for either for long, and the log says so.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from decimal import Decimal
from typing import NamedTuple

import redis.exceptions
from django.utils.translation import gettext as _

from accounts.keyring import KeyRecord
from core import window
from core.errors import RateLimited
from core.loops import PerLoop
from core.redis import Outage, promptly
from core.window import Grant, Returned
from gateway.budgets import Month, Months, Spent, has_budget

logger = logging.getLogger(__name__)
_outage = Outage("requests on the gateway are not limited until it is back")

# For how long permits that were taken ahead may be used.
LEASE_S = 1
# How much of a key's pace is taken ahead, and the most of its limit.
_AHEAD_S, _MOST_OF_LIMIT = 0.2, 1 / 200
# A key that was refused is not asked about again within this.
_REFUSED_FOR_S = 0.1
_TICK_S = 0.25
_BUDGETS_EVERY_S = 1.0
# What is known of tokens and budgets is too old to admit by after this.
_STALE_AFTER_S = 2.0
_ACTIVE_FOR_S = 5.0
_FORGOTTEN_AFTER_S = 180.0


class Admission(NamedTuple):
    """A request may go on. `remaining` are left of `limit` a minute, all of it after `reset_s`."""

    limit: int
    remaining: int
    reset_s: int


@dataclasses.dataclass(slots=True)
class _Account:
    """What one event loop knows of one key. Times are of the monotonic clock."""

    limit: int
    used_at: float
    # Permits in hand.
    permits: int = 0
    second: int = 0
    usable_until: float = 0.0
    leased_at: float = 0.0
    used_of_lease: int = 0
    # What others have left, and how long until all of it is free.
    left: int = 0
    reset_s: int = 0
    refused_until: float = 0.0
    free_at: float = 0.0
    waiting: int = 0
    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    # Tokens of this minute: not yet told to the others, what is left, when there are more.
    token_limit: int | None = None
    untold: int = 0
    tokens_left: int = 0
    tokens_free_at: float = 0.0
    counted_at: float = float("-inf")
    month: Month | None = None


class Quotas:
    """The limits of all keys, as one event loop sees to them."""

    def __init__(self) -> None:
        self._accounts: dict[int, _Account] = {}
        self._months = Months()
        self._budgets_at = 0.0
        self._ticking = asyncio.get_running_loop().create_task(self._tick_for_ever())

    def try_enter(self, record: KeyRecord) -> Admission | None:
        """Admits a request where nothing has to be asked; None: await `enter`."""
        account = self._accounts.get(record.key_id)
        if account is None or not account.permits or account.limit != record.requests_per_minute:
            return None
        now = time.monotonic()
        if now >= account.usable_until:
            return None
        if record.tokens_per_minute is not None and not _has_tokens(account, now):
            return None
        if account.month is not None and not _is_known(account.month, now):
            return None
        if account.month is not None:
            account.month.check(record)
        return _admitted(account, now)

    async def enter(self, record: KeyRecord) -> Admission:
        """Admits a request. Raises RateLimited with the seconds to wait."""
        account = self._account(record)
        await self._check_budget(account, record)
        await self._check_tokens(account, record)
        account.waiting += 1
        try:
            # One asks for all who wait.
            async with account.lock:
                return self.try_enter(record) or await self._lease(account, record)
        finally:
            account.waiting -= 1

    def known(self, record: KeyRecord) -> Admission | None:
        """How the requests of a key stand that was refused, as far as it is known here."""
        account = self._accounts.get(record.key_id)
        if account is None or not account.leased_at:
            return None
        return Admission(account.limit, account.left + account.permits, account.reset_s)

    def spend(self, record: KeyRecord, tokens: int, cost: Decimal) -> None:
        """Counts what an answer took."""
        if record.tokens_per_minute is None and not has_budget(record):
            return
        account = self._account(record)
        account.untold += tokens
        account.tokens_left -= tokens
        if account.month is not None:
            account.month.tell(Spent(tokens, cost), time.monotonic())

    async def close(self) -> None:
        """Ends what goes on in the background. Permits in hand are lost for the minute."""
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        await self._months.close()

    def _account(self, record: KeyRecord) -> _Account:
        now = time.monotonic()
        account = self._accounts.get(record.key_id)
        if account is None:
            account = _Account(record.requests_per_minute, now)
            self._accounts[record.key_id] = account
        account.used_at, account.token_limit = now, record.tokens_per_minute
        account.month = (account.month or Month()) if has_budget(record) else None
        if account.limit != record.requests_per_minute:
            account.limit, account.refused_until = record.requests_per_minute, 0.0
        return account

    # --- Requests ------------------------------------------------------------------------------

    async def _lease(self, account: _Account, record: KeyRecord) -> Admission:
        now = time.monotonic()
        if now < account.refused_until:
            raise _too_many_requests(account, now)
        wanted = _wanted(account, now)
        unused = Returned(account.permits, account.second)
        account.permits = 0
        try:
            grant = await promptly(
                lambda: window.take(
                    f"gateway:requests:{record.key_id}",
                    account.limit,
                    wanted=wanted,
                    hold_s=LEASE_S,
                    returned=unused,
                )
            )
        except redis.exceptions.RedisError as error:
            _outage.report(error)
            return Admission(account.limit, account.limit, 0)
        _take_over(account, grant, now)
        if not grant.granted:
            account.free_at = now + grant.wait_s
            account.refused_until = min(account.free_at, now + _REFUSED_FOR_S)
            raise _too_many_requests(account, now)
        return _admitted(account, now)

    async def _give_back(self, key_id: int, account: _Account) -> None:
        unused, account.permits = Returned(account.permits, account.second), 0
        name = f"gateway:requests:{key_id}"
        await promptly(lambda: window.take(name, account.limit, wanted=0, returned=unused))

    # --- Tokens and budgets --------------------------------------------------------------------

    async def _check_tokens(self, account: _Account, record: KeyRecord) -> None:
        now = time.monotonic()
        if account.token_limit is None or _has_tokens(account, now):
            return
        is_refusal_known = account.tokens_free_at > now
        if not is_refusal_known or now - account.counted_at >= _REFUSED_FOR_S:
            try:
                await self._count_tokens(record.key_id, account, account.token_limit)
            except redis.exceptions.RedisError as error:
                _outage.report(error)
                return
        if account.tokens_left <= 0:
            raise _too_many_tokens(account, time.monotonic())

    async def _count_tokens(self, key_id: int, account: _Account, limit: int) -> None:
        now = time.monotonic()
        untold, account.untold = account.untold, 0
        try:
            grant = await promptly(lambda: window.count(f"gateway:tokens:{key_id}", limit, untold))
        except BaseException:
            account.untold += untold
            raise
        # What was spent meanwhile is not in it.
        account.tokens_left = grant.left - account.untold
        account.tokens_free_at = now + grant.wait_s
        account.counted_at = now

    async def _check_budget(self, account: _Account, record: KeyRecord) -> None:
        month = account.month
        if month is None:
            return
        if not _is_known(month, time.monotonic()):
            await self._months.learn(record.key_id, month)
        month.check(record)

    # --- In the background ---------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                await self._tick(time.monotonic())
            except Exception:
                # The outer edge of a loop that must not end: limits would never be renewed again.
                logger.exception("What keys may still ask could not be brought up to date")

    async def _tick(self, now: float) -> None:
        if now - self._budgets_at >= _BUDGETS_EVERY_S:
            self._budgets_at = now
            self._months.renew(
                {
                    key_id: account.month
                    for key_id, account in self._accounts.items()
                    if account.month is not None and now - account.used_at < _ACTIVE_FOR_S
                }
            )
        try:
            for key_id, account in list(self._accounts.items()):
                await self._tell_others(key_id, account, now)
        except redis.exceptions.RedisError as error:
            _outage.report(error)
        for key_id, account in list(self._accounts.items()):
            if now - account.used_at > _FORGOTTEN_AFTER_S and not account.waiting:
                del self._accounts[key_id]

    async def _tell_others(self, key_id: int, account: _Account, now: float) -> None:
        if account.permits and now >= account.usable_until:
            await self._give_back(key_id, account)
        is_active = account.untold or now - account.used_at < _ACTIVE_FOR_S
        if account.token_limit is not None and is_active:
            await self._count_tokens(key_id, account, account.token_limit)


def _wanted(account: _Account, now: float) -> int:
    """Permits for those who wait, or for what the present pace needs within a moment."""
    pace = account.used_of_lease / max(now - account.leased_at, 0.001)
    ahead = min(math.ceil(pace * _AHEAD_S), int(account.limit * _MOST_OF_LIMIT))
    return max(1, ahead, account.waiting)


def _take_over(account: _Account, grant: Grant, now: float) -> None:
    account.permits, account.second = grant.granted, grant.second
    account.usable_until = now + LEASE_S
    account.leased_at, account.used_of_lease = now, 0
    account.left, account.reset_s = max(0, grant.left), math.ceil(grant.reset_s)


def _admitted(account: _Account, now: float) -> Admission:
    account.permits -= 1
    account.used_of_lease += 1
    account.used_at = now
    return Admission(account.limit, account.left + account.permits, account.reset_s)


def _has_tokens(account: _Account, now: float) -> bool:
    return account.tokens_left > 0 and now - account.counted_at < _STALE_AFTER_S


def _is_known(month: Month, now: float) -> bool:
    return month.read_at is not None and now - month.read_at < _STALE_AFTER_S


def _too_many_requests(account: _Account, now: float) -> RateLimited:
    text = _("The key may ask %(limit)s times a minute.")
    wait_s = max(1, math.ceil(account.free_at - now))
    return RateLimited(text % {"limit": f"{account.limit:,}"}, retry_after=wait_s)


def _too_many_tokens(account: _Account, now: float) -> RateLimited:
    text = _("The key has used its %(limit)s tokens of this minute.")
    wait_s = max(1, math.ceil(account.tokens_free_at - now))
    return RateLimited(text % {"limit": f"{account.token_limit:,}"}, retry_after=wait_s)


_QUOTAS: PerLoop[Quotas] = PerLoop(Quotas, Quotas.close)


def quotas() -> Quotas:
    """The running loop's."""
    return _QUOTAS.get()
