"""How much somebody may ask: requests a minute, attempts to sign in, concurrent voice sockets.

All counters are in Redis, so that the limits hold over all processes together. When Redis is away
the limits are off and the API stays up: the log says so once a minute.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import secrets
import time
from typing import Any

import redis.exceptions
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.models import User
from accounts.principals import Principal
from core.errors import RateLimited
from core.families import Gateway, family_for
from core.redis import Outage, redis_async, redis_sync

logger = logging.getLogger(__name__)
_outage = Outage("requests are not limited until it is back")

# While Redis is away, do not let every request wait for its time-out.
_SKIP_AFTER_FAILURE_S = 5.0


# What was asked within the last period, oldest first, each with what it counts for; and their sum.
# One step, so that processes cannot take the same room twice. The clock is the caller's.
_TAKE = """
local now, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local limit, cost = tonumber(ARGV[3]), tonumber(ARGV[4])
local taken = tonumber(redis.call('GET', KEYS[2]) or 0)
local function of(entry)
  local at, count = string.match(entry, '(%d+):(%d+)')
  return tonumber(at), tonumber(count)
end
while true do
  local oldest = redis.call('LINDEX', KEYS[1], 0)
  if not oldest then taken = 0 break end
  local at, count = of(oldest)
  if at + period > now then break end
  redis.call('LPOP', KEYS[1])
  taken = taken - count
end
local wait, reset = 0, period
if taken + cost <= limit then
  taken = taken + cost
  redis.call('RPUSH', KEYS[1], ARGV[1] .. ':' .. ARGV[4])
else
  wait = period
  local missing = taken + cost - limit
  if cost <= limit then
    -- Each counts for one at least: so many of them are always enough.
    for _, entry in ipairs(redis.call('LRANGE', KEYS[1], 0, missing - 1)) do
      local at, count = of(entry)
      missing = missing - count
      if missing <= 0 then wait = at + period - now break end
    end
  end
  local newest = redis.call('LINDEX', KEYS[1], -1)
  reset = newest and of(newest) + period - now or 0
end
redis.call('SET', KEYS[2], taken, 'PX', period)
redis.call('PEXPIRE', KEYS[1], period)
return {wait, math.max(0, limit - taken), reset}
"""
_MINUTE_S, _HOUR_S = 60, 3600


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Whether there was room: `wait_s` is None, or how long until there is enough.

    `remaining` is the room that is left, `reset_s` how long until all of it is there again.
    """

    wait_s: float | None
    remaining: int
    reset_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Rate:
    """So many within any period of that length."""

    limit: int
    period_s: int

    @property
    def open(self) -> Verdict:
        """The verdict of nobody: Redis is away."""
        return Verdict(None, self.limit, 0.0)


class _Windows:
    """Moving windows: exact, one for all processes, with no burst at an edge."""

    def __init__(self) -> None:
        self._skip_until = 0.0

    def take(self, rate: _Rate, name: str, *, cost: int = 1) -> Verdict:
        """Takes room for `cost`, or none where there is not enough. Never raises."""
        if self.is_away():
            return rate.open
        try:
            script = redis_sync().register_script(_TAKE)
            return _verdict(script(*_arguments(rate, name, cost)))
        except redis.exceptions.RedisError as error:
            self.failed(error)
            return rate.open

    async def take_async(self, rate: _Rate, name: str, *, cost: int = 1) -> Verdict:
        """As `take`, on the event loop."""
        if self.is_away():
            return rate.open
        try:
            script = redis_async().register_script(_TAKE)
            return _verdict(await script(*_arguments(rate, name, cost)))
        except redis.exceptions.RedisError as error:
            self.failed(error)
            return rate.open

    def is_away(self) -> bool:
        """Whether Redis failed a moment ago, so that it is not asked."""
        return time.monotonic() < self._skip_until

    def failed(self, error: redis.exceptions.RedisError) -> None:
        """Redis did not answer: nothing is limited for a while."""
        self._skip_until = time.monotonic() + _SKIP_AFTER_FAILURE_S
        _outage.report(error)


def _arguments(rate: _Rate, name: str, cost: int) -> tuple[list[str], list[int]]:
    """Keys and values of the script; times are in milliseconds."""
    key = f"limits:{name}:{rate.period_s}"
    now_ms = int(time.time() * 1000)
    return [key, f"{key}:sum"], [now_ms, rate.period_s * 1000, rate.limit, cost]


def _verdict(answer: Any) -> Verdict:
    wait_ms, remaining, reset_ms = answer
    return Verdict(wait_ms / 1000 if wait_ms else None, remaining, reset_ms / 1000)


windows = _Windows()


async def hit(group: str, who: str, per_minute: int, *, cost: int = 1) -> Verdict:
    """Counts a request of somebody, or what else it costs, against a limit a minute.

    Groups are counted apart. What is refused does not count. Without Redis nothing is refused.
    """
    return await windows.take_async(_Rate(per_minute, _MINUTE_S), f"{group}:{who}", cost=cost)


def hit_sync(group: str, who: str, per_minute: int, *, cost: int = 1) -> Verdict:
    """As `hit`, for synchronous code; both count together."""
    return windows.take(_Rate(per_minute, _MINUTE_S), f"{group}:{who}", cost=cost)


