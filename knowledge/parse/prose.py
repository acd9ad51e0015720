"""Lines back to running text, in scripts with spaces and without."""

from __future__ import annotations

import re
import unicodedata

_CJK = "\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_BREAK_IN_CJK = re.compile(rf"(?<=[{_CJK}])[^\S\n]*\n\s*(?=[{_CJK}])")
_SPACES_IN_LINE = re.compile(r"[^\S\n]+")
_SPACES_AT_BREAK = re.compile(r" ?\n ?")


def flow(text: str) -> str:
    """One line: breaks become spaces, except between characters of scripts that have none."""
    if "\n" in text:
        text = _BREAK_IN_CJK.sub("", text)
    return " ".join(text.split())


def lines(text: str) -> str:
    """The same lines, with single spaces."""
    return _SPACES_AT_BREAK.sub("\n", _SPACES_IN_LINE.sub(" ", text)).strip()


def join_lines(first: str, second: str) -> str:
    """Two lines of one paragraph, as they would stand in a wider column."""
    if first.endswith(("-", "\u2010")) and first[-2:-1].isalnum():
        # A hyphen before a small letter was most likely put in to break the word.
        is_broken_word = first[-2].isalpha() and second[:1].islower()
        return (first[:-1] if is_broken_word else first) + second
    if is_cjk(first[-1:]) and is_cjk(second[:1]):
        return first + second
    return f"{first} {second}"


def is_cjk(character: str) -> bool:
    """Whether it is written without spaces around it."""
    return bool(character) and re.match(f"[{_CJK}]", character) is not None


def _plain_forms() -> dict[int, str]:
    """Ligatures, and radicals and doubles that fonts give for ordinary Chinese characters."""
    ranges = ((0xFB00, 0xFB06), (0x2E80, 0x2FD5), (0xF900, 0xFAD9))
    points = (point for first, last in ranges for point in range(first, last + 1))
    return {point: unicodedata.normalize("NFKC", chr(point)) for point in points}


PLAIN_FORMS = _plain_forms()
