"""Which sentence of the knowledge answers a question, by the words that they share. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from operator import itemgetter

from providers.passages import Passage
from providers.tokens import CJK
from providers.wording import ENOUGH, shares

_ENDS = ".!?。！？"
# A short line without an end stands over what follows; it answers nothing itself.
_HEADING_CHARS = 60
_SENTENCE = re.compile(r"(?:[^.!?。！？\n]|\.(?=\S))+[.!?。！？]?")

# What Markdown writes around words and in front of lines; nobody says it.
_FRONT = re.compile(r"(?:#{1,6}|>|[-*+]|\d{1,3}[.)])(?:\s+|$)")
_MARKED = re.compile(
    r"(?P<star>\*{1,3})(?=[^\s*])(?P<a>[^*]+)(?<=\S)(?P=star)"
    r"|(?<![\w_])(?P<line>_{1,3})(?=[^\s_])(?P<b>[^_]+)(?<=\S)(?P=line)(?![\w_])"
    r"|~~(?=\S)(?P<c>[^~]+)(?<=\S)~~|(?P<tick>`{1,2})(?P<d>[^`]+)(?P=tick)"
    r"|!?\[(?P<e>[^\]\[]+)\]\([^()\s]*\)"
)
# A row of a table, and the line below its header.
_CELL_END = " | "
_RULE = re.compile(r"[\s|:-]*-[\s|:-]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Quote:
    """A sentence as it is said, and the passage that it stands in."""

    passage: Passage
    sentence: str


def best_quote(question: str, passages: Sequence[Passage]) -> Quote | None:
    """The sentence that has most of what the question asks for, or None where none has enough.

    Of equals, one in the question's script wins, then a whole sentence, then the shorter one. The
    row of a table counts as one; it is said with the names of its columns.
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
    header: list[str] | None = None
    lines = [line.strip() for line in passage.text.split("\n")]
    for number, line in enumerate(lines, 1):
        following = lines[number] if number < len(lines) else ""
        if cells := _cells(line):
            if header is None and _cells(following):
                header = cells
            elif not _RULE.fullmatch(line) and (row := _row(header or [], cells)):
                yield row, f"{passage.source}\n{heading}"
            continue
        header = None
        if line and any(lines[number:]) and _is_heading(line):
            heading, before = _unmarked(line), ""
            continue
        for sentence in map(str.strip, _SENTENCE.findall(_unmarked(line))):
            if sentence:
                yield sentence, f"{passage.source}\n{heading}\n{before}"
                before = sentence


def _is_heading(line: str) -> bool:
    return len(line) <= _HEADING_CHARS and line[-1] not in _ENDS


def _unmarked(text: str) -> str:
    """A line without marks of Markdown."""
    text = _FRONT.sub("", text, count=1) if _FRONT.match(text) else text
    while (plain := _MARKED.sub(_inside, text)) != text:
        text = plain
    return text


def _inside(marked: re.Match[str]) -> str:
    return next(marked[name] for name in "abcde" if marked[name] is not None)


def _cells(line: str) -> list[str]:
    """The cells of a row, of which there are at least two; else none."""
    is_framed = line.startswith("|")
    if _CELL_END not in line and not (is_framed and line.count("|") > 2):
        return []
    cells = line.removeprefix("|").removesuffix("|").split("|" if is_framed else _CELL_END)
    return [_unmarked(cell.strip()) for cell in cells]


def _row(header: Sequence[str], cells: Sequence[str]) -> str:
    """A row as it is said: each value after the name of its column."""
    is_chinese = bool(CJK.search("".join((*header, *cells))))
    colon, comma = ("：", "，") if is_chinese else (": ", ", ")
    named = zip_longest(header, cells, fillvalue="")
    return comma.join(f"{name}{colon}{cell}" if name else cell for name, cell in named if cell)
