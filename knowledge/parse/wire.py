"""What passes between the parent and the child that reads a document. Standard library only.

The order goes as JSON in an argument. The answer comes over a pipe: the length of a JSON header
(u32), the header, the numbers of the blocks (u32, native), the text in UTF-8.
"""

from __future__ import annotations

import array
import dataclasses
import json
import struct
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from knowledge.types import BlockKind

LENGTH = struct.Struct(">I")
KINDS: tuple[BlockKind, ...] = (
    "heading",
    "paragraph",
    "list",
    "code",
    "table_header",
    "table_row",
)
# kind, start, end, page (0: none), level
NUMBERS_PER_BLOCK = 5
assert array.array("I").itemsize == 4, sys.platform


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What to read, and what it may cost."""

    path: str
    file_type: str
    with_ocr: bool
    memory_mb: int
    cpu_s: int
    max_pages: int
    max_chars: int

    @property
    def max_blocks(self) -> int:
        """Blocks cost the parent more memory than text does."""
        return 1000 + self.max_chars // 20

    @property
    def max_answer(self) -> int:
        """No honest answer has more bytes."""
        blocks = 4 * NUMBERS_PER_BLOCK * self.max_blocks
        return 4 * self.max_chars + blocks + 10 * self.max_pages + 10_000

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        return cls(**json.loads(text))


class Header(TypedDict, total=False):
    """The head of an answer: a reason alone, or the sizes of what follows."""

    reason: str
    blocks: int
    page_count: int | None
    image_pages: list[int]


def refusal(reason: str) -> list[bytes]:
    """The answer for a document that cannot be read."""
    return _packed({"reason": reason})


def answer(
    text: str, numbers: Sequence[int], *, page_count: int | None, image_pages: list[int]
) -> list[bytes]:
    """The answer for a document that was read, in parts."""
    header: Header = {
        "blocks": len(numbers) // NUMBERS_PER_BLOCK,
        "page_count": page_count,
        "image_pages": image_pages,
    }
    return [*_packed(header), array.array("I", numbers).tobytes(), text.encode()]


def _packed(header: Header) -> list[bytes]:
    encoded = json.dumps(header).encode()
    return [LENGTH.pack(len(encoded)), encoded]
