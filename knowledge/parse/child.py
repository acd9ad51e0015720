"""The process that reads one document: `python -m knowledge.parse.child PARENT ORDER`.

Its only output is one answer (see `wire`) on standard output; its end, of whatever kind, is the
parent's to judge.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Protocol

from knowledge.parse import wire
from knowledge.parse.draft import Draft, Refused
from knowledge.parse.limits import confine
from knowledge.parse.signatures import mismatch
from providers.builtin.pipe import die_with_parent

_READERS = {
    "pdf": "pdf",
    "docx": "docx",
    "pptx": "pptx",
    "xlsx": "xlsx",
    "csv": "csv",
    "html": "html",
    "htm": "html",
    "md": "markdown",
    "markdown": "markdown",
    "txt": "text",
    "json": "json",
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff"), "image"),
}


class Reader(Protocol):
    """A module of `knowledge.parse.readers`: imports what its format needs and nothing else."""

    def read(self, order: wire.Order, draft: Draft) -> None:
        """Writes the document into the draft, or raises Refused."""


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    order = wire.Order.from_json(sys.argv[2])
    pipe = os.dup(1)
    # A library that prints must not write into the answer.
    os.dup2(2, 1)
    reader: Reader = importlib.import_module(f"knowledge.parse.readers.{_READERS[order.file_type]}")
    confine(order)
    _send(pipe, _answer(order, reader))
    # Without Python's tidying up: taking a big tree apart takes time, and may crash.
    os._exit(0)


def _answer(order: wire.Order, reader: Reader) -> list[bytes]:
    draft = Draft(order)
    try:
        if reason := mismatch(Path(order.path), order.file_type):
            return wire.refusal(reason)
        reader.read(order, draft)
        return draft.answer()
    except Refused as refused:
        return wire.refusal(refused.reason)
    except MemoryError:
        return wire.refusal("out_of_memory")
    except RecursionError:
        return wire.refusal("too_deep")
    except FileNotFoundError:
        return wire.refusal("missing")
    except Exception:  # noqa: BLE001 - libraries fail on broken files in every way there is
        traceback.print_exc()
        return wire.refusal("broken")


def _send(pipe: int, parts: list[bytes]) -> None:
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(pipe, rest) :]


if __name__ == "__main__":
    main()