def who(principal: Principal) -> str:
    """Whose requests are counted together: those of a key, or those of a user without one."""
    return f"key:{principal.key_id}" if principal.key_id else f"user:{principal.user_id}"


def requests_per_minute(principal: Principal) -> int:
    """How often the credential may ask on the platform."""
    own = principal.requests_per_minute
    return settings.PLATFORM_REQUESTS_PER_MINUTE if own is None else own


class CredentialThrottle(BaseThrottle):
    """Requests a minute per credential, counted apart for `/api/v1` and `/v1`.

    How often a log may be polled is counted by `accounts.polls`.
    """

    def __init__(self) -> None:
        self._wait_s: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        principal = request.auth
        if not isinstance(principal, Principal):
            return True
        self._wait_s = self.wait_of(principal, request)
        return self._wait_s is None

    def wait_of(self, principal: Principal, request: Request) -> float | None:
        """Counts the request; None where there was room for it, else when there is some."""
        group = "gateway" if family_for(request.path_info) is Gateway else "api"
        return hit_sync(group, who(principal), requests_per_minute(principal)).wait_s

    def wait(self) -> float | None:
        return None if self._wait_s is None else math.ceil(self._wait_s)


# --- Attempts to sign in or up -----------------------------------------------------------------

_LOGINS = (_Rate(20, _MINUTE_S), _Rate(200, _HOUR_S))
# Guesses at one account from many addresses.
_LOGINS_TO_ACCOUNT = (_Rate(40, _MINUTE_S), _Rate(100, _HOUR_S))
_REGISTRATIONS = (_Rate(30, _HOUR_S),)


def _limit(rates: tuple[_Rate, ...], action: str, who: str) -> None:
    for rate in rates:
        wait_s = windows.take(rate, f"{action}:{who}").wait_s
        if wait_s is not None:
            raise _too_many(wait_s)


def _too_many(wait_s: float) -> RateLimited:
    text = _("Too many attempts; try again later.")
    return RateLimited(text, retry_after=math.ceil(wait_s))


def limit_logins(address: str, user_name: str) -> None:
    """Counts an attempt to sign in, by address and by account, whichever door it comes through.

    Raises RateLimited. Unknown names count like known ones: nothing tells which exist.
    """
    _limit(_LOGINS, "login", address)
    account = hashlib.sha256(User.normalize_username(user_name).casefold().encode()).hexdigest()
    _limit(_LOGINS_TO_ACCOUNT, "login-to", account)


def address_of(request: HttpRequest | Request) -> str:
    """The caller's address; behind a trusted proxy the one that the proxy tells."""
    return str(request.META.get("REMOTE_ADDR") or "unknown")


def limit_registrations(address: str) -> None:
    """Counts an attempt to register from an address. Raises RateLimited."""
    _limit(_REGISTRATIONS, "register", address)


# --- Voice sockets -----------------------------------------------------------------------------

LEASE_S = 30
SOCKETS_PER_STRANGER = 3


def limit_connects(principal: Principal | None, address: str) -> None:
    """Counts a voice socket being opened, by credential, or by address where none is good.

    Allows six a minute for each one that may be open at a time. Raises RateLimited.
    """
    caller = f"address:{address}" if principal is None else who(principal)
    wait_s = hit_sync("voice", caller, 6 * settings.VOICE_SOCKETS_PER_USER).wait_s
    if wait_s is not None:
        raise _too_many(wait_s)


# One step, so that two sockets cannot both take the last slot; the clock is Redis's own.
_ACQUIRE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[3])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]) * 2)
return 1
"""
_RENEW = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[2])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[1]) * 2)
return 1
"""


class VoiceSlots:
    """Concurrent voice sockets per owner, as leases of 30 s: a dead process frees them by itself.

    The holder renews a lease about every 10 s and releases it at the end.
    """

    def _key(self, owner: str) -> str:
        return f"voice:slots:{owner}"

    async def acquire(self, owner: str, *, at_most: int | None = None) -> str:
        """A slot's id. Raises RateLimited when the owner has as many sockets as allowed."""
        slot = secrets.token_hex(8)
        limit = settings.VOICE_SOCKETS_PER_USER
        if at_most is not None:
            limit = min(limit, at_most)
        try:
            granted = await redis_async().eval(_ACQUIRE, 1, self._key(owner), limit, LEASE_S, slot)
        except redis.exceptions.RedisError as error:
            _outage.report(error)
            return slot
        if not granted:
            raise RateLimited(
                _("No more than %(limit)d calls at a time.") % {"limit": limit},
                retry_after=LEASE_S,
            )
        return slot

    async def renew(self, owner: str, slot: str) -> None:
        """Keeps the slot for another lease, also after Redis lost it."""
        try:
            await redis_async().eval(_RENEW, 1, self._key(owner), LEASE_S, slot)
        except redis.exceptions.RedisError as error:
            _outage.report(error)

    async def release(self, owner: str, slot: str) -> None:
        """Gives the slot back."""
        try:
            await redis_async().zrem(self._key(owner), slot)
        except redis.exceptions.RedisError as error:
            _outage.report(error)
