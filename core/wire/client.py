"""The client: requests in, answers out, over the pools of all origins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from core.loops import PerLoop
from core.outbound import ssl_context
from core.wire.connection import Connection
from core.wire.pool import Pool, SecureContext
from core.wire.requests import head_of, writes_of
from core.wire.response import Response
from core.wire.types import ConnectionLost, Limits, Origin, Stats, Timeouts, WireError

# Users steer where requests go; beyond so many origins those without connections are forgotten.
MAX_ORIGINS = 1024
_TIMEOUTS = Timeouts()


class Wire:
    """Sends HTTP/1.1 requests over kept connections, each of which was checked when it was made.

    It belongs to the event loop on which it is used first. Redirects are not followed, nothing is
    decompressed, no cookies are kept and no proxies used.
    """

    def __init__(
        self, *, limits: Limits | None = None, secure: SecureContext = ssl_context
    ) -> None:
        self._limits = limits or Limits()
        self._secure = secure
        self._pools: dict[tuple[str, str, int], Pool] = {}
        self._is_closed = False
        self.stats = Stats()

    async def send(
        self,
        method: str,
        origin: Origin,
        path: str,
        *,
        headers: Sequence[tuple[bytes, bytes]],
        body: Sequence[bytes | memoryview] = (),
        timeouts: Timeouts = _TIMEOUTS,
        may_repeat: bool = True,
    ) -> Response:
        """Sends a request; gives the answer when its head has come, with the body still to be read.

        `path` begins with a slash and follows the origin's prefix. Host, accept-encoding (identity,
        unless given), content-length and the rest of the framing are added here. Large pieces of
        the body are written without being copied, and must not change until the answer is there.

        A kept connection can be closed by its server in the very moment in which it is used. If
        it ends without one byte of an answer, the request is sent once more on a new connection.
        Such a server has closed an idle connection and not read the request; one that died of it
        would be asked again, which a model takes as any other question: it changes nothing but
        the bill. For requests that must not arrive twice, `may_repeat=False`.

        Raises WireError for whatever goes wrong, OutboundRefused for an address that nobody
        allowed. Being cancelled closes the connection.
        """
        size = sum(map(_size, body)) if body else 0
        pool = self._pool(origin)
        head = head_of(method, origin.prefix + path, pool.authority, headers, size)
        writes = writes_of(head, body, size)
        self.stats.requests += 1
        connection = pool.take_idle() or await pool.take(timeouts.connect_s, fresh=False)
        self.stats.reused += connection.is_reused
        is_head = method == "HEAD"
        try:
            return await connection.exchange(writes, is_head=is_head, timeouts=timeouts)
        except ConnectionLost:
            if not (may_repeat and _was_stale(connection)):
                raise
        self.stats.repeated += 1
        connection = await pool.take(timeouts.connect_s, fresh=True)
        return await connection.exchange(writes, is_head=is_head, timeouts=timeouts)

    async def close(self) -> None:
        """Closes every connection; requests under way fail."""
        self._is_closed = True
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _pool(self, origin: Origin) -> Pool:
        key = origin.scheme, origin.host, origin.port
        pool = self._pools.get(key)
        if pool is None:
            if self._is_closed:
                raise WireError("the client was closed", stage="connect")
            if len(self._pools) >= MAX_ORIGINS:
                self._pools = {k: each for k, each in self._pools.items() if not each.is_unused}
            pool = self._pools[key] = Pool(
                origin, limits=self._limits, stats=self.stats, secure=self._secure
            )
        return pool


def _size(piece: bytes | memoryview) -> int:
    return piece.nbytes if isinstance(piece, memoryview) else len(piece)


def _was_stale(connection: Connection) -> bool:
    return connection.is_reused and not connection.has_answered


_WIRES = PerLoop(Wire, Wire.close)


def wire() -> Wire:
    """The running loop's client; closed with the loop, and never by its users."""
    return _WIRES.get()
