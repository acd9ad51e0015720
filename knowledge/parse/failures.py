"""Why a document could not be read, in words for the one who uploaded it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


@dataclasses.dataclass(frozen=True, slots=True)
class _Failure:
    code: str
    message: StrOrPromise
    is_permanent: bool = True


def _misnamed(label: str, ending: str) -> _Failure:
    text = _("The file is in fact of the type {label}. Upload it with the ending .{ending}.")
    return _Failure("unsupported_content", format_lazy(text, label=label, ending=ending))


# By reason, the child's word for it. Several reasons may share a code, which is for programs.
FAILURES: dict[str, _Failure] = {
    "encrypted": _Failure(
        "encrypted", _("The file is encrypted. Save it without a password and upload it again.")
    ),
    "broken": _Failure("broken", _("The file is damaged, or not what its name says.")),
    "crashed": _Failure(
        "broken", _("The file made its reader fail; it is damaged. Try to save it anew.")
    ),
    "missing": _Failure("missing", _("The file is no longer in the storage.")),
    "empty": _Failure("no_text", _("The file is empty.")),
    "no_text": _Failure("no_text", _("No text was found in the file.")),
    "not_text": _Failure("unsupported_content", _("The file does not contain text.")),
    "old_office": _Failure(
        "unsupported_content",
        _("The file comes from an old Office version. Save it as docx, xlsx or pptx."),
    ),
    "is_pdf": _misnamed("PDF", "pdf"),
    "is_docx": _misnamed("Word", "docx"),
    "is_xlsx": _misnamed("Excel", "xlsx"),
    "is_pptx": _misnamed("PowerPoint", "pptx"),
    "is_zip": _Failure(
        "unsupported_content", _("The file is an archive. Upload the files that it holds.")
    ),
    "is_image": _Failure(
        "unsupported_content",
        _("The file is in fact an image. Upload it with the ending of its type, such as .png."),
    ),
    "too_deep": _Failure("unsupported_content", _("The content is nested too deeply.")),
    "too_many_pages": _Failure(
        "too_large", _("The file has more pages than allowed (PARSE_MAX_PAGES).")
    ),
    "too_much_text": _Failure(
        "too_large", _("The file has more text than allowed (PARSE_MAX_CHARS).")
    ),
    "too_many_cells": _Failure("too_large", _("The file has too many cells or parts of text.")),
    "inflates_too_large": _Failure(
        "too_large", _("The file decompresses to more than is allowed.")
    ),
    "image_too_large": _Failure("too_large", _("The image has too many pixels.")),
    "out_of_memory": _Failure(
        "out_of_memory", _("Reading the file takes more memory than allowed (PARSE_MEMORY_MB).")
    ),
    "timed_out": _Failure(
        "timed_out", _("Reading the file takes longer than allowed (PARSE_TIMEOUT_S).")
    ),
    "ocr_missing": _Failure(
        "ocr_missing",
        _("The file has only images of text, and no OCR is installed (requirements-ocr.txt)."),
    ),
    # What the machine may do better another time.
    "killed": _Failure(
        "out_of_memory", _("The reader was stopped by the system."), is_permanent=False
    ),
    "stalled": _Failure(
        "timed_out",
        _("The machine was too busy to read the file in time."),
        is_permanent=False,
    ),
    "unavailable": _Failure(
        "unavailable", _("The reader could not be started."), is_permanent=False
    ),
}


class ParseFailed(Exception):
    """A document that was not read. `is_permanent`: trying again would end the same."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        failure = FAILURES[reason]
        self.reason = reason
        self.code = failure.code
        self.is_permanent = failure.is_permanent
        self._message = failure.message

    @property
    def message(self) -> str:
        """What went wrong, in the language of whoever reads it now."""
        return str(self._message)
