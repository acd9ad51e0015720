"""Moves stored secrets to the newest key."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from core.rotation import BATCH_ROWS, rotate_all


class Command(BaseCommand):
    help = (
        "Encrypts all stored secrets under the first key of FIELD_KEYS. Put the new key first, "
        "restart, run this, then remove the old key. It can be stopped and run again. Fails when "
        "a secret was left under another key: then keep that key, or enter the secret anew."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch",
            type=int,
            default=BATCH_ROWS,
            help=f"Rows that one transaction moves, {BATCH_ROWS} unless said otherwise.",
        )

    def handle(self, *args: Any, batch: int, **options: Any) -> None:
        if batch < 1:
            raise CommandError("--batch: at least 1")
        try:
            moved, unreadable = self._rotate(batch)
        except OperationalError:
            raise CommandError(
                "the database does not answer: start the product with `make run`"
            ) from None
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{moved} secrets were moved to the newest key")
        if unreadable:
            raise CommandError(
                f"{unreadable} secrets are opened by no key of FIELD_KEYS and stay as they are"
            )

    def _rotate(self, batch: int) -> tuple[int, int]:
        """Moves everything, telling of each table; how many were moved and how many could not."""
        moved = unreadable = 0
        for table in rotate_all(batch_rows=batch):
            self.stdout.write(f"{table.label}: {table.moved} moved, {table.kept} already there")
            for key, field in table.unreadable:
                self.stderr.write(f"{table.label} {key}: no key opens {field!r}")
            moved += table.moved
            unreadable += len(table.unreadable)
        return moved, unreadable
