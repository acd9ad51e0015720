"""What a process used while something was measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a process used; `starved_s` is the time in which no processor was free for it."""

    took_s: float
    cpu_s: float
    starved_s: float
    rss_mb: float


@contextmanager
def usage_of(process: psutil.Process) -> Iterator[Callable[[], Usage]]:
    """Measures the block; the function gives the usage of it, afterwards."""
    began, cpu_s, starved_s = time.monotonic(), _cpu_s(process), _starved_s(process)
    found: list[Usage] = []
    yield lambda: found[0]
    found.append(
        Usage(
            took_s=time.monotonic() - began,
            cpu_s=_cpu_s(process) - cpu_s,
            starved_s=_starved_s(process) - starved_s,
            rss_mb=float(process.memory_info().rss) / 2**20,
        )
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _starved_s(process: psutil.Process) -> float:
    """How long its main thread has waited for a processor; 0 where the system doesn't tell."""
    try:
        schedstat = Path(f"/proc/{process.pid}/schedstat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(schedstat.split()[1]) / 1e9
