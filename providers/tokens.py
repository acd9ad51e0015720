"""How many tokens a text is, roughly, where no vendor counted: exact tokenisers need downloads."""

from __future__ import annotations

import math
import re

# Han, kana, Hangul and full-width forms: about one token each. Everything else: four characters.
CJK = re.compile(
    r"[\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]"
)


def estimate_tokens(text: str) -> int:
    """At least 1 for any text that is not empty."""
    cjk = len(CJK.findall(text))
    return cjk + math.ceil((len(text) - cjk) / 4)
