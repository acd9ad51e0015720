"""Runs a measurement on an embedded Postgres of its own, in a temporary folder.

python -m bench.with_database bench.retrieval --chunks 100000
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
from cryptography.fernet import Fernet
from django.core.management import call_command

from config.supervisor import postgres
from config.supervisor.process import free_port

PASSWORD = "bench"


@contextlib.contextmanager
def own_database() -> Iterator[None]:
    """An empty database with the product's tables, and Django set up to use it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        port = free_port()
        server = postgres.start(folder / "postgres", port=port, password=PASSWORD)
        try:
            os.environ |= {
                "DATABASE_URL": f"postgres://app:{PASSWORD}@127.0.0.1:{port}/postgres",
                "REDIS_URL": "redis://127.0.0.1:1/0",  # nothing listens, nothing asks
                "DATA_DIR": str(folder / "data"),
                "SECRET_KEY": "bench-" * 10,
                "FIELD_KEYS": Fernet.generate_key().decode(),
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "LOG_LEVEL": "WARNING",
            }
            django.setup()
            call_command("migrate", verbosity=0)
            yield
        finally:
            server.send_signal(postgres.STOP_SIGNAL)
            server.wait(60)


def main() -> None:
    module = sys.argv.pop(1)
    with own_database():
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
