"""How often a credential may poll a log: ten times as often as it may ask anything else.

Counted in one exact window over all processes (`core.window`), from which each event loop takes a
few polls ahead for every key, so that most polls wait for no answer of Redis. What was taken ahead
counts as late as it may be used; what was not used is given back with the next taking.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict

import redis.exceptions
from rest_framework.request import Request

from accounts.limits import CredentialThrottle, requests_per_minute, who, windows
from accounts.principals import Principal
from core import window
from core.loops import PerLoop
from core.window import NOTHING, Grant, Returned

_FACTOR = 10
# What is taken ahead: for so long, no more than this, and no more than this part of the limit.
_HOLD_S, _MOST_AHEAD, _PART_AHEAD = 8, 16, 100
_MOST_KEYS = 10_000


class PollThrottle(CredentialThrottle):
    """For views of logs, which clients are told to ask for several times a second."""

    def wait_of(self, principal: Principal, request: Request) -> float | None:
        if windows.is_away():
            return None
        try:
            grant = window.take_sync(_window_of(principal), _limit_of(principal))
        except redis.exceptions.RedisError as error:
            windows.failed(error)
            return None
        return None if grant.granted else grant.wait_s


async def may_poll(principal: Principal) -> bool:
    """Counts a poll; False, and nothing is counted, where the limit is reached."""
    return await _POLLS.get().take(principal)


@dataclasses.dataclass(slots=True)
class _Ahead:
    """Polls in hand. `until` is of the monotonic clock, `second` of the window's."""

    limit: int
    count: int = 0
    second: int = 0
    until: float = 0.0

    def give_up(self) -> Returned:
        unused, self.count = Returned(self.count, self.second), 0
        return unused if unused.count else NOTHING


class _Polls:
    """What one event loop has in hand, by window; the latest used of them."""

    def __init__(self) -> None:
        self._ahead: OrderedDict[str, _Ahead] = OrderedDict()

    async def take(self, principal: Principal) -> bool:
        limit, now = _limit_of(principal), time.monotonic()
        ahead = self._ahead_of(_window_of(principal), limit)
        if ahead.count and now < ahead.until and ahead.limit == limit:
            ahead.count -= 1
            return True
        if windows.is_away():
            return True
        wanted = max(1, min(_MOST_AHEAD, limit // _PART_AHEAD))
        try:
            grant: Grant = await window.take(
                _window_of(principal),
                limit,
                wanted=wanted,
                hold_s=_HOLD_S,
                returned=ahead.give_up(),
            )
        except redis.exceptions.RedisError as error:
            windows.failed(error)
            return True
        if not grant.granted:
            return False
        # Another poll may have taken some meanwhile; they stay counted, and are not used.
        ahead.limit, ahead.until = limit, now + _HOLD_S
        ahead.count, ahead.second = grant.granted - 1, grant.second
        return True

    def _ahead_of(self, name: str, limit: int) -> _Ahead:
        ahead = self._ahead.get(name)
        if ahead is None:
            ahead = self._ahead[name] = _Ahead(limit)
            if len(self._ahead) > _MOST_KEYS:
                self._ahead.popitem(last=False)
        else:
            self._ahead.move_to_end(name)
        return ahead


def _window_of(principal: Principal) -> str:
    return f"polls:{who(principal)}"


def _limit_of(principal: Principal) -> int:
    return _FACTOR * requests_per_minute(principal)


async def _nothing_to_close(_polls: _Polls) -> None:
    """Polls in hand are lost for the minute."""


_POLLS: PerLoop[_Polls] = PerLoop(_Polls, _nothing_to_close)
