"""Starts the whole product on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from config.supervisor.__main__ import OPTIONS, add_options


class Command(BaseCommand):
    help = (
        "Starts the database, Redis, the web server, workers and the scheduler, and watches them."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        forwarded: list[str] = []
        for option, (variable, _) in OPTIONS.items():
            value = options[variable]
            if value is not None:
                shown = str(Path(value).absolute()) if variable == "DATA_DIR" else value
                forwarded += [option, shown]
        # The supervisor is a program of its own: small, single-threaded, without the apps.
        os.chdir(settings.BASE_DIR)
        os.execv(sys.executable, [sys.executable, "-m", "config.supervisor", *forwarded])  # noqa: S606
