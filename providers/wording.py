"""What a question is about, by its words, and how much of it a text has. Pure, English and Chinese.

For deciding without a model: which sentence to quote, which passage has nothing to do with it.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections import Counter
from collections.abc import Container, Sequence

from providers.tokens import CJK

# From this share on a text is taken to be about the question: of two words it has the one that
# tells. Below it, words agree by chance.
ENOUGH = 0.4
# What a word counts that a text has only nearby, and a Chinese character without its neighbours.
NEARBY, ALONE = 0.3, 0.3

_LATIN_WORD = re.compile(r"[^\W_\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+(?:[.'‐‑-][a-z0-9]+)*")
_HYPHENS = re.compile("[-‐‑]")
_CJK_RUN = re.compile(rf"{CJK.pattern}+")
_MARKS = re.compile(r"[\u3000-\u303f\uff00-\uffef]")
_STOP_WORDS = frozenset(
    _LATIN_WORD.findall(
        "a an the is are was were be am do does did of to in on at for from with by about as and "
        "or but if then than so what which who whom whose when where why how much many long often "
        "i you he she it we they me him her us them my your his its our their this that these "
        "those there here can could will would shall should may might must have has had please "
        "tell explain give know want need like get mean not no any some more else also too just "
        "only again hello hi thank thanks i'm it's what's don't can't doesn't i'd s m"
    )
)
_FUNCTION_WORDS = re.compile(
    # Verbs of everyday questions: what may be brought, bought or used is what they are about.
    "(?:可不可以|能不能|可以|允许|能|会|要|想)(?:带|放|买|拿|用|进去?|去|来)|放在|进[去来]|喜欢"
    "|[你您]好|谢谢|什么时候|什么|怎么样?|如何|为什么|为啥|多少钱?|多久|多长|几|哪[里儿个些]?|谁|是否|是不是|有没有|能不能"
    "|可不可以|可以|还有|另外|然后|那么|请问?|一下|告诉|知道|意思|[我你您他她它]们?|这[个些里样]?|那[个些里样]?"
    "|[的了吗呢吧啊呀是有在和与或也都还就又再很最个能会要想把被对从到一]"
)
_SUFFIXES = ("ings", "ing", "ied", "ies", "ed", "es", "s", "e")


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """A word of a question: a stem, or a Chinese character with the pairs that it is part of."""

    text: str
    pairs: frozenset[str] = frozenset()

    @property
    def size(self) -> float:
        """In words: a Chinese character is about half of one."""
        return 0.5 if CJK.match(self.text) else 1.0

    def found_in(self, own: Container[str], nearby: Container[str]) -> float:
        """How surely a text with these terms is about it, 0 to 1."""
        if not self.pairs:
            return 1.0 if self.text in own else NEARBY if self.text in nearby else 0.0
        if any(pair in own for pair in self.pairs):
            return 1.0
        if self.text in own:
            return ALONE
        return NEARBY if any(pair in nearby for pair in self.pairs) else 0.0


def terms_of(question: str) -> tuple[Term, ...]:
    """What the question is about, without the words that every question has."""
    terms = [Term(stem) for stem in _stems(question)]
    for run in _CJK_RUN.findall(_FUNCTION_WORDS.sub(" ", _MARKS.sub(" ", question))):
        for at, char in enumerate(run):
            terms.append(Term(char, frozenset(_pairs(run[max(0, at - 1) : at + 2]))))
    return tuple(dict.fromkeys(terms))


def shares(
    question: str, texts: Sequence[str], *, nearby: Sequence[str] | None = None
) -> list[float]:
    """How much of what the question is about each text has, 0 to 1.

    A word weighs the more, the fewer of the texts have it. `nearby` is what stands near each text,
    which counts for less.
    """
    asked = terms_of(question)
    own = list(map(_held, texts))
    around = list(map(_held, nearby)) if nearby is not None else [frozenset[str]()] * len(own)
    spread = Counter(term for held in own for term in held)
    total = len(own) + 1
    weights = [
        term.size * (1 + math.log(1 + total / (spread[term.text] + 1)) / 4) for term in asked
    ]
    found = [[term.found_in(*held) for term in asked] for held in zip(own, around, strict=True)]
    # Where no word is surely meant, the text agrees by chance.
    return [
        sum(map(operator.mul, each, weights)) / sum(weights) if 1.0 in each else 0.0
        for each in found
    ]


def _held(text: str) -> frozenset[str]:
    """The terms of a text, its function words included: they are part of what it says."""
    held = set(_stems(text))
    for run in _CJK_RUN.findall(_MARKS.sub(" ", text)):
        held.update(run, _pairs(run))
    return frozenset(held)


def _stems(text: str) -> list[str]:
    return [_stem(word) for word in _LATIN_WORD.findall(text.casefold()) if word not in _STOP_WORDS]


def _stem(word: str) -> str:
    if any(map(str.isdigit, word)):
        # Identifiers are written with hyphens and without.
        return _HYPHENS.sub("", word)
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            stem = word[: -len(suffix)]
            return f"{stem}y" if suffix in ("ied", "ies") else stem
    return word


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]
