"""How many tokens a text is, roughly, where no vendor counted: exact tokenisers need downloads."""

from __future__ import annotations

import math
import re
from typing import TypeGuard

# Han, kana, Hangul and full-width forms: about one token each. Everything else: four characters.
CJK = re.compile(
    r"[\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]"
)


def is_count(value: object) -> TypeGuard[int]:
    """Whether what a vendor sent can be a number of tokens."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def estimate_tokens(text: str) -> int:
    """At least 1 for any text that is not empty."""
    # Of ASCII Python knows it without looking.
    cjk = 0 if text.isascii() else len(CJK.findall(text))
    return cjk + math.ceil((len(text) - cjk) / 4)
