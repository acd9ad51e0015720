"""Cuts an answer, while it is being written, into pieces to be spoken one by one. Pure."""

from __future__ import annotations


def is_cjk(char: str) -> bool:
    """Whether the character is written without spaces between words: Han, kana, full-width."""
    code = ord(char)
    return (
        0x2E80 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0xFE30 <= code <= 0xFE4F
        or 0xFF00 <= code <= 0xFFEF
        or 0x20000 <= code <= 0x3FFFF
    )


def speakable(text: str) -> str:
    """The text without what should not be read out: markdown marks, emoji, link targets.

    May be empty: then there is nothing to say. Captions and history keep the text itself.
    """
    raise NotImplementedError


class Segmenter:
    """One answer's cutter.

    The pieces, joined, are the text; where it is cut does not depend on how the text arrived.
    A piece ends with a sentence of either script or a line, never inside a number, an address or
    an abbreviation; the first may be a clause, so that speech begins early. A piece is given out as
    soon as the character that follows confirms its end, or when it grows to `max_chars`.
    """

    def __init__(self, *, max_chars: int = 200) -> None:
        self._max_chars = max_chars

    def push(self, text: str) -> list[str]:
        """Adds text; gives the pieces that it completes."""
        raise NotImplementedError

    def flush(self) -> list[str]:
        """The answer is complete: gives what is left, as one piece or none."""
        raise NotImplementedError
