"""How the child ties its own hands before it touches a stranger's file."""

from __future__ import annotations

import ctypes
import resource
import struct
import sys

from knowledge.parse.wire import Order

_OPEN_FILES = 64
_CPU_GRACE_S = 5

# From Linux's headers; numbers of system calls of its younger ones are the same everywhere.
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION, _CAPABILITY_SETS = 0x20080522, 24
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
# To execute, and to remove or make files of any kind: all that Landlock's first version knows but
# to read and write what is there.
_REFUSED_FILE_RIGHTS = 0b1_1111_1111_0001


def confine(order: Order) -> None:
    """Bounds memory, processor time, files, network and sight of this process, for good."""
    memory = order.memory_mb * 2**20
    _lower(resource.RLIMIT_AS, memory)
    # SIGXCPU ends the process, and SIGKILL a little later if something catches it.
    _lower(resource.RLIMIT_CPU, order.cpu_s, order.cpu_s + _CPU_GRACE_S)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _lower(resource.RLIMIT_CORE, 0)
    sys.addaudithook(_refuse_outside)
    _leave_other_processes()


def _leave_other_processes() -> None:
    """Nothing of other processes can be read any more, as their environments, which hold secrets.

    Whoever is in a domain of Landlock has no access to processes outside of it, whatever its rules
    are, unless by a capability of root. Kernels without Landlock go on without.
    """
    libc = ctypes.CDLL(None)
    libc.capset(struct.pack("Ii", _CAPABILITY_VERSION, 0), bytes(_CAPABILITY_SETS))
    rights = struct.pack("Q", _REFUSED_FILE_RIGHTS)
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, rights, ctypes.c_size_t(len(rights)), 0)
    if rules >= 0 and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0)


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
