"""A pytest plugin: Postgres and Redis of this test run, unless the environment names others.

Loaded with `-p tests.services`, before Django reads its settings. Worker processes of pytest-xdist
inherit the addresses, and each takes a Redis database and a data folder of its own; everything dies
with the process that started it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet
from django.conf import settings

from config.supervisor import postgres, redis
from config.supervisor.process import free_port

PASSWORD = "test"
# The data is gone with the run, whatever happens.
NOT_DURABLE = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


def _stop(processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _keep_apart(worker: str) -> None:
    """Each worker has its own Postgres database from pytest-django; this adds the rest."""
    address, _, _ = os.environ["REDIS_URL"].rpartition("/")
    os.environ["REDIS_URL"] = f"{address}/{int(worker.removeprefix('gw')) + 1}"
    os.environ["DATA_DIR"] = f"{os.environ['DATA_DIR']}-{worker}"


def _start() -> None:
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        _keep_apart(worker)
        return
    folder = Path(tempfile.mkdtemp(prefix="ava-tests-"))
    folder.chmod(0o755)
    processes: list[subprocess.Popen[bytes]] = []
    atexit.register(_stop, processes, folder)
    os.environ["DATA_DIR"] = str(folder / "data")
    os.environ["SECRET_KEY"] = "tests-" * 10
    os.environ["FIELD_KEYS"] = Fernet.generate_key().decode()
    if "DATABASE_URL" not in os.environ:
        port = free_port()
        processes.append(
            postgres.start(folder / "postgres", port=port, password=PASSWORD, options=NOT_DURABLE)
        )
        os.environ["DATABASE_URL"] = f"postgres://app:{PASSWORD}@127.0.0.1:{port}/postgres"
    if "REDIS_URL" not in os.environ:
        port = free_port()
        processes.append(redis.start(folder / "redis", port=port, password=PASSWORD))
        os.environ["REDIS_URL"] = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


def pytest_configure() -> None:
    """Pages are rendered without the manifest that only `collectstatic` makes."""
    settings.STORAGES["staticfiles"] = {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
    }


_start()
