"""The web processes of one installation on this machine, and how they find each other's sessions.

Each listens on a Unix socket named after its id, in a folder that only the product's user may
enter. Beside the sockets lie notes, empty files that say whose sessions a process has: a process
that has none waits for a caller's first message only where another has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import itertools
import logging
import os
import re
import secrets
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from realtime.admission import Whose
from realtime.pipes import Pipe

logger = logging.getLogger(__name__)

# Not the process's number alone: another has that one later.
PROCESS_ID = secrets.token_hex(8)

FOLDER = "calls"
# macOS has room for 104 bytes, Linux for 108, each with a zero at the end.
MAX_PATH_BYTES = 103
_SOCKET = ".sock"
_TOKEN_BYTES = 24
_TOKEN = re.compile(r"([0-9a-f]{16})\.[\w-]+")
_numbers = itertools.count()


class _Place:
    """Where this process listens, if it does."""

    folder: Path | None = None


# --- tokens --------------------------------------------------------------------------------------
def new_token() -> str:
    """A token that nobody guesses, which says that this process knows it."""
    return f"{PROCESS_ID}.{secrets.token_urlsafe(_TOKEN_BYTES)}"


def home_of(token: str) -> str | None:
    """The process that knows the token, if it is another than this one."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found is not None and found[1] != PROCESS_ID else None


# --- sockets -------------------------------------------------------------------------------------
@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """The socket for the other processes; notes are left from now on. Raises OSError."""
    folder = _folder()
    _make(folder)
    path = folder / f"{PROCESS_ID}{_SOCKET}"
    with socket.socket(socket.AF_UNIX) as listener:
        # A socket that is bound and does not listen yet looks like that of a dead process.
        with _locked(folder):
            _remove_stale(folder)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen()
        listener.setblocking(False)
        _Place.folder = folder
        try:
            yield listener
        finally:
            _Place.folder = None
            path.unlink(missing_ok=True)


async def connect(process_id: str) -> Pipe:
    """A pipe to another process. Raises OSError when it is gone."""
    path = _folder() / f"{process_id}{_SOCKET}"
    return Pipe(*await asyncio.open_unix_connection(str(path)))


# --- notes ---------------------------------------------------------------------------------------
class Note:
    """Tells the other processes that this one has a session of somebody's."""

    def __init__(self, whose: Whose) -> None:
        self._path: Path | None = None
        if _Place.folder is None:
            return
        name = f"{_digest(whose)}.{PROCESS_ID}.{next(_numbers)}"
        try:
            (_Place.folder / name).touch(mode=0o600)
            self._path = _Place.folder / name
        except OSError as error:
            logger.warning("other processes will not know of a session: %s", error)

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def may_have(whose: Whose) -> bool:
    """Whether another process may have a session of theirs."""
    if _Place.folder is None:
        return False
    digest = _digest(whose)
    try:
        names = os.listdir(_Place.folder)
    except OSError as error:
        logger.warning("sessions of other processes are not known: %s", error)
        return False
    return any(name.startswith(digest) and f".{PROCESS_ID}." not in name for name in names)


def _digest(whose: Whose) -> str:
    return hashlib.sha256(repr((whose.assistant_id, whose.user_id)).encode()).hexdigest()[:16]


# --- the folder ----------------------------------------------------------------------------------
def _folder() -> Path:
    """In the data folder, or in the system's for temporary files if its path is too long."""
    # Machines may share the data folder, and to each the others' sockets look dead.
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    folder = Path(settings.DATA_DIR) / f"{FOLDER}-{machine}"
    if len(os.fsencode(folder / f"{PROCESS_ID}{_SOCKET}")) <= MAX_PATH_BYTES:
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"{FOLDER}-{os.getuid()}-{name}"


def _make(folder: Path) -> None:
    """Raises OSError where others could look in, or made it for us."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not is_ours or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not private")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(folder: Path) -> None:
    """Removes what dead processes left: sockets on which nobody listens, and their notes."""
    entries = list(folder.iterdir())
    alive = {path.stem for path in entries if path.suffix == _SOCKET and _is_listening(path)}
    for path in entries:
        if alive.isdisjoint(path.name.split(".")):
            path.unlink(missing_ok=True)


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            pass  # so many want in that there is a queue
        return True
