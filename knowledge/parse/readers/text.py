"""Plain text: paragraphs, and the chapter lines of Chinese and English books and rules."""

from __future__ import annotations

import re
from pathlib import Path

from knowledge.parse.charsets import decode
from knowledge.parse.draft import Draft, clean
from knowledge.parse.wire import Order

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_CHAPTER = re.compile(
    r"第[零〇一二三四五六七八九十百千两\d]{1,7}(?P<unit>[编部篇卷章回节])(?:[\s:：·、].{0,40}|.{0,20})"
    r"|(?P<word>part|chapter|section) (?:\d{1,3}|[ivxlc]{1,6})\b(?:[\s:.\-–—].{0,60})?",
    re.I,
)
_LEVELS = {**dict.fromkeys(("编", "部", "篇", "卷", "part"), 1), "节": 3, "section": 3}
_SENTENCE_END = tuple("。！？；，,.!?;")
# A paragraph of more is cut at its lines, so that a file without blank lines has blocks at all.
_LONG = 2000


def read(order: Order, draft: Draft) -> None:
    text = clean(decode(Path(order.path).read_bytes()))
    for paragraph in _BLANK_LINES.split(text):
        _add(paragraph, draft)


def _add(paragraph: str, draft: Draft) -> None:
    lines: list[str] = []
    length = 0
    for line in paragraph.split("\n"):
        level = chapter_level(line)
        if level or length > _LONG:
            draft.add("paragraph", "\n".join(lines))
            lines, length = [], 0
        if level:
            draft.add("heading", line, level=level)
            continue
        lines.append(line)
        length += len(line)
    draft.add("paragraph", "\n".join(lines))


def chapter_level(line: str) -> int:
    """The level of a line like 第三章 or Chapter 3, 0 for any other."""
    line = line.strip()
    if not 2 < len(line) <= 80 or line.endswith(_SENTENCE_END):
        return 0
    found = _CHAPTER.fullmatch(line)
    if found is None:
        return 0
    return _LEVELS.get((found["unit"] or found["word"]).lower(), 2)
