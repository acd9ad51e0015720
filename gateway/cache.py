"""Answers that are given again to the same request of the same key, where a model keeps them.

Only what does not change from one time to the next: embeddings, and whole answers of chat to which
temperature 0 was asked for by name. Streams are never kept. What is the same request is decided by
its JSON, not by its bytes; an answer belongs to the upstreams that the model led to, and to how
they were asked, so that a change of the model's routes or rows ends it. Without Redis nothing is
found and nothing is kept.
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
HEADER = b"x-cache"
_PREFIX = "gateway:answer:"
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
        await promptly(lambda: redis_async().set(place.name, text, ex=place.keep_s))
    except UnicodeDecodeError:
        # No JSON, whatever the upstream says.
        return
    except redis.exceptions.RedisError as error:
        _outage.report(error)
