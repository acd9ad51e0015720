"""What is kept of the hits of a search, and in which order. Pure."""

from __future__ import annotations

import bisect
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from knowledge.types import Hit, SearchRequest
from providers.tokens import estimate_tokens
from providers.wording import shares

# What conversations keep of a search. So many times more are found than are shown: what has nothing
# to do with the question goes.
OVERSAMPLING = 3
# A passage that has one of three words that tell may be what was asked for in other words: the
# model can still leave it aside.
FITTING_SHARE = 0.3

# Of the runs of characters of two texts; copies that differ in a word or two reach it.
_SAME_FROM = 0.9
_RUN = 4
_DIGITS = re.compile(r"\d+")
_NOT_TEXT = re.compile(r"[\W_]+")
_SENTENCE_END = re.compile(r"[。！？｡…]|(?<![.!?])[.!?]++(?=\s)|\n|\Z")
_WORD_END = re.compile(r"(?<=\S)(?=\s)")
# A piece of a text of fewer tokens tells nothing.
_LEAST_TOKENS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Neighbour:
    """A chunk beside a hit."""

    ordinal: int
    content: str
    char_start: int
    char_end: int


Neighbours = Mapping[tuple[str, int], Neighbour]


def passes(hit: Hit, request: SearchRequest) -> bool:
    """Whether the hit is good enough. Without a vector there is no cosine to fall short of."""
    if request.min_score is None or hit.score is None or hit.score >= request.min_score:
        return True
    share = request.keeps_keyword_share
    return share is not None and hit.keyword_rank is not None and hit.keyword_share >= share


def fitting(
    query: str, hits: Sequence[Hit], *, min_score: float | None, share: float = FITTING_SHARE
) -> list[Hit]:
    """The hits that are similar enough, or have enough of what the query is about.

    The search's own share of keywords counts every word of the query, so that in a small base
    "what is the" outweighs the one word that matters.
    """
    return [
        hit
        for hit, found in zip(hits, told_shares(query, hits), strict=True)
        if found >= share
        or (min_score is not None and hit.score is not None and hit.score >= min_score)
    ]


def told_shares(query: str, hits: Iterable[Hit]) -> list[float]:
    """How much of what the query is about each hit has, 0 to 1; words of every question aside."""
    return shares(query, [f"{hit.document_name}\n{hit.heading}\n{hit.content}" for hit in hits])


def distinct(hits: Iterable[Hit], *, neighbours: int = 0) -> Iterator[Hit]:
    """The hits without those that repeat a better one, or stand in its neighbourhood."""
    kept: list[tuple[Hit, _Fingerprint]] = []
    for hit in hits:
        fingerprint = _Fingerprint.of(hit)
        if not any(
            _is_near(hit, other, neighbours) or fingerprint.is_like(of_other)
            for other, of_other in kept
        ):
            kept.append((hit, fingerprint))
            yield hit


def _is_near(hit: Hit, other: Hit, neighbours: int) -> bool:
    is_beside = abs(hit.ordinal - other.ordinal) <= neighbours
    return is_beside and hit.document_id == other.document_id


@dataclasses.dataclass(frozen=True, slots=True)
class _Fingerprint:
    """What a text says, to compare. Another number or another heading is another fact."""

    numbers: tuple[str, ...]
    heading: str
    runs: frozenset[str]

    @classmethod
    def of(cls, hit: Hit) -> _Fingerprint:
        text = _NOT_TEXT.sub("", hit.content.casefold())
        runs = frozenset(text[at : at + _RUN] for at in range(max(1, len(text) - _RUN + 1)))
        return cls(tuple(_DIGITS.findall(hit.content)), hit.heading.casefold(), runs)

    def is_like(self, other: _Fingerprint) -> bool:
        if (self.numbers, self.heading) != (other.numbers, other.heading):
            return False
        fewer, more = sorted((len(self.runs), len(other.runs)))
        # What texts of other lengths can share at most is too little, and need not be looked for.
        if fewer < _SAME_FROM * more:
            return False
        shared = len(self.runs & other.runs)
        return shared >= _SAME_FROM * (len(self.runs) + len(other.runs) - shared)


