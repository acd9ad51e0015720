"""The real product for tests: an installation with its own database, and its processes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]
# A name that browsers do not take for this machine, so that plain HTTP is not secure there.
INSECURE_HOST = "insecure.test"
MANAGE = [sys.executable, str(ROOT / "manage.py")]


@dataclasses.dataclass(frozen=True)
class Login:
    """What the first start wrote for its operator."""

    username: str
    password: str
    key: str


@dataclasses.dataclass
class Web:
    """A running web process."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclasses.dataclass(frozen=True)
class Product:
    """An installation: its data folder and environment, and the web process all tests share."""

    folder: Path
    environment: dict[str, str]

    @property
    def login(self) -> Login:
        lines = (self.folder / "first-login.txt").read_text(encoding="utf-8").splitlines()
        values = [line.partition(": ")[2] for line in lines]
        return Login(*values)

    @contextlib.contextmanager
    def web(self) -> Iterator[Web]:
        """One web process as the supervisor runs it, on a free port."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            # Connections made before the process serves wait in the socket.
            listening.listen()
            port = listening.getsockname()[1]
            descriptor = listening.fileno()
            process = subprocess.Popen(
                [sys.executable, "-m", "config.supervisor.web"],
                cwd=ROOT,
                env={**self.environment, "SUPERVISOR_SOCKET_FDS": str(descriptor)},
                pass_fds=[descriptor],
            )
        web = Web(f"http://localhost:{port}", process)
        try:
            yield web
        finally:
            web.kill()

    @contextlib.contextmanager
    def worker(self) -> Iterator[None]:
        """A process that does all background work."""
        command = "-m celery --quiet -A config.celery worker --pool threads --concurrency 4"
        quiet = "--without-gossip --without-mingle --without-heartbeat -Q chat,ingest,parse"
        process = subprocess.Popen(
            [sys.executable, *command.split(), *quiet.split()], cwd=ROOT, env=self.environment
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def manage(self, *arguments: str) -> None:
        subprocess.run([*MANAGE, *arguments], cwd=ROOT, env=self.environment, check=True)


def _database(name: str) -> str:
    """The address of a new, empty database beside the one of the other tests."""
    server, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{server}/{name}"


def install(folder: Path, *, name: str = "shared", **settings: str) -> Product:
    """A fresh installation, without any process of its own yet.

    Of several in one run each has a `name`; `settings` are further variables of its environment.
    """
    environment = {
        **os.environ,
        "DATABASE_URL": _database(f"{name}_{os.getpid()}"),
        "DATA_DIR": str(folder),
        "LOG_LEVEL": "WARNING",
        "ALLOWED_HOSTS": f"localhost,{INSECURE_HOST}",
        # Where the tests' own vendors and services are.
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        **settings,
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    product = Product(folder, environment)
    for command in ("migrate_locked", "collect_static", "first_start"):
        product.manage(command)
    return product


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Product:
    """For all tests that need none of their own, in whatever folder."""
    # A database of Redis that the tests beside, which empty theirs, do not empty.
    address, _, number = os.environ["REDIS_URL"].rpartition("/")
    folder = tmp_path_factory.mktemp("product")
    # Tests share a user, who opens more sockets in a minute than a person does.
    return install(folder, REDIS_URL=f"{address}/{int(number) + 8}", VOICE_SOCKETS_PER_USER="100")


def create_assistant(web: Web, key: str, **fields: Any) -> str:
    """The id of a new assistant, made through the API."""
    response = httpx.post(
        f"{web.url}/api/v1/assistants",
        json={"name": "Tester", "language": "en", **fields},
        headers={"X-Api-Key": key},
        timeout=60,
    )
    assert response.status_code == 201, response.text
    return str(response.json()["data"]["id"])
