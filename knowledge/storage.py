"""Files of documents and uploads: taken in with a limit, read by path, removed after their rows."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.utils.translation import gettext as _

from core.errors import PayloadTooLarge, Unavailable

MAX_FILE_BYTES = 50 * 2**20
DOCUMENTS_FOLDER, UPLOADS_FOLDER = "knowledge", "uploads"

logger = logging.getLogger(__name__)


def checked_size(file: File[Any]) -> int:
    """The size in bytes; an empty file is for its reader to judge. Raises PayloadTooLarge."""
    size = file.size
    if size > MAX_FILE_BYTES:
        text = _("The file is larger than %(limit)d MB.") % {"limit": MAX_FILE_BYTES // 2**20}
        raise PayloadTooLarge(text, code="FILE_TOO_LARGE", param="file")
    return size


def sha256_of(file: File[Any]) -> str:
    """The digest of the content; the file is left at its beginning."""
    digest = hashlib.sha256()
    for part in file.chunks():
        digest.update(part)
    file.seek(0)
    return digest.hexdigest()


def store(place: FieldFile, content: File[Any]) -> None:
    """Writes the content to where a row says its file is. Raises Unavailable where that fails.

    Call it in the transaction of the row. What is left behind when that is rolled back, or the
    process dies before it is committed, belongs to no row and is removed by `upkeep`.
    """
    name = place.name or ""
    try:
        written = place.storage.save(name, content)
    except OSError as error:
        logger.error("The file %s could not be stored: %s", name, error.strerror)
        with contextlib.suppress(OSError):
            place.storage.delete(name)
        raise Unavailable(_("The file could not be stored.")) from None
    if written != name:
        raise SuspiciousFileOperation(f"{name} was there already")


@contextlib.contextmanager
def local_path(file: FieldFile) -> Iterator[Path]:
    """A path of the stored file on this machine; a copy where the storage is elsewhere.

    Raises FileNotFoundError where the file is gone.
    """
    path = _path_here(file)
    if path is not None:
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=Path(file.name or "").suffix) as copy:
        with file.storage.open(file.name or "") as stored:
            shutil.copyfileobj(stored, copy)
        copy.flush()
        yield Path(copy.name)


def _path_here(file: FieldFile) -> Path | None:
    try:
        return Path(file.path)
    except NotImplementedError:
        # How Django's storages say that their files have no path on this machine.
        return None


def remove_after_commit(file: FieldFile) -> None:
    """Removes the file once its row is gone; what fails then is an orphan for `orphans`."""
    name, storage = file.name, file.storage
    if name:
        transaction.on_commit(lambda: storage.delete(name), robust=True)


def files_below(folder: str) -> Iterator[tuple[str, datetime]]:
    """The stored files below a folder, with the time of their last change."""
    try:
        folders, names = default_storage.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{folder}/{name}"
        # Somebody else may remove it at the same time.
        with contextlib.suppress(FileNotFoundError):
            yield path, default_storage.get_modified_time(path)
    for name in folders:
        yield from files_below(f"{folder}/{name}")
