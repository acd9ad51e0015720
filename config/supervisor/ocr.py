"""Reading of images is an optional part (requirements-ocr.txt), with a worker of its own."""

from __future__ import annotations

import importlib.util

OCR_WORKER = "ocr"


def ocr_is_installed() -> bool:
    """Whether images can be read here. Loads nothing."""
    return importlib.util.find_spec("rapidocr") is not None
