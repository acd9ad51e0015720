"""Walking a folder of strangers' files without ever leaving it.

Every step opens one name in a directory that is open already and follows no symbolic link: between
a check and its use there is no moment in which a path could come to mean something else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from collections.abc import Generator, Iterator
from typing import BinaryIO

from conversations.files.paths import MAX_DEPTH, Parts, is_shown

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe that somebody put there must not make its reader wait.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A file or a folder that was met. `parent` is its open directory, while the walk is here."""

    parts: Parts
    is_dir: bool
    size: int
    modified_at: float
    parent: int


@contextlib.contextmanager
def below(start: int, parts: Parts, *, make: bool = False) -> Iterator[int]:
    """The directory at these names below an open one; with `make`, those that lack are made.

    Raises FileNotFoundError, NotADirectoryError (also for a symbolic link), OSError.
    """
    here = os.dup(start)
    try:
        for name in parts:
            following = _step(here, name, make=make)
            os.close(here)
            here = following
        yield here
    finally:
        os.close(here)


def _step(parent: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def open_file(parent: int, name: str) -> BinaryIO:
    """A regular file of an open directory, to be read. Raises OSError for all else."""
    descriptor = os.open(name, _FILE, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a file")
    return os.fdopen(descriptor, "rb")


def new_file(parent: int, name: str) -> BinaryIO:
    """A file that was not there, to be written."""
    return os.fdopen(os.open(name, _NEW_FILE, 0o600, dir_fd=parent), "wb")


def node(parent: int, parts: Parts) -> Node:
    """What has the last of these names in an open directory. Raises FileNotFoundError.

    Symbolic links, pipes and devices are not there.
    """
    status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
    is_dir = stat.S_ISDIR(status.st_mode)
    if not is_dir and not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "neither a file nor a folder")
    return Node(parts, is_dir, 0 if is_dir else status.st_size, status.st_mtime, parent)


def children(directory: int, parts: Parts = ()) -> list[Node]:
    """The files and folders of an open directory, folders first."""
    found = []
    for name in os.listdir(directory):
        # Somebody else may remove it at the same time.
        with contextlib.suppress(FileNotFoundError):
            if is_shown(name):
                found.append(node(directory, (*parts, name)))
    return sorted(found, key=lambda each: (not each.is_dir, each.parts[-1].casefold()))


def walk(directory: int, parts: Parts = ()) -> Generator[Node, None, None]:
    """All that is below an open directory, a folder before what it holds."""
    for child in children(directory, parts):
        yield child
        if child.is_dir and len(child.parts) < MAX_DEPTH:
            # Gone, or something else by now.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                with below(directory, child.parts[-1:]) as inner:
                    yield from walk(inner, child.parts)
