"""Texts and vectors that behave like real ones where a search is concerned.

Words follow Zipf's law and a chunk's come in part from the vocabulary of its topic; the vectors of
a topic form a cluster. Everything comes from one seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")

TOPICS = 400
CHUNK_CHARS = 300
_VOCABULARY = 50_000
_TOPIC_WORDS = 200
_TOPIC_SHARE = 0.3
# Noise on top of a cluster's centre, as long as the centre itself: cosines of about 0.5 within it.
_SPREAD = 1.0
_QUERY_SPREAD = 0.5

# The commonest words, which filler consists of.
_COMMON = {
    "zh": "的 是 在 了 和 有 我们 可以 这 不 为 一个 什么 情况 关于 请问 一下 详细 进行 如果 需要"
    " 使用 问题 公司 工作 他们 没有 时间 通过 以及 呢",
    "en": "the of and to a in is for that with on as are be this by it or from at please tell me"
    " about an what does more information which can you not have will all when",
}
_FILLED = {
    "zh": "请问一下关于{}的详细情况是什么呢",
    "en": "please tell me more about {} and what it is for",
}
_ONSETS = (
    "b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z",
    "st", "tr", "pl", "gr", "ch", "sh",
)  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "or")
_SYLLABLES = [onset + vowel for onset in _ONSETS for vowel in _VOWELS]


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """A chunk's text, its topic and language."""

    text: str
    topic: int
    language: Language


class Corpus:
    """An endless supply of chunks, the same for the same seed."""

    def __init__(self, *, dimensions: int, seed: int = 1) -> None:
        self.dimensions = dimensions
        self._random = np.random.default_rng(seed)
        self._filler = set(_COMMON["en"].split())
        self._words = {language: self._vocabulary(language) for language in LANGUAGES}
        ranks = np.arange(_VOCABULARY) + 2.7
        self._cumulated = np.cumsum(1 / ranks) / np.sum(1 / ranks)
        # Topics have words of their own in the middle of the vocabulary.
        self._topical = self._random.integers(200, 20_000, (TOPICS, _TOPIC_WORDS))

    def samples(self, count: int) -> Iterator[Sample]:
        """Chunks of Chinese and English in turn."""
        for number in range(count):
            topic = int(self._random.integers(TOPICS))
            language: Language = "en" if number % 2 else "zh"
            yield Sample(self._text(language, topic), topic, language)

    def vectors(self, topics: Sequence[int]) -> npt.NDArray[np.float32]:
        """Unit vectors, one for each topic named."""
        noise = self._random.standard_normal((len(topics), self.dimensions), np.float32)
        return _unit(self._centres[list(topics)] + _SPREAD * noise)

    def near(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Vectors as questions about chunks have them: close, not the same."""
        noise = self._random.standard_normal(vectors.shape, np.float32)
        return _unit(vectors + _QUERY_SPREAD * noise / np.sqrt(self.dimensions))

    def question(self, sample: Sample) -> str:
        """A snippet of the chunk, as short as a question's subject, wrapped in filler.

        14 characters of Chinese; five words of English, at most one of which is filler itself.
        """
        snippet = self._snippet(sample)
        while len(set(snippet.split()) - self._filler) < 4 and sample.language == "en":
            snippet = self._snippet(sample)
        return _FILLED[sample.language].format(snippet)

    def _snippet(self, sample: Sample) -> str:
        if sample.language == "zh":
            at = int(self._random.integers(0, len(sample.text) - 14))
            return sample.text[at : at + 14]
        words = sample.text.split(" ")[:-1]
        at = int(self._random.integers(0, len(words) - 5))
        return " ".join(words[at : at + 5])

    @cached_property
    def _centres(self) -> npt.NDArray[np.float32]:
        return self._random.standard_normal((TOPICS, self.dimensions), np.float32)

    def _text(self, language: Language, topic: int) -> str:
        count = CHUNK_CHARS if language == "zh" else CHUNK_CHARS // 3
        general = np.searchsorted(self._cumulated, self._random.random(count))
        topical = self._random.choice(self._topical[topic], count)
        chosen = np.where(self._random.random(count) < _TOPIC_SHARE, topical, general)
        words = [self._words[language][number] for number in chosen]
        if language == "en":
            return " ".join(words)[:CHUNK_CHARS]
        clauses = ["".join(words[at : at + 9]) for at in range(0, count, 9)]
        return "，".join(clauses)[:CHUNK_CHARS]

    def _vocabulary(self, language: str) -> list[str]:
        words = dict.fromkeys(_COMMON[language].split())
        while len(words) < _VOCABULARY:
            words[self._word(language)] = None
        return list(words)

    def _word(self, language: str) -> str:
        if language == "en":
            size = self._random.choice((1, 2, 3, 4), p=(0.05, 0.4, 0.4, 0.15))
            return "".join(self._random.choice(_SYLLABLES, size))
        # Common characters are many times as common as rare ones.
        size = self._random.choice((1, 2, 3, 4), p=(0.05, 0.7, 0.15, 0.1))
        offsets = (3_500 ** self._random.random(size)).astype(int) + self._random.integers(
            0, 200, size
        )
        return "".join(chr(0x4E00 + 5 * int(offset)) for offset in offsets)


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rows: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows
