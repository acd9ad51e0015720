"""Fills a fresh installation, and brings the built-in rows of an older one up to date."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand

from config.first_start import prepare


class Command(BaseCommand):
    help = "Writes built-in tools and models; on an empty database an operator and examples too."

    def handle(self, *args: Any, **options: Any) -> None:
        found = prepare()
        demos = [{"id": demo.pk, "language": demo.get_language_display()} for demo in found.demos]
        # For `manage.py up`, which shows it in its own words.
        self.stdout.write(json.dumps({"lines": found.lines, "demos": demos}, ensure_ascii=False))
