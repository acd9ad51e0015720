"""Starts parts in order, keeps them running, and stops them in reverse order.

Everything happens on the main thread: the kernel's parent-death signal follows the thread that
forked, and the supervisor does nothing else than wait.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import IO

from config.supervisor.errors import StartError
from config.supervisor.parts import Part, Recipe
from config.supervisor.process import child_options, last_line

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK_EVERY_S = 0.05
JOB_STOPS_WITHIN_S = 3.0
# An error of ours (config/checks.py) among Django's system checks.
_CHECK = re.compile(r"^\?: \(config\.E\d+\) (?P<message>.+)$", re.M)


class StopRequested(Exception):
    """The operator asked to stop while the product was starting."""


@dataclasses.dataclass
class Job:
    """A program that does its work and ends."""

    name: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    errors: IO[bytes]


class Supervisor:
    """All processes of one machine. `say` prints a line for the operator."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._stages: list[list[Part]] = []
        self._jobs: list[Job] = []
        self._stop_requests = 0
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)

    def catch_signals(self) -> None:
        """From here on a signal to stop is remembered, and the end of a child wakes us."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        # Unless `nohup` was used, the end of the terminal is the end of the product.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def start(self, recipes: Sequence[Recipe], *, timeout_s: float) -> None:
        """Starts parts together and returns when all of them serve. Raises StartError."""
        stage = [Part(recipe) for recipe in recipes]
        self._stages.append(stage)
        for part in stage:
            part.spawn()
        deadline = time.monotonic() + timeout_s
        waiting = list(stage)
        while waiting:
            for part in waiting:
                if part.outcome() == "dead":
                    raise StartError(_obituary(part))
            waiting = [part for part in waiting if part.outcome() != "ready"]
            if waiting and time.monotonic() > deadline:
                raise StartError(f"{waiting[0].name} does not answer after {timeout_s:.0f} s")
            self._pause_starting(LOOK_EVERY_S if waiting else 0)

    def wait_until(self, check: Callable[[], bool], *, timeout_s: float) -> bool:
        """Whether the condition came to hold in time; parts that die meanwhile end the wait."""
        deadline = time.monotonic() + timeout_s
        while not check():
            for part in self._parts():
                if not part.is_alive():
                    raise StartError(_obituary(part))
            if time.monotonic() > deadline:
                return False
            self._pause_starting(0.1)
        return True

    def launch(self, name: str, command: list[str], environment: dict[str, str]) -> Job:
        """Starts a program that does its work and ends; `finish` awaits it."""
        output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            **child_options(),
        )
        job = Job(name, process, output, errors)
        self._jobs.append(job)
        return job

    def finish(self, job: Job) -> str:
        """What the program printed. Raises StartError with its complaint when it failed."""
        while job.process.poll() is None:
            self._pause_starting(LOOK_EVERY_S)
        self._jobs.remove(job)
        output, errors = (_text(file) for file in (job.output, job.errors))
        if job.process.returncode == 0:
            return output
        complaint = last_line(errors)
        if complaint.startswith("CommandError: "):
            raise StartError(complaint.removeprefix("CommandError: "))
        if found := _CHECK.search(errors):
            raise StartError(found["message"])
        # Not foreseen: the whole story helps more than its last line.
        raise StartError(f"{errors.rstrip()}\n{job.name} failed")

    def watch(self) -> None:
        """Keeps everything running until a signal to stop arrives."""
        while not self._stop_requests:
            now = time.monotonic()
            for part in self._parts():
                self._look_after(part, now)
            planned = [part.restart_at for part in self._parts() if part.restart_at is not None]
            self._pause(min([1.0, *(max(moment - now, 0.01) for moment in planned)]))

    def stop(self) -> None:
        """Stops everything in reverse order; what does not stop in time is killed."""
        for job in self._jobs:
            job.process.terminate()
        for job in self._jobs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.process.wait(JOB_STOPS_WITHIN_S)
            job.process.kill()
        requests = self._stop_requests
        for stage in reversed(self._stop_order()):
            self._stop_together(stage, requests)

    def _stop_order(self) -> list[list[Part]]:
        """Servers one by one; what uses them all at once, as each may need its time."""
        servers = [stage for stage in self._stages if stage[0].recipe.is_server]
        users = [p for stage in self._stages for p in stage if not p.recipe.is_server]
        return [*servers, users]

    def _stop_together(self, parts: list[Part], requests: int) -> None:
        for part in reversed(parts):
            part.signal(part.recipe.stop_signal)
        started = time.monotonic()
        for part in reversed(parts):
            while part.is_alive():
                waited_s = time.monotonic() - started
                if waited_s > part.recipe.stop_within_s or self._stop_requests > requests:
                    part.kill_group()
                self._pause(LOOK_EVERY_S)

    def _parts(self) -> list[Part]:
        return [part for stage in self._stages for part in stage]

    def _look_after(self, part: Part, now: float) -> None:
        if part.restart_at is None:
            if not part.is_alive():
                delay_s = part.schedule_restart(now)
                self._say(part.name, f"stopped ({part.death()}); again in {delay_s:g} s")
            return
        if part.restart_at > now:
            return
        try:
            part.spawn()
        except StartError as error:
            delay_s = part.schedule_restart(now)
            self._say(part.name, f"{error}; again in {delay_s:g} s")

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_requests += 1

    def _pause_starting(self, seconds: float) -> None:
        self._pause(seconds)
        if self._stop_requests:
            raise StopRequested

    def _pause(self, seconds: float) -> None:
        """Sleeps, less long when a signal arrives."""
        if select.select([self._wake_read], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)


def _obituary(part: Part) -> str:
    words = part.last_words()
    return f"{part.name} did not start ({part.death()})" + (f": {words}" if words else "")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    with file:
        return file.read().decode(errors="replace")
