"""Hostile text: whoever reads it does a bounded amount of work."""

from __future__ import annotations

import os
import subprocess
import sys


# In a process of its own: a pattern that backtracks cannot be interrupted from Python.
def in_time(code: str) -> str:
    """What the program prints; it is killed where it takes longer than any bounded work does."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30,
        check=True,
    )  # fmt: skip
    return done.stdout
