"""How the child ties its own hands before it touches a stranger's file."""

from __future__ import annotations

import resource
import sys

from knowledge.parse.wire import Order

_OPEN_FILES = 64
_CPU_GRACE_S = 5


def confine(order: Order) -> None:
    """Bounds the memory, processor time, files and network of this process, for good."""
    memory = order.memory_mb * 2**20
    _lower(resource.RLIMIT_AS, memory)
    # SIGXCPU ends the process, and SIGKILL a little later if something catches it.
    _lower(resource.RLIMIT_CPU, order.cpu_s, order.cpu_s + _CPU_GRACE_S)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _lower(resource.RLIMIT_CORE, 0)
    sys.addaudithook(_refuse_outside)


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    ceiling = resource.getrlimit(kind)[1]
    wanted = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        wanted, soft = min(wanted, ceiling), min(soft, ceiling)
    resource.setrlimit(kind, (soft, wanted))


def _refuse_outside(event: str, _arguments: tuple[object, ...]) -> None:
    """No library of ours may open a connection or start a program for a document."""
    if event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"}:
        raise PermissionError(event)
