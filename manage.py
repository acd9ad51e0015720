#!/usr/bin/env python
"""Django's command line, with the product's own commands (`manage.py up` starts everything)."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["up"]:
        # Before any setting is read: its options decide which ones hold. The supervisor stays
        # small and single-threaded, and loads none of the apps.
        from config.supervisor.__main__ import main

        sys.exit(main(sys.argv[2:]))
    execute_from_command_line(sys.argv)
