"""The names of processes, by which their neighbours can tell that one is gone.

Certain is only what the kernel says, of processes that it numbers as it does this one. Of all
others (on another machine, in another container, on a system without /proc) nothing is known: their
signs of life decide.
"""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

# With the longest of the other parts a name fits the column of a run.
_HOST_CHARS = 40
_BOOT_CHARS = 16
# What has ended, but was not yet taken leave of by its parent.
_ENDED = frozenset("ZX")


def this_process() -> str:
    """Its name, for the runs that it works on: host and number for people, the rest for `is_gone`.

    Numbers are given again, to a process that began later, and by every start of a machine.
    """
    # A fork is another process.
    return _name_of(os.getpid())


def is_gone(name: str) -> bool:
    """Whether the process has ended for certain; False also where nothing can be known."""
    process, _, place = name.rpartition("@")
    if not process or place != _place():
        return False
    shown, _, began = process.rpartition(" ")
    pid = int(shown.rpartition(":")[2])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # It is another user's.
    try:
        state, began_now = _stat(pid)
    except OSError:
        return False  # It may be hidden from this user.
    return state in _ENDED or began_now != began


@functools.cache
def _name_of(pid: int) -> str:
    shown = f"{socket.gethostname()[:_HOST_CHARS]}:{pid}"
    place = _place()
    return f"{shown} {_stat(pid)[1]}@{place}" if place else shown


@functools.cache
def _place() -> str:
    """Where numbers mean the same processes: one start of a machine, one namespace of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return f"{boot.replace('-', '')[:_BOOT_CHARS]}:{namespace}"


def _stat(pid: int) -> tuple[str, str]:
    """The state of a process, and when it began, in ticks since the start of the machine."""
    # The name of the program stands in brackets, and may have any character in it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]
