"""The names that clients give their files, made fit to be shown. They never name a file of ours."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME = 255
NAMELESS = "unnamed"
# An ending longer than this is no file type but a part of the name.
_MAX_ENDING = 20
# Emoji and some scripts are written with these; all other invisible characters can deceive.
_JOINERS = "\u200c\u200d"
_SEPARATOR = re.compile(r"[/\\]+")
# Control, format, surrogate, private and unassigned characters.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def shown_name(name: str) -> str:
    """A file's name without folders, invisible characters and needless space, never empty.

    A name of more than 255 characters loses the end of its stem and keeps its ending.
    """
    # First what hides: a separator must not appear only after something was taken out.
    visible = "".join(map(_visible, unicodedata.normalize("NFC", name)))
    last = _SEPARATOR.split(visible.rstrip("/\\ "))[-1]
    tidy = " ".join(last.split()).strip()
    if not tidy.strip(". "):
        return NAMELESS
    return _shortened(tidy)


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    if character in _JOINERS:
        return character
    return "" if unicodedata.category(character) in _UNSEEN else character


def _shortened(name: str) -> str:
    if len(name) <= MAX_NAME:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > _MAX_ENDING:
        return name[:MAX_NAME].rstrip()
    return f"{stem[: MAX_NAME - len(ending) - 1].rstrip()}{dot}{ending}"


def stem_of(name: str) -> str:
    """What stands before a file name's ending."""
    stem, _dot, ending = name.rpartition(".")
    return stem if stem and len(ending) <= _MAX_ENDING else name
