"""Collects static files where they changed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from config.static_files import collect


class Command(BaseCommand):
    help = "Fills STATIC_ROOT, unless it is up to date."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("collected" if collect() else "up to date")
