"""Reading what a test makes, and telling it as the test would write it down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from knowledge.parse import ParseFailed, parse_file
from knowledge.types import Parsed

# A block as (kind, text); of a heading the kind has its level: ("heading 2", "Leave").
Told = tuple[str, str]
Read = Callable[..., Parsed]
Refuse = Callable[..., ParseFailed]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes | str, str], Path]:
    """Writes a file with this content and this ending."""

    def write(content: bytes | str, file_type: str) -> Path:
        path = tmp_path / f"document.{file_type}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def read(file: Callable[[bytes | str, str], Path]) -> Read:
    """What `parse_file` makes of a content."""

    def parse(content: bytes | str, file_type: str, *, with_ocr: bool = False) -> Parsed:
        return parse_file(file(content, file_type), file_type, with_ocr=with_ocr)

    return parse


@pytest.fixture
def refuse(read: Read) -> Refuse:
    """The failure that a content ends in."""

    def parse(content: bytes | str, file_type: str, *, with_ocr: bool = False) -> ParseFailed:
        with pytest.raises(ParseFailed) as failed:
            read(content, file_type, with_ocr=with_ocr)
        return failed.value

    return parse


def told(parsed: Parsed, *, page: int | None = None) -> list[Told]:
    """The blocks, of one page or of all."""
    return [
        (
            f"heading {block.level}" if block.kind == "heading" else block.kind,
            parsed.text[block.start : block.end],
        )
        for block in parsed.blocks
        if page is None or block.page == page
    ]
