"""Arithmetic found in speech: "what is seventeen times three", "十二加五等于多少". Pure."""

from __future__ import annotations

import re

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
    re.IGNORECASE | re.DOTALL,
)
_LETTER_X = re.compile(r"(?<=\d)\s*[xX]\s*(?=\d)")
_EXPRESSION = re.compile(
    r"\(*\s*-?\s*\(*\d[\d.]*\)*(?:\s*(?:\*\*|[-+*/])\s*\(*\s*-?\s*\(*\d[\d.]*\s*\)*)+"
)
# Dates, ranges and telephone numbers look like subtraction.
_NOT_ARITHMETIC = re.compile(r"^\d{2,4}-\d{1,2}-\d{1,2}$|^\d{3,}(?:-\d{3,})+$")


def find_expression(text: str) -> str | None:
    """The first arithmetic expression in a sentence, as `17 * 3`; None where there is none."""
    text = _LETTER_X.sub(" * ", text)
    written = "".join(_written(token) for token in _TOKEN.finditer(text))
    found = _EXPRESSION.search(written)
    if found is None or _NOT_ARITHMETIC.match(found[0].strip()):
        return None
    expression = found[0].strip()
    if expression.count("(") != expression.count(")"):
        return None
    return re.sub(r"(?<=[\d)])\s*(\*\*|[-+*/])\s*", r" \1 ", expression).strip()


def _written(token: re.Match[str]) -> str:
    kind, said = token.lastgroup, token[0]
    if kind == "digits":
        return said.replace(",", "")
    if kind == "english":
        return str(_english(said))
    if kind == "chinese":
        return _chinese(said)
    if kind == "spoken":
        return f" {_OPERATORS[said.lower()]} "
    # Anything that is not arithmetic keeps its neighbours apart.
    return said if kind in ("sign", "space") else " \x00 "


def _english(words: str) -> int:
    total = group = 0
    for word in re.split(r"[\s-]+", words.lower()):
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
