"""Django's PostgreSQL backend, for a process that takes a connection for every unit of work.

Django has its pool ask the server whether it lives each time a connection is taken: a round trip
before every unit, most of them for nothing. A server that dies closes its connections, which our
own kernel knows; only after a while of silence the server is asked as well.
"""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool

# For so long after an answer of the server, a connection that is not closed counts as good.
# Whatever forgets connections without closing them, as some networks do, takes minutes.
TRUSTED_S = 5.0


class Check:
    """Raises OperationalError for a connection that cannot be used any more."""

    def __init__(self) -> None:
        self._asked_at: WeakKeyDictionary[psycopg.Connection[Any], float] = WeakKeyDictionary()

    def __call__(self, connection: psycopg.Connection[Any]) -> None:
        if time.monotonic() - self._asked_at.get(connection, float("-inf")) < TRUSTED_S:
            # Whatever has come, and then what is behind it: the end, of a server that said goodbye.
            connection.pgconn.consume_input()
            connection.pgconn.consume_input()
        else:
            ConnectionPool.check_connection(connection)
            self._asked_at[connection] = time.monotonic()


class DatabaseWrapper(base.DatabaseWrapper):
    """The connection of a thread, out of the pool of its process."""

    @property
    def pool(self) -> ConnectionPool | None:
        """Django's pool with our check; None where there is none."""
        made: ConnectionPool | None = super().pool
        if made is not None and made._check is ConnectionPool.check_connection:
            # Django lets nobody choose. The attribute is private, so the pool is pinned, and
            # tests/core/test_postgres.py fails if this check is not made any more.
            made._check = Check()
        return made
