"""Answers that are given again to the same request of the same key, where a model keeps them.

Only what does not change from one time to the next: embeddings, and whole answers of chat to which
temperature 0 was asked for by name. Streams are never kept. What is the same request is decided by
its JSON, not by its bytes; an answer belongs to the upstreams that the model led to, and to how
they were asked, so that a change of the model's routes or rows ends it. All that is kept has a
bound: beyond it, what would end soonest goes first. Without Redis nothing is found and nothing is
kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import redis.exceptions

from accounts.keyring import KeyRecord
from core.redis import Outage, promptly, redis_async
from gateway import metrics
from gateway.exchange import Exchange
from gateway.types import Endpoint, PublicModel

logger = logging.getLogger(__name__)
_outage = Outage("answers of the gateway are not kept until it is back")

# Of a request that is looked up, and of an answer that is kept.
MAX_BYTES = 2**20
# Of all answers that are kept, in Redis, where queues and limits live that may never go.
MOST_BYTES = 128 * 2**20
# What Redis needs for each beside its text.
_BYTES_BESIDE = 512
HEADER = b"x-cache"
_PREFIX = "gateway:answer:"
# The names of what is kept, by when they end; what each takes, and under "" all of them together.
_ENDS, _SIZES = "gateway:answers:ends", "gateway:answers:sizes"
# KEYS: where the answer goes, and these two. ARGV: the answer; for how many seconds; what it takes;
# the most that all may.
_KEEP = """
local name, ends, sizes = KEYS[1], KEYS[2], KEYS[3]
local keep, size, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(redis.call('TIME')[1])
local all = tonumber(redis.call('HGET', sizes, '')) or 0

local function forget(each)
  all = all - (tonumber(redis.call('HGET', sizes, each)) or 0)
  redis.call('DEL', each)
  redis.call('ZREM', ends, each)
  redis.call('HDEL', sizes, each)
end

forget(name)
for _, each in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 1000)) do
  forget(each)
end
while all + size > most do
  local first = redis.call('ZRANGE', ends, 0, 0)[1]
  if not first then
    all = 0
    break
  end
  forget(first)
end
redis.call('SET', name, ARGV[1], 'EX', keep)
redis.call('ZADD', ends, now + keep, name)
redis.call('HSET', sizes, name, size, '', all + size)
"""
# How an answer is sent, and who asks for whom: none of it changes what is answered.
_BESIDE_THE_POINT = ("model", "stream", "stream_options", "user", "metadata")


class Place(msgspec.Struct, frozen=True):
    """Where the answer to one request is kept, and for how long."""

    name: str
    keep_s: int


def place_of(
    record: KeyRecord,
    model: PublicModel,
    endpoint: Endpoint,
    body: bytes | bytearray,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Place | None:
    """Where to look for the answer; None where the model keeps none, or the request is too large.

    `headers` are those that the client has for the vendor. The body is JSON that was found good.
    """
    if not model.cache_s or len(body) > MAX_BYTES:
        return None
    asked = msgspec.json.decode(body)
    for name in _BESIDE_THE_POINT:
        asked.pop(name, None)
    same = (record.key_id, endpoint, model.name, _upstreams(model), repr(headers), asked)
    digest = hashlib.sha256(msgspec.json.encode(same, order="deterministic"))
    return Place(f"{_PREFIX}{digest.hexdigest()}", model.cache_s)


def _upstreams(model: PublicModel) -> list[Any]:
    """What decides about answers beside the request."""
    return [
        model.max_tokens_cap,
        *(
            (target.row_id, target.dialect, repr(target.origin), target.path, repr(target.spec))
            for target in model.targets
        ),
    ]


async def find(place: Place, exchange: Exchange) -> bytes | None:
    """The answer that is kept there. Says by a header whether there was one."""
    kept = await _read(place)
    metrics.looked_up(is_hit=kept is not None)
    exchange.extra.append((HEADER, b"miss" if kept is None else b"hit"))
    return kept


async def _read(place: Place) -> bytes | None:
    try:
        text = await promptly(lambda: redis_async().get(place.name))
    except redis.exceptions.RedisError as error:
        _outage.report(error)
        return None
    return None if text is None else str(text).encode()


async def keep(place: Place, answer: bytes) -> None:
    """Keeps a whole, good answer."""
    if len(answer) > MAX_BYTES:
        return
    try:
        text = answer.decode()
    except UnicodeDecodeError:
        # No JSON, whatever the upstream says.
        return
    size = len(answer) + _BYTES_BESIDE

    async def write() -> None:
        client: Any = redis_async()
        keys = place.name, _ENDS, _SIZES
        await client.eval(_KEEP, len(keys), *keys, text, place.keep_s, size, MOST_BYTES)

    try:
        await promptly(write)
    except redis.exceptions.RedisError as error:
        _outage.report(error)
