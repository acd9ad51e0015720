"""What every child process has in common."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from config.supervisor.errors import StartError
from config.supervisor.identity import Identity

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """In the child: the kernel kills it when the thread that forked it is gone, even by -9."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def before_exec(identity: Identity | None) -> Callable[[], None]:
    """What the child does between fork and exec."""
    parent = os.getpid()

    def prepare() -> None:
        if identity is not None:
            identity.assume()
        # After the change of identity, which clears the setting.
        die_with_parent()
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def child_options(identity: Identity | None = None) -> dict[str, Any]:
    """Popen options: a session of its own (Ctrl-C reaches only the supervisor), dies with us."""
    return {"start_new_session": True, "preexec_fn": before_exec(identity)}


def free_port() -> int:
    """A TCP port that was free a moment ago, on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether the process has the folder as its working directory, as our servers do."""
    try:
        return Path(process.cwd()) == folder
    except (psutil.Error, OSError):
        return False


def stop_orphans(folder: Path, *, timeout_s: float = 8) -> None:
    """Ends servers that an earlier supervisor left behind in the folder, and waits for them.

    The caller holds the data folder's lock, so nobody else's server can be there. Normally there is
    none: the kernel ends them with their supervisor, but it may need a moment.
    """
    if not folder.exists():
        return
    folder = folder.resolve()
    left = [process for process in psutil.process_iter() if works_in(process, folder)]
    for process in left:
        try:
            process.send_signal(signal.SIGINT)
        except psutil.Error:
            continue
    _, stubborn = psutil.wait_procs(left, timeout=timeout_s)
    for process in stubborn:
        try:
            process.kill()
        except psutil.Error:
            continue
    _, immortal = psutil.wait_procs(stubborn, timeout=2)
    if immortal:
        raise StartError(f"process {immortal[0].pid} still uses {folder} and cannot be ended")


def last_line(text: str) -> str:
    """The last line that says something; what a failed program ends with."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
