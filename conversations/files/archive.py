"""A folder as a zip archive, made while it is sent: never whole in memory, never on the disk."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Generator
from contextlib import closing

from django.utils.translation import gettext as _

from conversations.files import tree
from conversations.files.paths import Parts
from core.errors import PayloadTooLarge

MAX_ENTRIES = 10_000
MAX_BYTES = 4 * 2**30
_PIECE = 2**18
# What a zip can say of a time.
_FIRST_YEAR, _LAST_YEAR = 1980, 2107


def check(directory: int) -> None:
    """Raises PayloadTooLarge for a folder that no archive is made of."""
    entries = size = 0
    for node in tree.walk(directory):
        entries, size = entries + 1, size + node.size
        if entries > MAX_ENTRIES or size > MAX_BYTES:
            text = _("The folder is too large for one archive; download its parts.")
            raise PayloadTooLarge(text, code="FOLDER_TOO_LARGE")


def pieces(directory: int, top: Parts) -> Generator[bytes, None, None]:
    """The archive of an open directory at `top`, named from the last of its names on.

    A file that goes away before its turn is left out; one that grows is cut where it ended.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with closing(tree.walk(directory, top)) as nodes:
            for node in nodes:
                name = "/".join(node.parts[len(top) - 1 :])
                if node.is_dir:
                    archive.writestr(_info(f"{name}/", node), b"")
                else:
                    yield from _file(archive, sink, name, node)
                yield from sink.taken()
    yield from sink.taken()


def _file(
    archive: zipfile.ZipFile, sink: _Sink, name: str, node: tree.Node
) -> Generator[bytes, None, None]:
    try:
        file = tree.open_file(node.parent, node.parts[-1])
    except OSError:
        return
    info = _info(name, node)
    left = info.file_size = node.size
    with file, archive.open(info, "w") as member:
        while left > 0 and (data := file.read(min(_PIECE, left))):
            left -= len(data)
            member.write(data)
            yield from sink.taken()


def _info(name: str, node: tree.Node) -> zipfile.ZipInfo:
    moment = time.localtime(node.modified_at)
    if not _FIRST_YEAR <= moment.tm_year <= _LAST_YEAR:
        moment = time.struct_time((_FIRST_YEAR, 1, 1, 0, 0, 0, 0, 1, -1))
    info = zipfile.ZipInfo(name, moment[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o40755 << 16 | 0x10 if node.is_dir else 0o100644 << 16
    return info


class _Sink(io.RawIOBase):
    """Where the archive is written to: kept only until it is taken. It cannot be sought in."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # of buffers only bytes come
        self._written += data
        return len(data)

    def taken(self) -> Generator[bytes, None, None]:
        if self._written:
            yield bytes(self._written)
            self._written.clear()
