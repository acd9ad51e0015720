"""Names inside a user's folder: which texts are paths, and which names may be given to new files.

Pure. A path is relative, its parts are joined by `/`; what it names is another matter (`tree`).
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from django.utils.translation import gettext as _

from core.errors import InvalidRequest
from knowledge.names import NAMELESS, shown_name

Parts = tuple[str, ...]

MAX_PATH_CHARS = 1024
MAX_DEPTH = 16
# The limit of every common file system; Chinese takes three of them a character.
MAX_NAME_BYTES = 255
_SEPARATORS = re.compile(r"[/\\]")
# Other systems cannot hold these, or mean something else by them; archives go there.
_NOT_PORTABLE = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(r"(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)")
_MAX_ENDING_BYTES = 32


def invalid_path() -> InvalidRequest:
    return InvalidRequest(_("Invalid path."), code="INVALID_PATH")


def parts_of(path: str) -> Parts:
    """The names on the way to what is meant; none for the folder itself. Raises InvalidRequest.

    A path that leads out of the folder is refused, also where only somebody who decodes it once
    more would see that.
    """
    if len(path) > MAX_PATH_CHARS:
        raise invalid_path()
    path = unicodedata.normalize("NFC", path)
    for form in _decodings(path):
        if _is_hostile(form) or form.count("/") != path.count("/"):
            raise invalid_path()
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if len(parts) > MAX_DEPTH or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise invalid_path()
    return parts


def new_parts(path: str) -> Parts:
    """As `parts_of`, for something that is to be made: every name fit for other systems too."""
    parts = parts_of(path)
    if not parts or not all(_is_portable(part) for part in parts):
        raise invalid_path()
    return parts


def clean_name(name: str) -> str:
    """The name that a client gives its file, made fit to be one here; never empty, no folders."""
    decoded = _decodings(name[:MAX_PATH_CHARS])[-1]
    visible = shown_name(decoded if _SEPARATORS.search(decoded) else name)
    cleaned = _NOT_PORTABLE.sub("_", visible).rstrip(". ")
    if _DEVICE.match(cleaned):
        cleaned = f"_{cleaned}"
    cleaned = _shortened(cleaned)
    return cleaned if cleaned and not _is_hostile(_decodings(cleaned)[-1]) else NAMELESS


def is_shown(name: str) -> bool:
    """Whether a name found on the disk can be told and asked for; ours all are."""
    return not _has_unseen(name) and "\\" not in name


def _decodings(text: str) -> list[str]:
    """The text, and what becomes of it each time that somebody decodes its percent signs."""
    forms = [text]
    while (following := unquote(forms[-1])) != forms[-1]:
        forms.append(following)
    return forms


def _is_hostile(path: str) -> bool:
    return path.startswith("/") or "\\" in path or ".." in path.split("/") or _has_unseen(path)


def _has_unseen(text: str) -> bool:
    """Control characters, and halves of surrogate pairs, which stand for bytes that are no text."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _is_portable(name: str) -> bool:
    return not (
        _NOT_PORTABLE.search(name) or _DEVICE.match(name) or name != name.strip().rstrip(".")
    )


def _shortened(name: str) -> str:
    """At most MAX_NAME_BYTES; the end of the stem goes, the ending stays."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > _MAX_ENDING_BYTES:
        stem, dot, ending = name, "", ""
    room = MAX_NAME_BYTES - len(f"{dot}{ending}".encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + dot + ending
