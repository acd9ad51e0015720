"""Which sentence of the knowledge answers a question, by the words that they share. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from operator import itemgetter

from providers.passages import Passage
from providers.tokens import CJK
from providers.wording import ENOUGH, shares

_ENDS = ".!?。！？"
# A short line without an end stands over what follows; it answers nothing itself.
_HEADING_CHARS = 60
_SENTENCE = re.compile(r"(?:[^.!?。！？\n]|\.(?=\S))+[.!?。！？]?")


@dataclasses.dataclass(frozen=True, slots=True)
class Quote:
    """A sentence, and the passage that it stands in."""

    passage: Passage
    sentence: str


def best_quote(question: str, passages: Sequence[Passage]) -> Quote | None:
    """The sentence that has most of what the question asks for, or None where none has enough.

    Of equals, one in the question's script wins, then a whole sentence, then the shorter one.
    """
    candidates = [(passage, *pair) for passage in passages for pair in _sentences(passage)]
    sentences = [sentence for _passage, sentence, _nearby in candidates]
    nearby = [text for _passage, _sentence, text in candidates]
    ranked = [
        ((round(share, 6), _fitness(question, sentence), -len(sentence)), Quote(passage, sentence))
        for (passage, sentence, _nearby), share in zip(
            candidates, shares(question, sentences, nearby=nearby), strict=True
        )
        if share >= ENOUGH
    ]
    return max(ranked, key=itemgetter(0))[1] if ranked else None


def _fitness(question: str, sentence: str) -> tuple[bool, bool]:
    is_in_script = bool(CJK.search(question)) == bool(CJK.search(sentence))
    return is_in_script, sentence[-1] in _ENDS


def _sentences(passage: Passage) -> Iterator[tuple[str, str]]:
    """Each sentence, with what it leans on: source and heading, and the sentence before."""
    heading = before = ""
    lines = [line.strip() for line in passage.text.split("\n") if line.strip()]
    for number, line in enumerate(lines, 1):
        if number < len(lines) and _is_heading(line):
            heading, before = line, ""
            continue
        for sentence in map(str.strip, _SENTENCE.findall(line)):
            if sentence:
                yield sentence, f"{passage.source}\n{heading}\n{before}"
                before = sentence


def _is_heading(line: str) -> bool:
    return len(line) <= _HEADING_CHARS and line[-1] not in _ENDS and "|" not in line
