"""What a file is by its first bytes, where its name says something else."""

from __future__ import annotations

import os
import re
from pathlib import Path

# A PDF may have something before it; so far readers look for its mark.
_HEAD, _TAIL = 1024, 2**16
_PDF = b"%PDF-"
_ZIP = b"PK\x03\x04"
# The folder of its parts, which the directory at the end of the file names.
_FOLDERS = {"docx": b"word/", "xlsx": b"xl/", "pptx": b"ppt/"}
_IMAGE = re.compile(rb"\x89PNG\r\n|\xff\xd8\xff|II\*\0|MM\0\*|RIFF....WEBP|BM.{4}\0{4}", re.DOTALL)
# Old Office, programs, archives, databases, sound and film.
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OTHER = re.compile(
    rb"\x7fELF|MZ.\0|\x1f\x8b\x08|7z\xbc\xaf|Rar!\x1a|BZh[1-9]1AY|\xfd7zXZ|SQLite format 3\0"
    rb"|GIF8[79]a|ID3[\2-\4]|OggS\0|fLaC|RIFF....(?:WAVE|AVI )|....ftyp|\x1aE\xdf\xa3",
    re.DOTALL,
)
_IMAGES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff")


def mismatch(path: Path, file_type: str) -> str | None:
    """Why the file is not of this type, a key of `failures.FAILURES`; None where it may be."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read()
    if file_type in _FOLDERS and head.startswith(_ZIP) and _FOLDERS[file_type] in tail:
        # Whatever is stored in it besides.
        return None
    found = _kind(head, tail)
    is_for_its_reader = (
        found == f"is_{file_type}"
        or (file_type in _FOLDERS and found in ("is_zip", "old_office"))
        or (file_type in _IMAGES and found in ("is_image", "not_text"))
    )
    return None if is_for_its_reader else found


def _kind(head: bytes, tail: bytes) -> str | None:
    if head.startswith(_ZIP):
        kinds = (f"is_{ending}" for ending, folder in _FOLDERS.items() if folder in tail)
        return next(kinds, "is_zip")
    if head.lstrip().startswith(_PDF):
        return "is_pdf"
    if head.startswith(_OLE):
        return "old_office"
    if _IMAGE.match(head):
        return "is_image"
    return "not_text" if _OTHER.match(head) else None
