"""The folder that every user has: what is sent there, and what the user's agent reads and writes.

All is synchronous; async code calls it in a thread. A file is written aside and renamed into its
place, so that nobody ever sees a part of one, and what fails leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from django.conf import settings
from django.db import transaction
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from accounts.models import User
from conversations.files import archive, searching, tree
from conversations.files.paths import Parts, invalid_path, new_parts, parts_of
from core.errors import InvalidRequest, NotFound, PayloadTooLarge, Unavailable
from knowledge.storage import MAX_FILE_BYTES

logger = logging.getLogger(__name__)

# Of one user: every listing, search and count walks over them.
MAX_ENTRIES = 10_000
# Beside the users' folders, on the same file system, so that a rename is one step.
_ASIDE = ".partial"
_ABANDONED_S = 24 * 3600
_PIECE = 2**18
# What a path may be wrong about, and what may stand where something is to be made. Anything else
# is the machine's fault.
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP})


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder; `path` is relative to the user's folder, `modified_at` in epoch seconds."""

    name: str
    path: str
    is_dir: bool
    size: int
    modified_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """A file as it was stored; sizes in bytes."""

    path: str
    name: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class OpenFile:
    """A file opened to be read, which its receiver closes."""

    entry: Entry
    file: BinaryIO

    def pieces(self) -> Generator[bytes, None, None]:
        """The content, as long as it was when the file was opened."""
        left = self.entry.size
        while left > 0 and (piece := self.file.read(min(_PIECE, left))):
            left -= len(piece)
            yield piece


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What the folder holds, in bytes and in files and folders."""

    size: int
    entries: int


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the disk refuses inside is said in the words of the API."""
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise path_not_found() from None
        logger.error("A user's files: %s", error)
        raise Unavailable(_("The files cannot be read or written right now.")) from None


@contextlib.contextmanager
def _placing() -> Iterator[None]:
    """A folder where a file is to be, a file where a folder is to be, or a link, is said so."""
    try:
        yield
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
        text = _("Something of another kind has this name already.")
        raise InvalidRequest(text, code="PATH_TAKEN") from None


