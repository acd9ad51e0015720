"""The connections of one origin: kept, lent, bounded."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections import deque
from collections.abc import Callable

from core.outbound import Address, Unresolved, checked_addresses
from core.wire.connection import Connection
from core.wire.types import Limits, Origin, Stats, WireError

SecureContext = Callable[[], ssl.SSLContext]


class Pool:
    """Lends the newest idle connection, opens another while there may be more, else lets wait."""

    def __init__(
        self, origin: Origin, *, limits: Limits, stats: Stats, secure: SecureContext
    ) -> None:
        self._origin = origin
        self.authority = origin.authority
        self._limits = limits
        self._stats = stats
        self._secure = secure
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        # Places that are taken by connections which are being opened, or about to be.
        self._opening = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._emptied: asyncio.Future[None] | None = None
        self._is_closed = False

    @property
    def is_unused(self) -> bool:
        """Whether it has no connection, and nobody wants one."""
        return not (self._connections or self._opening or self._waiting)

    def take_idle(self) -> Connection | None:
        """The newest idle connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def take(self, connect_s: float, *, fresh: bool) -> Connection:
        """A connection: idle, opened now, or one that somebody gives back in time.

        With `fresh` only one that no request was written to. Raises WireError, OutboundRefused.
        """
        deadline = self._loop.time() + connect_s
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._place(fresh=fresh)
                while connection is not None and fresh:
                    connection.abort()
                    connection = await self._place(fresh=fresh)
                return connection or await self._open(deadline)
        except TimeoutError:
            raise WireError(
                "no connection could be had in time", stage="connect", is_timeout=True
            ) from None

    async def _place(self, *, fresh: bool) -> Connection | None:
        """An idle connection, or None for a place that the caller has to fill."""
        if self._is_closed:
            raise WireError("the client was closed", stage="connect")
        if not fresh and (idle := self.take_idle()) is not None:
            return idle
        if self._taken < self._limits.connections:
            self._opening += 1
            return None
        if self._idle:
            self._idle.pop(0).abort()
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._decline(waiter)
            raise

    def _decline(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Somebody stopped waiting; what they were given meanwhile goes to the next."""
        if waiter.cancelled():
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)
        elif waiter.exception() is None:
            connection = waiter.result()
            if connection is None:
                self._leave_place()
            else:
                self.released(connection)

    async def _open(self, deadline: float) -> Connection:
        try:
            connection = await self._connect(deadline)
            self._stats.opened += 1
            if connection.is_open:
                self._connections.add(connection)
        except OSError as error:
            raise WireError(
                _why(error), stage="connect", is_timeout=isinstance(error, TimeoutError)
            ) from None
        finally:
            self._leave_place()
        if self._is_closed:
            connection.abort()
            raise WireError("the client was closed", stage="connect")
        return connection

    async def _connect(self, deadline: float) -> Connection:
        """To the first address that accepts, with a fair share of the time for each."""
        addresses = await checked_addresses(self._origin.host, self._origin.port)
        for position, address in enumerate(addresses[:-1]):
            now = self._loop.time()
            share_s = (deadline - now) / (len(addresses) - position)
            try:
                async with asyncio.timeout_at(now + share_s):
                    return await self._connect_to(address)
            except OSError:
                continue
        return await self._connect_to(addresses[-1])

    async def _connect_to(self, address: Address) -> Connection:
        is_secure = self._origin.scheme == "https"
        _transport, connection = await self._loop.create_connection(
            lambda: Connection(self, self._loop),
            str(address),
            self._origin.port,
            ssl=self._secure() if is_secure else None,
            server_hostname=self._origin.host if is_secure else None,
        )
        return connection

    async def close(self) -> None:
        """Ends every request and connection; returns when the sockets are closed."""
        self._is_closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(WireError("the client was closed", stage="connect"))
        self._waiting.clear()
        for connection in tuple(self._connections):
            connection.break_off()
        if self._connections:
            self._emptied = self._loop.create_future()
            await self._emptied

    # --- Called by connections ------------------------------------------------------------------

    def released(self, connection: Connection) -> None:
        """Lends the connection to who has waited longest, or keeps it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                connection.is_reused = True
                waiter.set_result(connection)
                return
        if len(self._idle) >= self._limits.idle_connections or self._is_closed:
            connection.abort()
            return
        connection.rest(self._limits.idle_s)
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is closed, so that there is a place for another."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._hand_on()
        if not self._connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _leave_place(self) -> None:
        self._opening -= 1
        self._hand_on()

    def _hand_on(self) -> None:
        """Gives free places to those who have waited longest."""
        while self._waiting and self._taken < self._limits.connections:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)

    @property
    def _taken(self) -> int:
        return len(self._connections) + self._opening


def _why(error: OSError) -> str:
    """What went wrong, without the address that a name of the inner network leads to."""
    if isinstance(error, Unresolved):
        return "the name has no address"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate does not hold: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    return f"no connection: {errno.errorcode.get(error.errno or 0, type(error).__name__)}"
