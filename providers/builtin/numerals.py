"""Arithmetic found in speech: "what is seventeen times three", "十二加五等于多少". Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Literal

_WORDS = re.compile(r"\w+")
_UNITS = _WORDS.findall(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = _WORDS.findall("twenty thirty forty fifty sixty seventy eighty ninety")
_SMALL = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: (at + 2) * 10 for at, word in enumerate(_TENS)},
}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_ZH_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")}
_ZH_DIGITS |= {"两": 2, "〇": 0}
_ZH_SCALES = {"十": 10, "百": 100, "千": 1_000, "万": 10_000}

# What is said for an operator, longest first, and how a calculator writes it.
_OPERATORS = {
    "multiplied by": "*",
    "to the power of": "**",
    "divided by": "/",
    "times": "*",
    "plus": "+",
    "minus": "-",
    "over": "/",
    "乘以": "*",
    "除以": "/",
    "加上": "+",
    "减去": "-",
    "加": "+",
    "减": "-",
    "乘": "*",
    "除": "/",
    "×": "*",
    "÷": "/",
    "−": "-",
    "^": "**",
}
_ZH_NUMBER = "[" + "".join([*_ZH_DIGITS, *_ZH_SCALES]) + "]+"
_EN_NUMBER = "|".join(sorted([*_SMALL, *_SCALES], key=len, reverse=True))
_TOKEN = re.compile(
    rf"(?P<digits>\d+(?:,\d{{3}})*(?:\.\d+)?)"
    rf"|(?P<english>\b(?:{_EN_NUMBER})(?:(?:[\s-]+|\s+and\s+)(?:{_EN_NUMBER}))*\b)"
    rf"|(?P<chinese>{_ZH_NUMBER}(?:点{_ZH_NUMBER})?)"
    rf"|(?P<spoken>{'|'.join(map(re.escape, _OPERATORS))})"
    r"|(?P<sign>\*\*|[-+*/()])"
    r"|(?P<space>\s+)"
    r"|(?P<other>[a-z]+|.)",
    re.DOTALL,
)
_LETTER_X = re.compile(r"(?<=\d) ?x ?(?=\d)")
# Dates, ranges and telephone numbers look like subtraction.
_NOT_ARITHMETIC = re.compile(r"\d{2,4}-\d{1,2}-\d{1,2}|\d{3,}(?:-\d{3,})+")
# Nobody says a longer sum; what comes after is not looked at.
MAX_CHARS = 300


@dataclasses.dataclass(frozen=True, slots=True)
class _Lexeme:
    kind: Literal["number", "operator", "open", "close", "other"]
    written: str
    follows_space: bool


def find_expression(text: str) -> str | None:
    """The first arithmetic expression in a sentence, as `17 * 3`; None where there is none."""
    # In lower case beforehand: a pattern without regard to case takes "ſix" for a number.
    text = _LETTER_X.sub(" * ", " ".join(text.split())[:MAX_CHARS].lower())
    run = _Run()
    for lexeme in _lexemes(text):
        if run.takes(lexeme):
            continue
        if run.is_sum:
            break
        # What broke off the last run may begin the next.
        run = _Run()
        run.takes(lexeme)
    return run.written() if run.is_sum else None


def _lexemes(text: str) -> Iterator[_Lexeme]:
    follows_space = False
    for token in _TOKEN.finditer(text):
        kind, said = token.lastgroup, token[0]
        if kind == "space":
            follows_space = True
            continue
        if kind == "digits":
            yield _Lexeme("number", said.replace(",", ""), follows_space)
        elif kind == "english":
            yield _Lexeme("number", str(_english(said)), follows_space)
        elif kind == "chinese":
            yield _Lexeme("number", _chinese(said), follows_space)
        elif kind == "spoken":
            yield _Lexeme("operator", _OPERATORS[said], True)
        elif kind == "sign" and said in "()":
            yield _Lexeme("open" if said == "(" else "close", said, follows_space)
        else:
            yield _Lexeme("operator" if kind == "sign" else "other", said, follows_space)
        follows_space = kind == "spoken"


class _Run:
    """Operands and operators in turn, taken one by one; each is looked at once."""

    def __init__(self) -> None:
        self._taken: list[_Lexeme] = []
        self._pieces: list[str] = []
        self._depth = 0
        self._is_signed = False
        self._wants_operand = True
        self._operators = 0
        # How far the run is a whole expression, and with how many operators.
        self._whole = 0
        self.is_sum = False

    def takes(self, lexeme: _Lexeme) -> bool:
        """Adds the lexeme, if it may stand here."""
        piece = self._operand(lexeme) if self._wants_operand else self._after_operand(lexeme)
        if piece is None:
            return False
        self._taken.append(lexeme)
        self._pieces.append(piece)
        if not self._wants_operand:
            self._whole = len(self._taken)
            self.is_sum = self._operators > 0
        return True

    def written(self) -> str | None:
        """The expression so far; None where it is something else, or its brackets do not fit."""
        whole, pieces = self._taken[: self._whole], self._pieces[: self._whole]
        is_spaced = any(lexeme.follows_space for lexeme in whole[1:])
        if not is_spaced and _NOT_ARITHMETIC.fullmatch("".join(each.written for each in whole)):
            return None
        return "".join(pieces) if pieces.count("(") == pieces.count(")") else None

    def _operand(self, lexeme: _Lexeme) -> str | None:
        if lexeme.kind == "open":
            self._depth += 1
            return "("
        if lexeme.written == "-" and not self._is_signed:
            self._is_signed = True
            return "-"
        if lexeme.kind != "number":
            return None
        self._wants_operand = False
        return lexeme.written

    def _after_operand(self, lexeme: _Lexeme) -> str | None:
        if lexeme.kind == "close" and self._depth:
            self._depth -= 1
            return ")"
        if lexeme.kind != "operator":
            return None
        self._operators += 1
        self._wants_operand, self._is_signed = True, False
        return f" {lexeme.written} "


def _english(words: str) -> int:
    total = group = 0
    for word in re.split(r"[\s-]+", words):
        if word == "hundred":
            group = max(1, group) * 100
        elif word in _SCALES:
            total, group = total + max(1, group) * _SCALES[word], 0
        elif word != "and":
            group += _SMALL[word]
    return total + group


def _chinese(characters: str) -> str:
    whole, _, fraction = characters.partition("点")
    decimals = "".join(str(_ZH_DIGITS.get(character, 0)) for character in fraction)
    return str(_chinese_whole(whole)) + (f".{decimals}" if decimals else "")


def _chinese_whole(characters: str) -> int:
    if not any(character in _ZH_SCALES for character in characters):
        return int("".join(str(_ZH_DIGITS[character]) for character in characters) or "0")
    total = group = digit = 0
    for character in characters:
        if character in _ZH_DIGITS:
            digit = _ZH_DIGITS[character]
        elif character == "万":
            total, group, digit = (total + group + digit) * 10_000, 0, 0
        else:
            group, digit = group + max(1, digit) * _ZH_SCALES[character], 0
    return total + group + digit
