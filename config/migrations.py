"""Migrations as seen from outside: what the database has, what this code has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

# Any number will do, as long as every version of the product takes the same.
LOCK = 0x41_56_41_01


class DatabaseIsNewer(Exception):
    """The database has migrations that this code does not know."""


@contextmanager
def _advisory_lock() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def unknown_migrations() -> list[str]:
    """Applied migrations of installed apps that this code lacks, as `app.name`."""
    loader = MigrationLoader(connection)
    known = set(loader.disk_migrations)
    for migration in loader.disk_migrations.values():
        known.update(migration.replaces)
    installed = {config.label for config in apps.get_app_configs()}
    return sorted(
        f"{app}.{name}"
        for app, name in loader.applied_migrations
        if app in installed and (app, name) not in known
    )


def pending_count() -> int:
    """How many migrations of this code the database lacks."""
    loader = MigrationLoader(connection)
    applied = loader.applied_migrations
    return sum(key not in applied for key in loader.graph.nodes)


def migrate() -> int:
    """Applies what is missing, one process at a time, and returns how many there were.

    Raises DatabaseIsNewer, having changed nothing.
    """
    with _advisory_lock():
        if unknown := unknown_migrations():
            raise DatabaseIsNewer(
                f"the database was migrated by a newer version ({unknown[-1]} is unknown here): "
                "update the program, or restore the backup that belongs to it"
            )
        pending = pending_count()
        call_command("migrate", interactive=False, verbosity=0)
        return pending
