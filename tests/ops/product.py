"""The whole product, started by its own command on free ports, as an operator starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from config.env import parse_lines
from config.supervisor.process import free_port

ROOT = Path(__file__).resolve().parents[2]
# Generous: many processes start on a machine that runs other tests too.
STARTS_WITHIN_S = 180.0
_OWN = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "FIELD_KEYS", "DJANGO_SETTINGS_MODULE")


def environment(**more: str) -> dict[str, str]:
    """A small installation, with servers and keys of its own."""
    small = {"WEB_PROCESSES": "1", "WORKER_THREADS": "2", "LOG_LEVEL": "WARNING"}
    clean = {name: value for name, value in os.environ.items() if name not in _OWN}
    return {**clean, **small, **more}


def manage(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One command of `manage.py`, awaited."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=STARTS_WITHIN_S,
        check=False,
    )


def eventually(check: Callable[[], bool], *, within_s: float = 60) -> bool:
    """Whether the condition comes to hold in time."""
    deadline = time.monotonic() + within_s
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Product:
    """A supervisor and what it started, in one data folder."""

    def __init__(self, data: Path, **variables: str) -> None:
        self.data = data
        self.variables = variables
        self.ports = [free_port() for _ in range(3)]
        self.output = data.with_name(data.name + ".out")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it says `ready`."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "up", *self.options()],
                # The options must win over these.
                env=environment(
                    DATA_DIR="/nonexistent/data", PORTS="1", HOST="203.0.113.1", **self.variables
                ),
                stdout=output,
                stderr=output,
            )
        assert eventually(self.is_ready_or_dead, within_s=STARTS_WITHIN_S), self.said()
        assert self.process.poll() is None, self.said()

    def options(self) -> list[str]:
        ports = ",".join(str(port) for port in self.ports)
        return ["--data-dir", str(self.data), "--ports", ports, "--host", "127.0.0.1"]

    def is_ready_or_dead(self) -> bool:
        assert self.process is not None
        return "\nready " in self.said() or self.process.poll() is not None

    def said(self) -> str:
        return self.output.read_text()

    def url(self, port: int | None = None) -> str:
        return f"http://127.0.0.1:{port or self.ports[0]}"

    def runtime(self) -> dict[str, str]:
        """The generated values, as other commands read them."""
        return parse_lines((self.data / "runtime.env").read_text())

    def descendants(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def part(self, *words: str) -> psutil.Process:
        """The direct child whose command line contains all the words."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            if all(word in " ".join(child.cmdline()) for word in words):
                return child
        raise AssertionError(f"no part {words}: {self.said()}")

    def health(self) -> dict[str, str]:
        """What /api/v1/health says of each part; empty while nobody answers."""
        try:
            answer = httpx.get(f"{self.url()}/api/v1/health", timeout=10)
            return dict(answer.json()["parts"])
        except (httpx.HTTPError, ValueError):
            return {}

    def is_well(self) -> bool:
        return set(self.health().values()) == {"ok"}

    def login(self) -> dict[str, str]:
        lines = (self.data / "first-login.txt").read_text().splitlines()
        return dict(line.split(": ", 1) for line in lines)

    def signal(self, number: signal.Signals) -> int:
        """Sends the signal and returns the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def end(self) -> None:
        """Ends it, however the test went."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)
