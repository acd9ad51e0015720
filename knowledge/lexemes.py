"""The words of a text, as the keyword leg of a search stores and asks for them. Pure.

Postgres knows no Chinese words, so that both sides are cut here: scripts without spaces into
overlapping pairs of characters, everything else into folded words; identifiers whole and in parts.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator

MAX_QUERY_WORDS = 256
MAX_QUERY_CHARS = 4000

# Postgres: positions end at 16,383, a lexeme at 2,046 bytes, a vector at 1 MB.
_MAX_POSITION = 16_383
_MAX_LEXEME_CHARS = 128
_MAX_VECTOR_BYTES = 900_000
_SAFE_CHARS = _MAX_VECTOR_BYTES // 4

# Han, kana, Hangul, Thai, Lao, Burmese, Khmer; without their punctuation.
_UNSPACED = (
    r"\u3005-\u3007\u3040-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    r"\u0e01-\u0e4e\u0e80-\u0edf\u1000-\u1049\u1780-\u17d3\U00020000-\U0003ffff"
)
_CHARS = rf"[^\W_{_UNSPACED}]+"
# What stands inside a word: ERR-1234, a@b.c, snake_case, 24/7; 1,299 and 10:30 among digits only.
_JOINT = r"(?:[-_./@+&'’·‐‑–－＿．／＠＋＆＇]|(?<=\d)[,，](?=\d{3}(?!\d))|(?<=\d)[:：](?=\d))"
_TOKEN = re.compile(rf"([{_UNSPACED}]+)|({_CHARS}(?:{_JOINT}{_CHARS})*(?:\+\+|\#)?)")
# 138 0013 8000: digits in groups, as people write telephone and card numbers.
_GROUPED_DIGITS = re.compile(r"(?<![\w.,-])\d{2,4}(?: \d{3,5}){2,4}(?![\w-]|[.,]\d)")

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_COMBINING = re.compile("[\u0300-\u036f\u3099\u309a]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_FULL_WIDTH = re.compile("[０-９Ａ-Ｚａ-ｚ]")
_TO_HALF_WIDTH = {
    ord(char): ord(char) - 0xFEE0 for char in map(chr, range(0xFF10, 0xFF5B)) if char.isalnum()
}

# A number, and a unit that is written to it: 1,299.00, 3.5kg, 2,000mAh.
_NUMBER = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?([^\W\d_]*)")
_VERSION = re.compile(r"[vV]?((\d+\.\d+)(?:\.\d+)+)")
_POSSESSIVE = re.compile(r"['’][sS]$")
_APOSTROPHE = re.compile("['’]")
_HYPHENS = re.compile("[-_·‐‑–]")
_JOINTS = re.compile(r"[\W_]+")
_IDENTIFIER = re.compile(r"(?=.*\d)(?=.*[^\W\d_]).{3,32}")
_PART = re.compile(r"\d+|[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+")


def vector_literal(content: str, heading: str = "") -> str:
    """A literal of tsvector that Postgres takes as it is; words of the heading have weight A."""
    above = _lexemes(heading)
    entries: dict[str, str] = {}
    for at, lexeme in enumerate(above, 1):
        entries.setdefault(lexeme, f"'{lexeme}':{min(at, _MAX_POSITION)}A")
    for at, lexeme in enumerate(_lexemes(content), len(above) + 1):
        if lexeme not in entries:
            entries[lexeme] = f"'{lexeme}':{min(at, _MAX_POSITION)}"
        elif at < _MAX_POSITION:
            entries[lexeme] += f",{at}"
    literal = " ".join(entries.values())
    return literal if len(literal) <= _SAFE_CHARS else " ".join(_within_limit(entries.values()))


def query_words(query: str) -> tuple[str, ...]:
    """The distinct words of a query in the order of their coming, at most `MAX_QUERY_WORDS`."""
    words = dict.fromkeys(_lexemes(query[:MAX_QUERY_CHARS]))
    return tuple(words)[:MAX_QUERY_WORDS]


def query_literal(words: Iterable[str]) -> str:
    """A literal of tsquery that any of the words satisfies; "" for none, which matches nothing."""
    return " | ".join(map(_quoted, words))


def _quoted(lexeme: str) -> str:
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _within_limit(entries: Iterable[str]) -> Iterator[str]:
    left = _MAX_VECTOR_BYTES
    for entry in entries:
        left -= len(entry.encode())
        if left < 0:
            return
        yield entry


def _lexemes(text: str) -> list[str]:
    """The words in order, without quotes and backslashes; forms of one word follow each other."""
    text = _INVISIBLE.sub("", text)
    if _COMBINING.search(text):
        text = unicodedata.normalize("NFC", text)
    if _FULL_WIDTH.search(text):
        text = text.translate(_TO_HALF_WIDTH)
    found: list[str] = []
    for token in _TOKEN.finditer(text):
        run, word = token.groups()
        if word is None:
            found += map("".join, itertools.pairwise(run)) if len(run) > 1 else run
        elif word.isascii() and word.isalpha() and (word.islower() or word[1:].islower()):
            found.append(_folded(word))
        elif (plain := _plain(word)) and (whole := _TOKEN.fullmatch(plain)) and whole[2]:
            found += dict.fromkeys(map(_folded, _forms(plain)))
        else:
            found += _lexemes(plain)
    found += (number.replace(" ", "") for number in _GROUPED_DIGITS.findall(text))
    return found


def _plain(word: str) -> str:
    """Compatible forms become one; Latin and Greek letters lose their accents."""
    if word.isascii():
        return word
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", word))
    return unicodedata.normalize("NFC", bare)


def _folded(word: str) -> str:
    """In lower case, and English words in the singular, where it can be told without a list."""
    word = word.casefold()[:_MAX_LEXEME_CHARS]
    if len(word) < 4 or word[-1] != "s" or word[-2] in "sui" or not word.isalpha():
        return word
    return f"{word[:-3]}y" if word.endswith("ies") and len(word) > 4 else word[:-1]


def _forms(word: str) -> Iterator[str]:
    """Under what a word that is not plain is found.

    ERR-1234: ERR1234, ERR, 1234. A/12: A/12, A12, A, 12. HTTPServer: HTTPServer, HTTP, Server.
    Ann's: Ann. 1,299.00: 1299. 3.5kg: 3.5, 3.5kg, kg. 1.2.3: 1.2.3, 1.2.
    """
    if number := _NUMBER.fullmatch(word):
        yield from _number_forms(number)
        return
    if version := _VERSION.fullmatch(word):
        yield from version.groups()
        return
    word = _APOSTROPHE.sub("", _POSSESSIVE.sub("", word))
    yield _HYPHENS.sub("", word)
    if _IDENTIFIER.fullmatch(word):
        yield _JOINTS.sub("", word)
    for piece in _JOINTS.split(word):
        parts = _PART.findall(piece)
        if len(parts) > 1:
            yield piece
        yield from parts


def _number_forms(number: re.Match[str]) -> Iterator[str]:
    whole, fraction, suffix = number.groups()
    value = whole.replace(",", "") + (fraction or "").rstrip("0").rstrip(".")
    yield value
    if suffix:
        yield value + suffix
        yield suffix
