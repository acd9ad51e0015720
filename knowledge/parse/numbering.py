"""The numbers that Word writes before paragraphs; the file only says how they are counted."""

from __future__ import annotations

import dataclasses
import re

from lxml import etree

from knowledge.parse.ooxml import attribute, child, local

_MAX_LEVEL = 9
_PLACE = re.compile(r"%([1-9])")
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
          (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_CHINESE = "零一二三四五六七八九"
_CHINESE_FORMATS = {
    "chineseCounting",
    "chineseCountingThousand",
    "ideographDigital",
    "japaneseCounting",
    "taiwaneseCountingThousand",
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Level:
    """How one level of a list is counted, and the text around its numbers."""

    number_format: str
    text: str
    start: int
    style_id: str | None
    # "Legal": the numbers of the levels above are in digits, too.
    is_legal: bool


class Numbering:
    """Counts through the lists of a document, in the order of its paragraphs."""

    def __init__(self, root: etree._Element | None) -> None:
        self._abstract: dict[str, dict[int, _Level]] = {}
        self._list_of: dict[str, str] = {}
        self._counts: dict[str, list[int | None]] = {}
        for element in root if root is not None else ():
            if local(element) == "abstractNum":
                identifier = attribute(element, "abstractNumId") or ""
                self._abstract[identifier] = dict(map(_level, _levels(element)))
            elif local(element) == "num":
                self._list_of[attribute(element, "numId") or ""] = (
                    attribute(child(element, "abstractNumId"), "val") or ""
                )

    def depth_of(self, list_id: str, style_id: str | None) -> int:
        """The level of a list that belongs to a style of paragraphs."""
        levels = self._abstract.get(self._list_of.get(list_id, ""), {})
        return next((at for at, level in levels.items() if level.style_id == style_id), 0)

    def next(self, list_id: str, depth: int) -> str | None:
        """The number of the next paragraph of a list at a depth; None for bullets and no list."""
        name = self._list_of.get(list_id, "")
        levels = self._abstract.get(name, {})
        level = levels.get(depth)
        if level is None or depth >= _MAX_LEVEL:
            return None
        counts = self._counts.setdefault(name, [None] * _MAX_LEVEL)
        before = counts[depth]
        counts[depth] = level.start if before is None else before + 1
        counts[depth + 1 :] = [None] * (_MAX_LEVEL - depth - 1)
        if level.number_format in ("bullet", "none"):
            return None

        def fill(place: re.Match[str]) -> str:
            at = int(place[1]) - 1
            shape = levels.get(at, level)
            number = counts[at]
            number_format = "decimal" if level.is_legal else shape.number_format
            return written(shape.start if number is None else number, number_format)

        return _PLACE.sub(fill, level.text).strip() or None


def _levels(abstract: etree._Element) -> list[etree._Element]:
    return [element for element in abstract if local(element) == "lvl"]


def _level(element: etree._Element) -> tuple[int, _Level]:
    start = attribute(child(element, "start"), "val") or "1"
    return _small(attribute(element, "ilvl"), 0), _Level(
        attribute(child(element, "numFmt"), "val") or "decimal",
        (attribute(child(element, "lvlText"), "val") or "")[:100],
        _small(start, 1),
        attribute(child(element, "pStyle"), "val"),
        child(element, "isLgl") is not None,
    )


def _small(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 7 else otherwise


def written(number: int, number_format: str) -> str:
    """A number in one of Word's formats; in one that is not known here, in digits."""
    match number_format:
        case "upperRoman" | "lowerRoman" if 0 < number < 4000:
            roman = _roman(number)
            return roman.upper() if number_format == "upperRoman" else roman
        case "upperLetter" | "lowerLetter" if 0 < number <= 26 * 10:
            letter = chr(ord("A") + (number - 1) % 26) * ((number - 1) // 26 + 1)
            return letter if number_format == "upperLetter" else letter.lower()
        case "decimalZero":
            return f"{number:02}"
        case "decimalEnclosedCircle" if 0 < number <= 20:
            return chr(ord("①") + number - 1)
        case name if name in _CHINESE_FORMATS and 0 < number < 1000:
            return _chinese(number)
        case _:
            return str(number)


def _roman(number: int) -> str:
    text = ""
    for value, letters in _ROMAN:
        count, number = divmod(number, value)
        text += letters * count
    return text


def _chinese(number: int) -> str:
    """Up to 999: 十二, 一百零三, 一百一十."""
    hundreds, rest = divmod(number, 100)
    tens, ones = divmod(rest, 10)
    text = f"{_CHINESE[hundreds]}百" if hundreds else ""
    if tens:
        text += ("" if tens == 1 and not hundreds else _CHINESE[tens]) + "十"
    elif hundreds and ones:
        text += _CHINESE[0]
    return text + (_CHINESE[ones] if ones else "")
