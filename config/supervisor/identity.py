"""As whom a child runs. PostgreSQL refuses to run as root, so root starts it as another user.

That user may be unable to walk to the programs or the data: a checkout below `/root` is closed to
others, and nothing outside the data folder is ours to open. Then the child keeps one capability:
to read and walk past closed folders (Linux only, and only where needed).
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import pwd
import stat
import struct
import sys
from pathlib import Path

from config.supervisor.errors import StartError

_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 4
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclasses.dataclass(frozen=True)
class Identity:
    """A user without privileges, save perhaps one capability."""

    uid: int
    gid: int
    capability: int | None = None

    def assume(self) -> None:
        """Makes the calling process (a child before exec) this user, for good."""
        if self.capability is not None:
            # Or the change of user drops it, and access(2), which initdb asks, ignores it.
            _checked("prctl", _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)
        if self.capability is not None:
            _keep_only(self.capability)


def _checked(name: str, *arguments: object) -> None:
    if _LIBC is None or getattr(_LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _keep_only(capability: int) -> None:
    mask = 1 << capability
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    _checked("capset", header, struct.pack("=6I", mask, mask, mask, 0, 0, 0))
    # Ambient, so that it outlives exec.
    _checked("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def other_than_root(folder: Path, *, program: Path) -> Identity | None:
    """The user of a server that must not be root and owns `folder`; None when we are not root.

    A folder that exists keeps its owner; a new one goes to `nobody`.
    """
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    uid, gid = nobody.pw_uid, nobody.pw_gid
    if folder.exists() and folder.stat().st_uid != 0:
        uid, gid = folder.stat().st_uid, folder.stat().st_gid
    return Identity(uid, gid, _needed_capability(uid, gid, folder=folder, program=program))


def _needed_capability(uid: int, gid: int, *, folder: Path, program: Path) -> int | None:
    is_reachable = all(
        _may(uid, gid, path, 0o1)
        for path in {*program.resolve().parents, *folder.resolve().parents}
    )
    may_run = _may(uid, gid, program, 0o5)
    if is_reachable and may_run:
        return None
    held = _held_capabilities()
    # Reading and walking is enough, unless the program itself is not executable for the user; a
    # container often holds only the wider one.
    wanted = [CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE] if may_run else [CAP_DAC_OVERRIDE]
    for capability in wanted:
        if held >> capability & 1 and held >> CAP_SETPCAP & 1:
            return capability
    raise StartError(
        f"as root the database runs as {pwd.getpwuid(uid).pw_name}, who cannot reach "
        f"{folder if may_run else program}: move it out of the closed folder, "
        "start as an ordinary user, or set DATABASE_URL"
    )


def _may(uid: int, gid: int, path: Path, bits: int) -> bool:
    """Whether the permission bits (as the last octal digit) are granted to the user."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return True  # It will be made by us, open enough.
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == uid:
        mode >>= 6
    elif found.st_gid == gid:
        mode >>= 3
    return mode & bits == bits


def _held_capabilities() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines.get("CapPrm", "0"), 16)
