"""Prints the README's configuration table, made from the settings themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from config import settings  # noqa: F401 - importing it reads every variable
from config.env import KNOWN


def rows() -> list[str]:
    return [
        f"| `{variable.name}` | {f'`{variable.default}`' if variable.default else ''} "
        f"| {variable.help} |"
        for variable in KNOWN.values()
    ]


if __name__ == "__main__":
    print("\n".join(rows()))
