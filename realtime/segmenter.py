"""Cuts an answer, while it is being written, into pieces to be spoken one by one. Pure."""

from __future__ import annotations

import re

MAX_CHARS = 200
FIRST_CLAUSE_CHARS = 12
FIRST_CLAUSE_CJK_CHARS = 4

_STOPS_CJK = "。！？｡…"
_STOPS = ".!?" + _STOPS_CJK
_CLAUSE_MARKS_CJK = "，、；："
_CLAUSE_MARKS = ",;:" + _CLAUSE_MARKS_CJK
# What may stand between a stop and the end of its sentence: quotes, brackets, markdown emphasis.
_CLOSERS = "\"'”’」』】）》〉)]}*_`~"

# How an answer cites its sources: [1], [2, 3], [4-6], 【7】; no number has more than three digits.
# `static/realtime/sources.js` reads them alike, which tests/realtime/marks.py holds.
_BETWEEN = r",，、;；~～\u2010-\u2014-"
_MARK = rf"[\[［【]\s?[0-9]{{1,3}}(?:\s?[{_BETWEEN}]\s?[0-9]{{1,3}})*\s?[\]］】]"
_MARKS_AT_END = re.compile(rf"(?:\s?{_MARK})+$")
_OPEN_MARK = re.compile(rf"[\[［【][0-9\s{_BETWEEN}]*$")

