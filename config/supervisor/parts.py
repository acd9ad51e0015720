"""A part: one process of the product, how it is started, known to serve, and stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

from config.supervisor.errors import StartError
from config.supervisor.identity import Identity
from config.supervisor.process import child_options
from config.supervisor.ready import VARIABLE as READY_VARIABLE

Outcome = Literal["starting", "ready", "dead"]
SHORTEST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
# A part that ran this long was well; its next failure starts again with the shortest delay.
STABLE_AFTER_S = 60.0
LARGEST_LOG = 10 * 2**20


def always() -> bool:
    return True


def nothing() -> None:
    """For parts that need no preparation."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a part is. `check` must hold before it counts as ready.

    `announces`: the program also tells by itself that it serves (config.supervisor.ready).
    `log`: its output goes there; without one, to the supervisor's standard error.
    `is_server`: others depend on it, so it stops after them.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    check: Callable[[], bool] = always
    prepare: Callable[[], None] = nothing
    announces: bool = False
    is_server: bool = False
    sockets: tuple[int, ...] = ()
    identity: Identity | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 8.0
    folder: Path = Path("/")
    log: Path | None = None


class Part:
    """A recipe and its present process."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.process: subprocess.Popen[bytes] | None = None
        self.restart_at: float | None = None
        self._delay_s = SHORTEST_DELAY_S
        self._started_at = 0.0
        self._ready_fd: int | None = None

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def spawn(self) -> None:
        """Starts the process. Raises StartError when it cannot even be run."""
        recipe = self.recipe
        recipe.prepare()
        self.restart_at = None
        self._started_at = time.monotonic()
        environment, descriptors = dict(recipe.environment), list(recipe.sockets)
        write_fd: int | None = None
        if recipe.announces:
            self._close_ready()
            self._ready_fd, write_fd = os.pipe()
            environment[READY_VARIABLE] = str(write_fd)
            descriptors.append(write_fd)
        output = _open_log(recipe.log)
        try:
            self.process = subprocess.Popen(
                recipe.command,
                env=environment,
                cwd=recipe.folder,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=output or 2,
                stderr=output or 2,
                **child_options(recipe.identity),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise StartError(f"{self.name} cannot be started: {error}") from None
        finally:
            if write_fd is not None:
                os.close(write_fd)
            if output is not None:
                output.close()

    def outcome(self) -> Outcome:
        """How far the start has come."""
        if not self.is_alive():
            return "dead"
        if self._ready_fd is not None:
            if not select.select([self._ready_fd], [], [], 0)[0]:
                return "starting"
            if not os.read(self._ready_fd, 1):
                return "starting"  # Closed without a word: it is about to end.
            self._close_ready()
        return "ready" if self.recipe.check() else "starting"

    def is_alive(self) -> bool:
        """Whether the process runs. When it has ended, its helpers are ended with it."""
        if self.process is None or self.process.returncode is not None:
            return False
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, self.process.pid, flags) is None:
            return True
        # Before the process is reaped, so that its id still is that of its own group.
        self.kill_group()
        self.process.wait()
        self._close_ready()
        return False

    def death(self) -> str:
        """How the process ended, for a line of output."""
        code = self.process.returncode if self.process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"

    def schedule_restart(self, now: float) -> float:
        """Plans the next start; the seconds until then, which double with each failure."""
        if now - self._started_at > STABLE_AFTER_S:
            self._delay_s = SHORTEST_DELAY_S
        delay_s = self._delay_s
        self._delay_s = min(self._delay_s * 2, LONGEST_DELAY_S)
        self.restart_at = now + delay_s
        return delay_s

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.is_alive():
            self.process.send_signal(number)

    def kill_group(self) -> None:
        """Ends the process and what it left in its session."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The end of the log, for an error message; empty without a log."""
        if self.recipe.log is None or not self.recipe.log.exists():
            return ""
        lines = self.recipe.log.read_text(errors="replace").splitlines()
        telling = [line for line in lines[-20:] if "FATAL" in line or "rror" in line]
        return (telling or lines[-1:] or [""])[-1].strip()

    def _close_ready(self) -> None:
        if self._ready_fd is not None:
            os.close(self._ready_fd)
            self._ready_fd = None


def _open_log(path: Path | None) -> IO[bytes] | None:
    if path is None:
        return None
    path.parent.mkdir(exist_ok=True)
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.replace(path.with_name(path.name + ".1"))
    return open(path, "ab")