class UserFolder:
    """The files of one user. Paths are relative, and none leads out of the folder.

    Every method may raise InvalidRequest for what is no path here, NotFound, and Unavailable where
    the disk fails; those that write PayloadTooLarge, also beyond USER_FILES_QUOTA_MB.
    """

    def __init__(self, base: Path, name: str) -> None:
        self._base, self._name = base, name

    @classmethod
    def of(cls, user_id: int) -> Self:
        """The user's folder; it is made when it is first looked into."""
        return cls(Path(settings.USER_FILES_DIR), str(int(user_id)))

    # --- Looking -------------------------------------------------------------------------------

    def checked(self, path: str) -> str:
        """The path in its plain form, "" for the folder itself."""
        return "/".join(parts_of(path))

    @_told()
    def entry(self, path: str) -> Entry:
        """What is at the path."""
        parts = parts_of(path)
        if not parts:
            return Entry("", "", is_dir=True, size=0, modified_at=0.0)
        with self._directory(parts[:-1]) as parent:
            return _entry(tree.node(parent, parts))

    @_told()
    def list(self, path: str = "") -> tuple[Entry, ...]:
        """What is in a folder, folders first. Raises InvalidRequest for a file."""
        if not self.entry(path).is_dir:
            raise InvalidRequest(_("This is not a folder."), code="NOT_A_FOLDER")
        parts = parts_of(path)
        with self._directory(parts) as found:
            return tuple(_entry(node) for node in tree.children(found, parts))

    @_told()
    def usage(self) -> Usage:
        """How much is kept."""
        with self._directory(()) as root:
            return _usage(root)

    @_told()
    def open_read(self, path: str) -> OpenFile:
        """The file at the path, open. Raises NotFound for a folder."""
        parts = parts_of(path)
        if not parts:
            raise path_not_found()
        with self._directory(parts[:-1]) as parent:
            file = tree.open_file(parent, parts[-1])
        status = os.fstat(file.fileno())
        node = tree.Node(parts, False, status.st_size, status.st_mtime, parent=-1)
        return OpenFile(_entry(node), file)

    @contextlib.contextmanager
    def copy(self, path: str) -> Iterator[Path]:
        """A copy of the file, for programs that want a path of one. It goes away at the end."""
        opened = self.open_read(path)
        with opened.file as file, tempfile.NamedTemporaryFile() as copied:
            if opened.entry.size > MAX_FILE_BYTES:
                raise too_large()
            with _told():
                shutil.copyfileobj(file, copied)
                copied.flush()
            yield Path(copied.name)

    @_told()
    def search(self, text: str, path: str = "") -> searching.Search:
        """Where the text stands: in names, and in what can be read as text."""
        parts = parts_of(path)
        if self.entry(path).is_dir:
            with (
                self._directory(parts) as found,
                contextlib.closing(tree.walk(found, parts)) as all_,
            ):
                return searching.search(text, all_)
        with self._directory(parts[:-1]) as parent:
            return searching.search(text, [tree.node(parent, parts)])

    @_told()
    def zip_stream(self, path: str) -> Generator[bytes, None, None]:
        """A folder as an archive, in pieces. What is wrong with it is raised here, at once."""
        parts = parts_of(path)
        with self._directory(parts) as found:
            archive.check(found)
        return self._zipped(parts)

    def _zipped(self, parts: Parts) -> Generator[bytes, None, None]:
        with self._directory(parts) as found:
            yield from archive.pieces(found, parts)

    # --- Changing ------------------------------------------------------------------------------

    @_told()
    def save(self, path: str, chunks: Iterable[bytes]) -> Saved:
        """Writes a file with the folders on the way to it; one that was there is replaced."""
        parts = new_parts(path)
        with self._staged() as staged:
            staged.write(chunks)
            staged.settle()
            with self._locked() as root:
                _put(staged, root, parts)
        return staged.saved(parts)

    @_told()
    def append(self, path: str, data: bytes) -> Saved:
        """Puts more behind a file, which is made where it is not there."""
        parts = new_parts(path)
        with self._staged() as staged, self._locked() as root:
            with contextlib.suppress(FileNotFoundError), _placing():
                with tree.below(root, parts[:-1]) as parent:
                    with tree.open_file(parent, parts[-1]) as file:
                        staged.write(iter(lambda: file.read(_PIECE), b""))
            staged.write([data])
            staged.settle()
            _put(staged, root, parts)
        return staged.saved(parts)

    @_told()
    def delete(self, path: str) -> str:
        """Removes a file, or a folder with all in it; the path in its plain form."""
        parts = parts_of(path)
        if not parts:
            raise invalid_path()
        with self._aside() as store, self._locked() as root:
            with tree.below(root, parts[:-1]) as parent:
                tree.node(parent, parts)
                _move_away(parent, parts[-1], store)
        return "/".join(parts)

    @_told()
    def remove(self) -> None:
        """Removes the whole folder; nothing is made where nobody has one yet."""
        if not self._base.exists():
            return
        with _opened(self._base) as base, self._aside() as store:
            with contextlib.suppress(FileNotFoundError):
                _move_away(base, self._name, store)

    # --- Below ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _directory(self, parts: Parts) -> Iterator[int]:
        with _opened(self._base) as base, tree.below(base, (self._name,), make=True) as root:
            with tree.below(root, parts) as found:
                yield found

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The open folder, in which nobody else changes anything meanwhile."""
        with self._directory(()) as root:
            # Given back when the last descriptor of this opening is closed.
            fcntl.flock(root, fcntl.LOCK_EX)
            yield root

    @contextlib.contextmanager
    def _aside(self) -> Iterator[int]:
        with _opened(self._base) as base, tree.below(base, (_ASIDE,), make=True) as store:
            yield store

    @contextlib.contextmanager
    def _staged(self) -> Iterator[_Staged]:
        with self._aside() as store:
            _remove_abandoned(store)
            with _Staged(store) as staged:
                yield staged


class _Staged:
    """A file on its way in: in the end it is either moved to its place or gone."""

    def __init__(self, store: int) -> None:
        self._store, self._name = store, secrets.token_hex(16)
        self._file = tree.new_file(store, self._name)
        self._digest = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        # First: closing writes what is buffered, which a full disk refuses.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._store)
        self._file.close()

    def write(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            self.size += len(chunk)
            if self.size > MAX_FILE_BYTES:
                raise too_large()
            self._digest.update(chunk)
            self._file.write(chunk)

    def settle(self) -> None:
        """Sees it on the disk: a rename may outlive a power cut that its content does not."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def move(self, parent: int, name: str) -> None:
        os.rename(self._name, name, src_dir_fd=self._store, dst_dir_fd=parent)

    def saved(self, parts: Parts) -> Saved:
        return Saved("/".join(parts), parts[-1], self.size, self._digest.hexdigest())


