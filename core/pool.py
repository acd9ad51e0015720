"""A connection pool whose work does not grow with the square of its connections.

For every request, httpcore 1.0 counts all connections once per idle connection, and asks the kernel
about each. With 80 calls in a process that took 13 ms of processor time a request, on the event
loop. It also counts busy connections as idle ones, so that a low limit would close every connection
under load. Only the method that assigns connections is replaced; httpcore is pinned, and
`tests/core/test_pool.py` fails if that method is no longer called.
"""

from __future__ import annotations

import time

import httpcore
from httpcore import AsyncConnectionInterface

# Connections that their servers closed are looked for this often; before it is used, each is
# checked anyway.
_SWEEP_S = 1.0


class ConnectionPool(httpcore.AsyncConnectionPool):
    """httpcore's pool: the newest idle connection is used first, the oldest surplus one closed."""

    _swept_at = float("-inf")

    def _assign_requests_to_connections(self) -> list[AsyncConnectionInterface]:
        """Gives connections to waiting requests; returns those that are to be closed."""
        waiting = [request for request in self._requests if request.is_queued()]
        is_sweep_due = time.monotonic() - self._swept_at > _SWEEP_S
        if not waiting and not is_sweep_due:
            return []
        closing = self._sweep() if is_sweep_due else []
        for request in waiting:
            connection = self._available_for(request.request.url.origin, closing)
            if connection is None:
                connection = self._opened_for(request.request.url.origin, closing)
            if connection is not None:
                request.assign_to_connection(connection)
        return closing

    def _sweep(self) -> list[AsyncConnectionInterface]:
        """Takes out what is closed, has expired, or is idle beyond the limit."""
        self._swept_at = time.monotonic()
        kept: list[AsyncConnectionInterface] = []
        closing: list[AsyncConnectionInterface] = []
        for connection in self._connections:
            if connection.is_closed():
                continue
            (closing if connection.has_expired() else kept).append(connection)
        surplus = sum(each.is_idle() for each in kept) - self._max_keepalive_connections
        self._connections.clear()
        for connection in kept:
            if surplus > 0 and connection.is_idle():
                surplus -= 1
                closing.append(connection)
            else:
                self._connections.append(connection)
        return closing

    def _available_for(
        self, origin: httpcore.Origin, closing: list[AsyncConnectionInterface]
    ) -> AsyncConnectionInterface | None:
        """A connection that can take the request now and that its server has not closed."""
        for connection in reversed(list(self._connections)):
            if connection.is_closed():
                self._connections.remove(connection)
            elif connection.can_handle_request(origin) and connection.is_available():
                if not connection.has_expired():
                    return connection
                self._connections.remove(connection)
                closing.append(connection)
        return None

    def _opened_for(
        self, origin: httpcore.Origin, closing: list[AsyncConnectionInterface]
    ) -> AsyncConnectionInterface | None:
        """A new connection, for which an idle one may have to go; None while the pool is full."""
        if len(self._connections) >= self._max_connections:
            idle = next((each for each in self._connections if each.is_idle()), None)
            if idle is None:
                return None
            self._connections.remove(idle)
            closing.append(idle)
        connection = self.create_connection(origin)
        self._connections.append(connection)
        return connection
