"""Results of tools as a person would say them. Pure."""

from __future__ import annotations

import datetime
import re
from typing import Literal

Language = Literal["en", "zh"]

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?")
_SIGNS: dict[Language, dict[str, str]] = {
    "en": {"**": "to the power of", "*": "times", "/": "divided by", "+": "plus", "-": "minus"},
    "zh": {"**": "的幂次", "*": "乘以", "/": "除以", "+": "加", "-": "减"},
}
# Between two operands; the sign of a negative number is left alone.
_SIGN = re.compile(r"(?<=[\w).])\s*(\*\*|[*/+-])\s*")


def spoken_time(text: str, language: Language) -> str:
    """A moment at the start of the text without seconds and zone; any other text as it is."""
    found = _MOMENT.match(text)
    if found is None:
        return text
    try:
        moment = datetime.datetime.fromisoformat(found[0])
    except ValueError:
        return text
    if language == "zh":
        return f"{moment.month}月{moment.day}日{moment.hour}点{moment.minute:02d}分"
    return f"{moment:%H:%M} on {moment:%A}, {moment.day} {moment:%B}"


def spoken_sum(expression: str, language: Language) -> str:
    """An expression with words for its signs: "12 * 7" is "12 times 7"."""
    words = _SIGNS[language]
    return _SIGN.sub(lambda sign: f" {words[sign[1]]} ", expression).strip()