def _put(staged: _Staged, root: int, parts: Parts) -> None:
    """Moves what is staged to its place, if there is room for it."""
    before = _size_of(root, parts)
    _check_room(_usage(root), staged.size - (before or 0), 0 if before is not None else len(parts))
    with _placing(), tree.below(root, parts[:-1], make=True) as parent:
        staged.move(parent, parts[-1])


def _check_room(usage: Usage, more_bytes: int, more_entries: int) -> None:
    """Raises PayloadTooLarge where the folder would hold more than it may. Less is always fine."""
    quota = settings.USER_FILES_QUOTA_MB * 2**20
    if more_bytes > 0 and usage.size + more_bytes > quota:
        sizes = {"used": filesizeformat(usage.size), "limit": filesizeformat(quota)}
        text = _("There is no room for this file: %(used)s of %(limit)s are in use.") % sizes
        raise PayloadTooLarge(text, code="QUOTA_EXCEEDED")
    if more_entries and usage.entries + more_entries > MAX_ENTRIES:
        text = _("A folder holds at most %(limit)d files.") % {"limit": MAX_ENTRIES}
        raise PayloadTooLarge(text, code="QUOTA_EXCEEDED")


def _size_of(root: int, parts: Parts) -> int | None:
    """The size of what is at the path, None where nothing is."""
    try:
        with tree.below(root, parts[:-1]) as parent:
            return tree.node(parent, parts).size
    except OSError:
        return None


def _usage(root: int) -> Usage:
    size = entries = 0
    for node in tree.walk(root):
        size, entries = size + node.size, entries + 1
    return Usage(size, entries)


def _entry(node: tree.Node) -> Entry:
    path = "/".join(node.parts)
    return Entry(node.parts[-1], path, node.is_dir, node.size, node.modified_at)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The folder of all users' folders, as the operator set it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _move_away(parent: int, name: str, store: int) -> None:
    """Takes a file or folder out of sight in one step, and then apart."""
    aside = secrets.token_hex(16)
    os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=store)
    _remove(store, aside)


def _remove(store: int, name: str) -> None:
    # It follows no links either.
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=store)
        except (IsADirectoryError, PermissionError):
            shutil.rmtree(name, dir_fd=store)


def _remove_abandoned(store: int) -> None:
    """Removes what a process left that died over it."""
    for name in os.listdir(store):
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(name, dir_fd=store).st_mtime < time.time() - _ABANDONED_S:
                _remove(store, name)


def path_not_found() -> NotFound:
    return NotFound(_("There is no such path."), code="PATH_NOT_FOUND")


def too_large() -> PayloadTooLarge:
    text = _("The file is larger than %(limit)d MB.") % {"limit": MAX_FILE_BYTES // 2**20}
    return PayloadTooLarge(text, code="FILE_TOO_LARGE")


def delete_folder_of(user: User) -> None:
    """Removes an account's folder once the account is gone."""
    transaction.on_commit(UserFolder.of(user.pk).remove, robust=True)
