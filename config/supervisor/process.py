"""What every child process has in common."""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartError(Exception):
    """The product cannot start; the message is one line for the operator."""


def die_with_parent() -> None:
    """In the child, before exec: the kernel kills it when the supervisor is gone, even by -9."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def child_options() -> dict[str, Any]:
    """Popen options: a session of its own (Ctrl-C reaches only the supervisor), dies with us."""
    return {"start_new_session": True, "preexec_fn": die_with_parent}


def free_port() -> int:
    """A TCP port that was free a moment ago, on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
