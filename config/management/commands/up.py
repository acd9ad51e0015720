"""Lists `up` among the commands; `manage.py` itself hands it to the supervisor."""

from __future__ import annotations

import os
import sys
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
        """For `django-admin up`: becomes the supervisor, which reads the settings for itself."""
        manage = str(settings.BASE_DIR / "manage.py")
        forwarded = [
            text
            for option, (variable, _) in OPTIONS.items()
            if (value := options[variable]) is not None
            for text in (option, value)
        ]
        os.execv(sys.executable, [sys.executable, manage, "up", *forwarded])  # noqa: S606