def reranked(hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    """The hits in the order of the reranker's scores; equal ones keep their order."""
    scored = [
        dataclasses.replace(hit, rerank_score=score)
        for hit, score in zip(hits, scores, strict=True)
    ]
    return sorted(scored, key=lambda hit: -(hit.rerank_score or 0.0))


def wanted_neighbours(hits: Iterable[Hit], *, count: int) -> list[tuple[str, int]]:
    """Document and ordinal of the chunks around the hits; some may not exist."""
    return [
        (hit.document_id, ordinal)
        for hit in hits
        for ordinal in range(max(0, hit.ordinal - count), hit.ordinal + count + 1)
        if ordinal != hit.ordinal
    ]


def joined(hits: Iterable[Hit], neighbours: Neighbours, *, count: int) -> Iterator[Hit]:
    """The hits with the text around them; what stands in a better hit is not repeated."""
    used: set[tuple[str, int]] = set()
    for hit in hits:
        around = [
            neighbours[place]
            for place in wanted_neighbours([hit], count=count)
            if place in neighbours and place not in used
        ]
        used.update((hit.document_id, each.ordinal) for each in around)
        yield _join(hit, around)


def _join(hit: Hit, around: Sequence[Neighbour]) -> Hit:
    own = Neighbour(hit.ordinal, hit.content, hit.char_start, hit.char_end)
    pieces = sorted([*around, own], key=lambda piece: piece.ordinal)
    text, end = "", pieces[0].char_start
    for piece in pieces:
        text += _continued(piece, end) if text else piece.content
        end = max(end, piece.char_end)
    return dataclasses.replace(hit, content=text, char_start=pieces[0].char_start, char_end=end)


def _continued(piece: Neighbour, end: int) -> str:
    """The piece's text after what was already said; chunks overlap."""
    repeated = end - piece.char_start
    is_verbatim = len(piece.content) == piece.char_end - piece.char_start
    if repeated > 0 and is_verbatim:
        return piece.content[repeated:]
    return f"\n{piece.content}"


def within_budget(
    hits: Iterable[Hit], plain: Mapping[int, Hit], *, tokens: int | None
) -> Iterator[Hit]:
    """The hits up to a number of tokens; one that is too long loses its neighbours first.

    The first is cut where it is too long without them: better its beginning than nothing. `plain`
    are the hits without neighbours, by chunk.
    """
    left, is_first = tokens, True
    for hit in hits:
        if left is None:
            yield hit
            continue
        own = plain[hit.chunk_id]
        fitting = next((each for each in (hit, own) if cost(each) <= left), None)
        if fitting is None and is_first:
            fitting = beginning(own, tokens=left)
        if fitting is None:
            return
        left -= cost(fitting)
        is_first = False
        yield fitting


def beginning(hit: Hit, *, tokens: int) -> Hit | None:
    """The sentences that fit into so many tokens, or the words; None where that is too little."""
    heading = hit.heading if 2 * estimate_tokens(hit.heading) <= tokens else ""
    room = tokens - estimate_tokens(heading)
    if room < _LEAST_TOKENS:
        return None
    text = hit.content
    sizes = range(1, len(text) + 1)
    most = bisect.bisect_right(sizes, room, key=lambda size: estimate_tokens(text[:size]))
    ends = (_last_end(pattern, text, most) for pattern in (_SENTENCE_END, _WORD_END))
    content = text[: next((end for end in ends if end > most // 2), most)].rstrip()
    is_verbatim = len(text) == hit.char_end - hit.char_start
    end = hit.char_start + len(content) if is_verbatim else hit.char_end
    return dataclasses.replace(hit, heading=heading, content=content, char_end=end)


def _last_end(pattern: re.Pattern[str], text: str, most: int) -> int:
    """Where the last match within the first characters ends, or 0."""
    ends = (found.end() for found in pattern.finditer(text[: most + 1]))
    return max((end for end in ends if end <= most), default=0)


def cost(hit: Hit) -> int:
    """About how many tokens a hit takes in a prompt."""
    return estimate_tokens(hit.heading) + estimate_tokens(hit.content)
