"""The files that can be read, by the ending of their name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from core.errors import UnsupportedMediaType


@dataclasses.dataclass(frozen=True, slots=True)
class FileType:
    """A kind of file. `label` is a proper name, the same in every language."""

    label: str
    media_type: str
    is_image: bool = False


_OOXML = "application/vnd.openxmlformats-officedocument"
_HTML = FileType("HTML", "text/html")
_MARKDOWN = FileType("Markdown", "text/markdown")
_JPEG = FileType("JPEG", "image/jpeg", is_image=True)
_TIFF = FileType("TIFF", "image/tiff", is_image=True)

FILE_TYPES: Mapping[str, FileType] = MappingProxyType(
    {
        "pdf": FileType("PDF", "application/pdf"),
        "docx": FileType("Word", f"{_OOXML}.wordprocessingml.document"),
        "pptx": FileType("PowerPoint", f"{_OOXML}.presentationml.presentation"),
        "xlsx": FileType("Excel", f"{_OOXML}.spreadsheetml.sheet"),
        "csv": FileType("CSV", "text/csv"),
        "html": _HTML,
        "htm": _HTML,
        "md": _MARKDOWN,
        "markdown": _MARKDOWN,
        "txt": FileType("Text", "text/plain"),
        "json": FileType("JSON", "application/json"),
        "png": FileType("PNG", "image/png", is_image=True),
        "jpg": _JPEG,
        "jpeg": _JPEG,
        "webp": FileType("WebP", "image/webp", is_image=True),
        "bmp": FileType("BMP", "image/bmp", is_image=True),
        "tif": _TIFF,
        "tiff": _TIFF,
    }
)


def file_type_of(name: str) -> str:
    """The ending of a client's file name, in lower case.

    Raises UnsupportedMediaType, which names the allowed ones, when it is none of `FILE_TYPES`.
    """
    ending = name.strip().rpartition(".")[2].lower() if "." in name else ""
    if ending not in FILE_TYPES:
        raise UnsupportedMediaType(
            format_lazy(
                _("Files of this type cannot be read. Allowed: {allowed}."),
                allowed=", ".join(FILE_TYPES),
            ),
            code="UNSUPPORTED_FILE_TYPE",
            param="file",
        )
    return ending
