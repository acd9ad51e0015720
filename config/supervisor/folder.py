"""The data folder: made, checked and locked, so that only one `up` uses it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from config.supervisor.errors import StartError


class DataFolder:
    """A locked data folder."""

    def __init__(self, path: Path, lock: int, *, was_left_unclean: bool) -> None:
        self.path = path
        self.was_left_unclean = was_left_unclean
        self._lock = lock

    def mark_clean(self) -> None:
        """Called after everything has stopped."""
        os.ftruncate(self._lock, 0)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[DataFolder]:
    """The folder, ours alone until the end. Raises StartError when it cannot be."""
    try:
        _make(path)
        lock = os.open(path / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise StartError(f"the data folder {path} cannot be written: {reason}") from None
    try:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"the data folder {path} is in use by another `manage.py up` (process {holder})"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield DataFolder(path, lock, was_left_unclean=bool(holder))
    finally:
        os.close(lock)


def make_empty(path: Path) -> None:
    """A folder with nothing in it, for our eyes only. Raises StartError."""
    try:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise StartError(f"{path} cannot be made: {reason}") from None


def _make(path: Path) -> None:
    if not path.exists():
        path.mkdir(parents=True)
        # Others may pass (the database can run as another user) but not look.
        path.chmod(0o711)
    with tempfile.TemporaryFile(dir=path):
        pass
    for name in ("media", "logs"):
        (path / name).mkdir(mode=0o700, exist_ok=True)
