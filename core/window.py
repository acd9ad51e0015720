"""A moving window in Redis: no more than so many in any span, over all processes, exactly.

What was taken is counted in buckets of a second, so that a window costs the same for ten a minute
as for a million. A bucket counts until all of its second is past, which makes a window up to a
second too long, never too short. The clock is Redis's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from core.redis import redis_async, redis_sync

MINUTE_S = 60
# KEYS: the window. ARGV: the limit; how many are wanted; the least that is worth granting; "1" if
# all that is wanted is counted, whatever the limit; in how many seconds those beyond the first are
# used at the latest; how many are given back, and to which second; the span in seconds; the time,
# or "" for Redis's own.
# Answers: granted; left; milliseconds until the least is free; until the oldest is; the second.
SCRIPT = """
local limit, wanted, least = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local hold, returned = tonumber(ARGV[5]), tonumber(ARGV[6])
local span, now = tonumber(ARGV[8]), tonumber(ARGV[9])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local second = math.floor(now)
if returned > 0 then redis.call('HINCRBY', KEYS[1], ARGV[7], -returned) end

local all, buckets, sum = redis.call('HGETALL', KEYS[1]), {}, 0
for i = 1, #all, 2 do
  local at, count = tonumber(all[i]), tonumber(all[i + 1])
  if at < second - span or count <= 0 then
    redis.call('HDEL', KEYS[1], all[i])
  else
    sum = sum + count
    buckets[#buckets + 1] = {at, count}
  end
end

local granted = math.min(wanted, limit - sum)
if ARGV[4] == '1' then granted = wanted elseif granted < least then granted = 0 end
if granted > 0 then
  local late = hold > 0 and granted - 1 or 0
  redis.call('HINCRBY', KEYS[1], second, granted - late)
  if late > 0 then redis.call('HINCRBY', KEYS[1], second + hold, late) end
  redis.call('EXPIRE', KEYS[1], span + 2 + hold)
  buckets[#buckets + 1] = {second, granted}
  sum = sum + granted
end

table.sort(buckets, function(a, b) return a[1] < b[1] end)
local free, wait = limit - sum, 0
if free < least then
  wait = span
  for _, bucket in ipairs(buckets) do
    free = free + bucket[2]
    if free >= least then
      wait = bucket[1] + span + 1 - now
      break
    end
  end
end
local reset = #buckets > 0 and buckets[1][1] + span + 1 - now or 0
return {granted, limit - sum, math.ceil(wait * 1000), math.ceil(reset * 1000), second + hold}
"""
_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class Grant(NamedTuple):
    """What was granted, and how the window stands then.

    `left` is negative where more was counted than allowed. `wait_s`: until what was wanted at least
    is free, 0 where it is. `reset_s`: until the oldest is forgotten. `second`: to which those that
    were not used are given back.
    """

    granted: int
    left: int
    wait_s: float
    reset_s: float
    second: int


@dataclasses.dataclass(frozen=True, slots=True)
class Returned:
    """Permits that were granted and not used."""

    count: int = 0
    second: int = 0


NOTHING = Returned()


async def take(
    window: str,
    limit: int,
    *,
    wanted: int = 1,
    least: int = 1,
    hold_s: int = 0,
    returned: Returned = NOTHING,
    now: float | None = None,
) -> Grant:
    """Takes up to `wanted` permits, but none unless `least` are free. Raises redis's RedisError.

    Those beyond the first may be used within `hold_s`. `now` is for tests.
    """
    return await _run(
        _arguments(
            window, limit, wanted=wanted, least=least, hold_s=hold_s, returned=returned, now=now
        )
    )


async def count(window: str, limit: int, amount: int, *, now: float | None = None) -> Grant:
    """Counts what was used already, beyond the limit, too. Raises redis's RedisError."""
    return await _run(_arguments(window, limit, wanted=amount, is_forced=True, now=now))


def take_sync(
    window: str,
    limit: int,
    *,
    span_s: int = MINUTE_S,
    wanted: int = 1,
    least: int = 1,
    now: float | None = None,
) -> Grant:
    """As `take`, for synchronous code and any span; both count a minute together."""
    client: Any = redis_sync()
    arguments = _arguments(window, limit, wanted=wanted, least=least, span_s=span_s, now=now)
    try:
        return _grant(client.evalsha(_SHA, *arguments))
    except NoScriptError:
        return _grant(client.eval(SCRIPT, *arguments))


async def _run(arguments: tuple[Any, ...]) -> Grant:
    client: Any = redis_async()
    try:
        return _grant(await client.evalsha(_SHA, *arguments))
    except NoScriptError:
        return _grant(await client.eval(SCRIPT, *arguments))


def _arguments(
    window: str,
    limit: int,
    *,
    wanted: int,
    least: int = 1,
    is_forced: bool = False,
    hold_s: int = 0,
    returned: Returned = NOTHING,
    span_s: int = MINUTE_S,
    now: float | None,
) -> tuple[Any, ...]:
    """The number of keys, the keys, and the values of the script."""
    at = "" if now is None else repr(now)
    return (
        1, window, limit, wanted, least, int(is_forced), hold_s, returned.count, returned.second,
        span_s, at,
    )  # fmt: skip


def _grant(answer: Any) -> Grant:
    granted, left, wait_ms, reset_ms, second = answer
    return Grant(granted, left, wait_ms / 1000, reset_ms / 1000, second)
