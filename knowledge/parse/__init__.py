"""Reading documents: files of strangers, read by a child process that may die of them.

`parse_file` is the one door. What it offers is loaded on first use: the child imports this package
too, and should not pay for Django.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knowledge.parse.failures import ParseFailed
    from knowledge.parse.formats import FILE_TYPES, FileType, file_type_of
    from knowledge.parse.runner import ocr_is_installed, parse_file

__all__ = [
    "FILE_TYPES",
    "FileType",
    "ParseFailed",
    "file_type_of",
    "ocr_is_installed",
    "parse_file",
]
_HOMES = {
    "FILE_TYPES": "formats",
    "FileType": "formats",
    "ParseFailed": "failures",
    "file_type_of": "formats",
    "ocr_is_installed": "runner",
    "parse_file": "runner",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
