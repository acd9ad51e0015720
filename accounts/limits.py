"""How much somebody may ask: requests a minute, attempts to sign in, concurrent voice sockets.

All counters are in Redis, so that the limits hold over all processes together. When Redis is away
the limits are off and the API stays up: the log says so once a minute.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import time
from functools import lru_cache
from typing import Any

import redis.exceptions
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
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


class Window:
    """A moving window of requests: exact, one for all processes, with no burst at its edge."""

    def __init__(self) -> None:
        self._skip_until = 0.0

    def hit(self, item: RateLimitItem, *identifiers: str) -> int | None:
        """Counts one request; the seconds to wait when it is one too many, else None."""
        if time.monotonic() < self._skip_until:
            return None
        try:
            if _limiter().hit(item, *identifiers):
                return None
            stats = _limiter().get_window_stats(item, *identifiers)
        except redis.exceptions.RedisError as error:
            self._skip_until = time.monotonic() + _SKIP_AFTER_FAILURE_S
            _outage.report(error)
            return None
        return max(1, math.ceil(stats.reset_time - time.time()))


@lru_cache(maxsize=1)
def _limiter() -> MovingWindowRateLimiter:
    pool = redis_sync().connection_pool
    return MovingWindowRateLimiter(
        RedisStorage(settings.REDIS_URL, connection_pool=pool, key_prefix="limits")
    )


_window = Window()


def _requests_per_minute(principal: Principal) -> int:
    own = principal.requests_per_minute
    return settings.PLATFORM_REQUESTS_PER_MINUTE if own is None else own


class CredentialThrottle(BaseThrottle):
    """Requests a minute per credential, counted apart for `/api/v1` and `/v1`."""

    # What is counted together, and how many times the credential's number may be asked.
    group, factor = "api", 1

    def __init__(self) -> None:
        self._wait_s: int | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        principal = request.auth
        if not isinstance(principal, Principal):
            return True
        who = f"key:{principal.key_id}" if principal.key_id else f"user:{principal.user_id}"
        group = "gateway" if family_for(request.path_info) is Gateway else self.group
        item = RateLimitItemPerMinute(self.factor * _requests_per_minute(principal))
        self._wait_s = _window.hit(item, group, who)
        return self._wait_s is None

    def wait(self) -> float | None:
        return self._wait_s


class PollThrottle(CredentialThrottle):
    """Reads of a task's log, which clients are told to ask for several times a second."""

    group, factor = "poll", 10


# --- Attempts to sign in or up -----------------------------------------------------------------

_LOGINS = (RateLimitItemPerMinute(20), RateLimitItemPerHour(200))
# Guesses at one account from many addresses.
_LOGINS_TO_ACCOUNT = (RateLimitItemPerMinute(40), RateLimitItemPerHour(100))
_REGISTRATIONS = (RateLimitItemPerHour(30),)


def _limit(items: tuple[RateLimitItem, ...], action: str, who: str) -> None:
    for item in items:
        if wait_s := _window.hit(item, action, who):
            raise RateLimited(_("Too many attempts; try again later."), retry_after=wait_s)


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
    who = f"address:{address}"
    if principal is not None:
        who = f"key:{principal.key_id}" if principal.key_id else f"user:{principal.user_id}"
    item = RateLimitItemPerMinute(6 * settings.VOICE_SOCKETS_PER_USER)
    if wait_s := _window.hit(item, "voice", who):
        raise RateLimited(_("Too many attempts; try again later."), retry_after=wait_s)


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
