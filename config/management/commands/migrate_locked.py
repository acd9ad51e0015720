"""Brings the database up to date, safely from several machines at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.migrations import DatabaseIsNewer, migrate


class Command(BaseCommand):
    help = "Applies pending migrations under a lock; refuses a database of a newer version."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            applied = migrate()
        except DatabaseIsNewer as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{applied} applied" if applied else "up to date")
