"""The built-in embedder: signed hashing of words and their parts. Finds shared words, not meaning.

Stored vectors compare only with vectors made in the same way: whoever changes what this module
takes for a feature, or its weight, names the model anew in `providers.catalogue`.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from providers.types import EmbedderSpec

# With fewer, features that share a place drown what a short question has in common with a text.
DEFAULT_DIMENSIONS = 2048
_THREADS = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hashing")

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_RUN = re.compile(rf"([{_CJK}]+)|[^\W_{_CJK}]+")

# A feature counts with its weight and the square root of how often it is there. There is no corpus
# to take frequencies from, so that the commonest words of both languages stand here.
_GRAM, _GRAM_CHARS = 0.5, 4
_FUNCTION_CHARACTER, _FUNCTION_WORD = 0.3, 0.2
_FUNCTION_CHARACTERS = frozenset(
    "的了是在我有和就不都一也很到说要去你会着没这那个们吗呢吧啊么怎什哪多少几可以能请问下把被给对从与及或"
    "为因所其而但如若则并等上里时后前来得还用"
)
_COMMON_WORDS = (
    "a about above after again all also am an and any are as at be because been before being "
    "below between both but by can cannot could did do doe doing down during each few for from "
    "further get got had ha have having he her here him his how i if in into is it just may me "
    "might more most must my no nor not of off on once one only or other our out over own same "
    "shall she should so some such than that the their them then there these they this those "
    "through to too under until up upon us very was we were what when where which while who "
    "whom whose why will with within without would you your"
)
_FUNCTION_WORDS = frozenset(_COMMON_WORDS.split())


def _stem(word: str) -> str:
    """The singular of most English words."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    is_plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if is_plural else word


def _features(text: str) -> Counter[str]:
    """Words and runs of four of their letters, marked "#"; Chinese characters and their pairs."""
    features: Counter[str] = Counter()
    for match in _RUN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        run = match.group()
        if match[1]:
            features.update(run)
            features.update(map("".join, pairwise(run)))
            continue
        word = _stem(run)
        features[word] += 1
        if not word.isdigit() and word not in _FUNCTION_WORDS:
            padded = f" {word} "
            ends = range(_GRAM_CHARS, len(padded) + 1)
            features.update(f"#{padded[end - _GRAM_CHARS : end]}" for end in ends)
    return features or Counter([text.strip()])


@lru_cache(maxsize=1 << 16)
def _hashed(feature: str) -> tuple[int, float]:
    """Where a feature counts, before the number of dimensions is known, and how much; signed."""
    number = zlib.crc32(feature.encode(errors="replace"))
    return number >> 1, _weight(feature) if number & 1 else -_weight(feature)


def _weight(feature: str) -> float:
    if feature.startswith("#"):
        return _GRAM
    if feature in _FUNCTION_WORDS:
        return _FUNCTION_WORD
    common = sum(character in _FUNCTION_CHARACTERS for character in feature)
    return _FUNCTION_CHARACTER**common


def embed_text(text: str, *, dimensions: int = DEFAULT_DIMENSIONS) -> npt.NDArray[np.float32]:
    """One unit vector, the same in every process and on every machine; zeros for a blank text."""
    if not text.strip():
        return np.zeros(dimensions, np.float32)
    features = _features(text)
    places, weights = zip(*map(_hashed, features), strict=True)
    counts = np.fromiter(features.values(), np.float64, len(features))
    sums = np.bincount(
        np.array(places) % dimensions,
        weights=np.array(weights) * np.sqrt(counts),
        minlength=dimensions,
    )
    norm = float(np.linalg.norm(sums))
    return (sums / norm if norm else sums).astype(np.float32)


class HashingEmbedder:
    """EmbeddingModel over `embed_text`; long batches leave the event loop free."""

    def __init__(self, dimensions: int = DEFAULT_DIMENSIONS) -> None:
        self._dimensions = dimensions

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text."""
        return await asyncio.get_running_loop().run_in_executor(_THREADS, self._embed, list(texts))

    def _embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        rows = [embed_text(text, dimensions=self._dimensions) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self._dimensions), np.float32)


def from_spec(spec: EmbedderSpec) -> HashingEmbedder:
    """The embedder with the row's number of dimensions, or its own."""
    return HashingEmbedder(spec.dimensions or DEFAULT_DIMENSIONS)
