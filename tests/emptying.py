"""Empties the database after a test that committed, quicker than Django's flush.

Flush truncates every table there is, which gives each new files, and then makes all content types
and permissions again: half a second. Most tests fill a handful of tables with a few rows.
"""

from __future__ import annotations

from functools import lru_cache

from django.db import connection
from django.test import TransactionTestCase

# What migrations and their signal made, and no test changes.
_KEPT = {"django_migrations", "django_content_type", "auth_permission"}
# Deleted rows keep their place until a vacuum: larger tables get new files.
_LARGE_BYTES = 4 * 2**20


def empty() -> None:
    """Deletes what is committed, but for content types and permissions."""
    with connection.cursor() as cursor:
        cursor.execute(_filled_query())
        rows = cursor.fetchall()
        if not rows:
            return
        tables = [connection.ops.quote_name(name) for name, _size in rows]
        if sum(size for _name, size in rows) > _LARGE_BYTES:
            cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
            return
        # Without triggers, so that the order is no matter; as with TRUNCATE, nobody is told.
        deletes = [f"DELETE FROM {table}" for table in tables]
        cursor.execute(
            "; ".join(["BEGIN; SET LOCAL session_replication_role = replica", *deletes, "COMMIT"])
        )


@lru_cache(maxsize=1)
def _filled_query() -> str:
    """Which tables hold rows, and the bytes that each takes with its indices."""
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    quote = connection.ops.quote_name
    return " UNION ALL ".join(
        f"SELECT '{name}', pg_total_relation_size('{name}')"
        f" WHERE EXISTS (SELECT 1 FROM {quote(name)})"
        for name in sorted(set(names) - _KEPT)
    )


def install() -> None:
    """Has every test that commits end so."""
    TransactionTestCase._fixture_teardown = lambda _case: empty()  # type: ignore[attr-defined]