# After these a full stop never ends a sentence.
_TITLES = re.compile(r"dr|mrs?|ms|mx|prof|st|mt|gen|rep|sen|gov|rev|vs|e\.?g|i\.?e|cf|viz|al")
# After these it does not when a number follows: "No. 5", but "No. I don't."
_BEFORE_NUMBERS = re.compile(
    r"nos?|figs?|vol|pp?|ch|sec|art|eq|approx|ca"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
# After these it ends a sentence only when a new one plainly begins.
_OFTEN_LAST = re.compile(r"etc|a\.m|p\.m|inc|ltd|co|corp|jr|sr|dept|est|min|max")

_WORD_BEFORE_STOP = re.compile(r"[^\W_]+(?:['’.][^\W_]+)*$")
_LIST_NUMBER = re.compile(r"\s*\(?(?:\d{1,3}|[A-Za-z])$")


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


class Segmenter:
    """One answer's cutter.

    The pieces, joined, are the text; where it is cut does not depend on how the text arrived.
    A piece ends with a sentence of either script or a line, never inside a number, an address or
    an abbreviation; the first may be a clause, so that speech begins early. A piece is given out as
    soon as the character that follows confirms its end, or when it grows beyond `max_chars`.
    """

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._text = ""
        self._has_words = False
        self._is_first = True

    def push(self, text: str) -> list[str]:
        """Adds text; gives the pieces that it completes."""
        pieces: list[str] = []
        for char in text:
            pieces += self._feed(char)
        return pieces

    def flush(self) -> list[str]:
        """The answer is complete: gives what is left, as one piece or none."""
        rest, self._text, self._has_words, self._is_first = self._text, "", False, True
        return [rest] if rest else []

    def _feed(self, char: str) -> list[str]:
        """Takes one character, so that nothing can depend on how many came together."""
        pieces: list[str] = []
        if self._has_words and self._ends_before(char):
            if char.isspace():
                return [self._cut(self._text + char)]
            pieces.append(self._cut(self._text))
        self._text += char
        self._has_words = self._has_words or char.isalnum()
        if char == "\n" and self._has_words:
            pieces.append(self._cut(self._text))
        elif len(self._text) > self._max_chars:
            pieces += self._cut_by_force()
        return pieces

    def _cut(self, piece: str) -> str:
        self._text, self._has_words, self._is_first = "", False, False
        return piece

    def _ends_before(self, char: str) -> bool:
        """Whether the piece so far is complete, now that it is known that `char` comes next."""
        text = self._text
        if text[-1].isspace():
            return not char.isspace() and self._ends_after_all(text.rstrip(), char)
        core = _core(text)
        if core and core[-1] in _STOPS:
            if char in _STOPS or char in _CLOSERS:
                return False
            if core[-1] in _STOPS_CJK:
                return True
            if not char.isspace() and not is_cjk(char):
                return False
            return core[-1] != "." or _stop_ends_sentence(core, char.strip())
        return self._is_first and _ends_clause(text, char)

    def _ends_after_all(self, text: str, char: str) -> bool:
        """Whether a stop that the space after it left open ends the piece, given what follows."""
        core = _core(text)
        return core.endswith(".") and _stop_ends_sentence(core, char)

    def _cut_by_force(self) -> list[str]:
        end = _forced_end(self._text, self._max_chars)
        rest = self._text[end:]
        pieces = [self._cut(self._text[:end])]
        for char in rest:
            pieces += self._feed(char)
        return pieces


def _core(text: str) -> str:
    """The text up to its stop, without what may stand behind one: quotes, sources."""
    core = text.rstrip(_CLOSERS)
    if text.endswith(("]", "］", "】")) and (marks := _MARKS_AT_END.search(text)):
        core = text[: marks.start()].rstrip(_CLOSERS)
    return core


def _stop_ends_sentence(text: str, following: str) -> bool:
    """Whether the full stop at the end of `text` ends a sentence.

    `following` is the first character of the next word, or "" while it is not known: then the
    answer is no wherever it depends on it.
    """
    before = text[:-1]
    if _LIST_NUMBER.fullmatch(before.rpartition("\n")[2]):
        return False
    if following and is_cjk(following) and before[-1:].isdigit():
        return False  # "1.苹果 2.梨"
    found = _WORD_BEFORE_STOP.search(before)
    if found is None:
        return True
    word = found.group().lower()
    if _TITLES.fullmatch(word):
        return False
    if _BEFORE_NUMBERS.fullmatch(word):
        return following != "" and not following.isdigit()
    if _OFTEN_LAST.fullmatch(word):
        return following.isupper() or (following != "" and is_cjk(following))
    is_initials = all(len(part) == 1 and part.isascii() for part in word.split("."))
    return not (is_initials and word.replace(".", "").isalpha() and word != "i")


def _ends_clause(text: str, char: str) -> bool:
    mark = text[-1]
    if mark not in _CLAUSE_MARKS or char in _CLOSERS or _OPEN_MARK.search(text):
        return False
    if mark not in _CLAUSE_MARKS_CJK and not (char.isspace() or is_cjk(char)):
        return False
    spoken = [letter for letter in text if letter.isalnum()]
    cjk_chars = sum(1 for letter in spoken if is_cjk(letter))
    return len(text.strip()) > FIRST_CLAUSE_CHARS or cjk_chars >= FIRST_CLAUSE_CJK_CHARS


def _forced_end(text: str, max_chars: int) -> int:
    """Where to cut a text without a sentence end: a clause, a word, a CJK character, anywhere."""
    ends = range(max_chars, max_chars // 2, -1)
    for is_end in (_is_clause_end, _is_word_end, _is_between_cjk):
        for end in ends:
            if is_end(text, end) and not _OPEN_MARK.search(text, 0, end):
                return end
    return max_chars


def _is_clause_end(text: str, end: int) -> bool:
    before, after = text[end - 1], text[end]
    return before in _CLAUSE_MARKS_CJK or (
        before.isspace() and not after.isspace() and text[end - 2] in _CLAUSE_MARKS
    )


def _is_word_end(text: str, end: int) -> bool:
    return text[end - 1].isspace() and not text[end].isspace()


def _is_between_cjk(text: str, end: int) -> bool:
    return is_cjk(text[end - 1]) and is_cjk(text[end]) and text[end] not in _STOPS + _CLAUSE_MARKS


_MARKDOWN: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^\s*(?:```|~~~).*$", re.M), " "),  # fences; the code itself is read
    (re.compile(r"^\s*(?:[-*_]\s*){3,}$", re.M), " "),  # rules
    (re.compile(r"^\s*\|?(?:\s*:?-{3,}:?\s*\|)+\s*(?::?-{3,}:?)?\s*$", re.M), " "),  # table heads
    (re.compile(r"^\s*(?:>\s*)+", re.M), ""),  # quotations
    (re.compile(r"^\s*#{1,6}\s+", re.M), ""),  # headings
    (re.compile(r"^\s*[-*+•]\s+(?:\[[ xX]\]\s+)?", re.M), ""),  # list marks, tick boxes
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)"), r"\1"),  # links and images
    (re.compile(r"</?[A-Za-z][^<>\n]*>"), " "),  # HTML
    (re.compile(r"(\*{1,3}|~~|`+)(?=\S)([^\n]*?\S)\1"), r"\2"),  # emphasis and code
    (re.compile(r"(?<!\w)(_{1,3})(?=\S)([^\n]*?\S)\1(?!\w)"), r"\2"),  # the same, not snake_case
    (re.compile(r"\s*\|\s*"), " "),  # table cells
    (re.compile(r"\*\*|~~|`"), ""),  # emphasis that spans pieces
)
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2190-\u21ff\u2300-\u23ff"
    "\ufe0e\ufe0f\u200d\u20e3\U000e0020-\U000e007f]+"
)
_SPACES = re.compile(r"\s+")


_SOURCES = re.compile(rf"\s*{_MARK}")


def speakable(text: str, *, has_sources: bool = False) -> str:
    """The text without what should not be read out: markdown marks, emoji, link targets.

    With `has_sources`, numbers in brackets are sources and not read out either. May be empty: then
    there is nothing to say. Captions and history keep the text itself.
    """
    if has_sources:
        text = _SOURCES.sub("", text)
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    text = _SPACES.sub(" ", _EMOJI.sub(" ", text)).strip()
    return text if any(char.isalnum() for char in text) else ""
