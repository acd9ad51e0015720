"""Programs that a measurement needs: started, waited for, and stopped whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STARTS_WITHIN_S = 180.0
STOPS_WITHIN_S = 25.0


@dataclasses.dataclass(frozen=True)
class Program:
    """A running program and the line that it said when it was ready."""

    pid: int
    ready_line: str


@contextlib.contextmanager
def running(
    command: list[str], *, until: str, environment: dict[str, str] | None = None
) -> Iterator[Program]:
    """Runs the program; enters when it has printed a line that starts with `until`."""
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Program(process.pid, _await_line(process, until))
        finally:
            process.terminate()
            try:
                process.wait(STOPS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_line(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout is not None
    expired = threading.Timer(STARTS_WITHIN_S, process.terminate)
    expired.start()
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith(start):
                # Whatever it prints from now on must not fill the pipe.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return line
    finally:
        expired.cancel()
    raise RuntimeError("it did not start:\n" + "".join(lines))
