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
from core import window
from core.errors import RateLimited
from core.families import Gateway, family_for
from core.redis import Outage, redis_async

logger = logging.getLogger(__name__)
_outage = Outage("requests are not limited until it is back")

# While Redis is away, do not let every request wait for its time-out.
_SKIP_AFTER_FAILURE_S = 5.0


_HOUR_S = 3600


@dataclasses.dataclass(frozen=True, slots=True)
class _Rate:
    """So many within any period of that length."""

    limit: int
    period_s: int


class _Windows:
    """Moving windows (`core.window`), which let everything through while Redis is away."""

    def __init__(self) -> None:
        self._skip_until = 0.0

    def take(self, rate: _Rate, name: str, *, cost: int = 1) -> float | None:
        """Takes room for `cost`; where there is not enough, none: how long until there is."""
        if self.is_away():
            return None
        key = f"limits:{name}:{rate.period_s}"
        try:
            grant = window.take_sync(key, rate.limit, span_s=rate.period_s, wanted=cost, least=cost)
        except redis.exceptions.RedisError as error:
            self.failed(error)
            return None
        return None if grant.granted else grant.wait_s

    def is_away(self) -> bool:
        """Whether Redis failed a moment ago, so that it is not asked."""
        return time.monotonic() < self._skip_until

    def failed(self, error: redis.exceptions.RedisError) -> None:
        """Redis did not answer: nothing is limited for a while."""
        self._skip_until = time.monotonic() + _SKIP_AFTER_FAILURE_S
        _outage.report(error)


windows = _Windows()


def hit(group: str, who: str, per_minute: int, *, cost: int = 1) -> float | None:
    """Counts a request of somebody, or what else it costs, against a limit a minute.

    None where there was room for it, else in how many seconds there is. Groups are counted apart.
    What is refused does not count. Without Redis nothing is refused.
    """
    return windows.take(_Rate(per_minute, window.MINUTE_S), f"{group}:{who}", cost=cost)


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
        return hit(group, who(principal), requests_per_minute(principal))

    def wait(self) -> float | None:
        return None if self._wait_s is None else math.ceil(self._wait_s)


# --- Attempts to sign in or up -----------------------------------------------------------------

_LOGINS = (_Rate(20, window.MINUTE_S), _Rate(200, _HOUR_S))
# Guesses at one account from many addresses.
_LOGINS_TO_ACCOUNT = (_Rate(40, window.MINUTE_S), _Rate(100, _HOUR_S))
_REGISTRATIONS = (_Rate(30, _HOUR_S),)


def _limit(rates: tuple[_Rate, ...], action: str, who: str) -> None:
    for rate in rates:
        wait_s = windows.take(rate, f"{action}:{who}")
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
    wait_s = hit("voice", caller, 6 * settings.VOICE_SOCKETS_PER_USER)
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
