"""Django's PostgreSQL backend, for a process that takes a connection for every unit of work.

Django has its pool ask the server whether it lives each time a connection is taken: a round trip
before every unit, most of them for nothing. A server that dies closes its connections, which our
own kernel knows; only after a while of silence the server is asked as well.
"""

from __future__ import annotations

import time
from typing import Any, Self
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.postgresql import base, operations
from django.db.backends.utils import CursorWrapper
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


class DatabaseOperations(operations.DatabaseOperations):
    """As Django's, for cursors of ours as well."""

    def last_executed_query(self, cursor: Any, sql: Any, params: Any) -> str:
        """The statement as it was sent; a prepared one without its values."""
        sent: str | None = super().last_executed_query(cursor, sql, params)
        return sent or str(sql)


class DatabaseWrapper(base.DatabaseWrapper):
    """The connection of a thread, out of the pool of its process."""

    ops_class = DatabaseOperations

    @property
    def pool(self) -> ConnectionPool | None:
        """Django's pool with our check; None where there is none."""
        made: ConnectionPool | None = super().pool
        if made is not None and made._check is ConnectionPool.check_connection:
            # Django lets nobody choose. The attribute is private, so the pool is pinned, and
            # tests/core/test_postgres.py fails if this check is not made any more.
            made._check = Check()
        return made

    def prepared_cursor(self) -> CursorWrapper:
        """See `core.statements`."""
        self.validate_thread_sharing()
        self.ensure_connection()
        with self.wrap_database_errors:
            cursor: Any = _PreparedCursor(self.connection)
        wrap = self.make_debug_cursor if self.queries_logged else self.make_cursor
        return wrap(cursor)


class _PreparedCursor(psycopg.Cursor[Any]):
    """Has Postgres parse and plan each statement once for a connection."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        # Only for this: psycopg would count all statements, and those of the ORM have their values
        # in their text, however long they are.
        self.connection.prepare_threshold = 0
        try:
            return super().execute(query, params, prepare=True, **options)
        except psycopg.errors.FeatureNotSupported:
            # A migration gave a column that it returns another type: on this connection, the
            # statement would fail for ever.
            self.connection.close()
            raise
        finally:
            self.connection.prepare_threshold = None
