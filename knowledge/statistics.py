"""How much each word of a query says: rare words tell chunks apart, common ones do not.

Frequencies of common words are the planner's statistics of `knowledge_chunk.lexemes`, kept per
process for minutes. Of a word that is not among them they only tell that it is rare, which is true
of filler that no chunk holds as well, so that those are counted in the index; in small tables all
are. Of other bases only numbers are taken: a word that the searched ones do not hold takes no place
among those that decide.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db import connection

from knowledge.lexemes import query_literal, query_words

# The rarest of a query's words decide; more of them find nothing else and cost more.
SCORED_WORDS = 8
# How many chunks may hold one of the words that bring up candidates, as the statistics expect it.
CANDIDATE_CHUNKS = 3_000
# Those of all bases are read, except where the searched ones are small: there the index of the
# bases sorts out the others, which would cost more than it saves in large ones.
SMALL_ROWS = 5_000

# Below so many chunks, words are counted: that is quick, and figures of small tables soon are old.
TRUSTED_FROM = 10_000
_FRESH_S = 300.0
# Counting goes no further: a word of that many chunks without statistics counts as common.
_COUNTED_ROWS = 1_000
_COUNTED_TOTAL = 20_000

_STATISTICS = """
select greatest(c.reltuples, 0), s.most_common_elems::text::text[], s.most_common_elem_freqs
from pg_class c left join pg_stats s
  on s.schemaname = c.relnamespace::regnamespace::text and s.tablename = c.relname
  and s.attname = 'lexemes'
where c.oid = 'knowledge_chunk'::regclass
"""
_COUNT_ALL = "select count(*) from (select from knowledge_chunk limit %s) counted"
# One string is one transaction. A scan of the table would unpack the words of every chunk once for
# each word asked for, which the planner does not know.
_COUNT = """
set local enable_seqscan = off;
select (select array[count(*), count(*) filter (where knowledge_base_id = any(%s))] from (
  select knowledge_base_id from knowledge_chunk where lexemes @@ word.query limit %s) matching)
from unnest(%s::text[]::tsquery[]) with ordinality as word (query, position) order by position
"""
# The chunks of a rare word are looked at; the index of the bases would unpack the words of theirs.
_HELD = """
set local enable_seqscan = off;
select exists (
  select from (
    select knowledge_base_id from knowledge_chunk where lexemes @@ word.query offset 0) matching
  where knowledge_base_id = any(%s))
from unnest(%s::text[]::tsquery[]) with ordinality as word (query, position) order by position
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A word of a query. `share` of all chunks hold it; `weight` is its idf."""

    text: str
    weight: float
    share: float


@dataclasses.dataclass(frozen=True, slots=True)
class Keywords:
    """What the keyword leg looks for.

    A chunk is a candidate when it has one of `candidates`; `refining` words add to its score.
    `full_weight` is what the query's heaviest words weigh, also those that no chunk holds.
    `candidate_chunks` is how many chunks of all bases to expect of the candidates.
    """

    candidates: tuple[Word, ...] = ()
    refining: tuple[Word, ...] = ()
    full_weight: float = 0.0
    are_bases_small: bool = False
    candidate_chunks: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Statistics:
    """What Postgres knows of the words of all chunks; `total` is 0 where it knows nothing."""

    total: int
    shares: Mapping[str, float]


# Those of the words that the bases hold, in their order.
HeldAmong = Callable[[Sequence[Word]], list[Word]]


class _Kept:
    """The process's statistics. Who finds them old reads them anew; the others do not wait."""

    def __init__(self) -> None:
        self._statistics: Statistics | None = None
        self._read_at = 0.0
        self._reading = threading.Lock()

    def get(self) -> Statistics:
        kept = self._statistics
        is_fresh = kept is not None and time.monotonic() - self._read_at < _FRESH_S
        if is_fresh or not self._reading.acquire(blocking=kept is None):
            assert kept is not None
            return kept
        try:
            self._statistics = read_statistics()
            self._read_at = time.monotonic()
            return self._statistics
        finally:
            self._reading.release()

    def forget(self) -> None:
        self._statistics = None


_KEPT = _Kept()


def forget_statistics() -> None:
    """Lets the next search read the statistics anew; call it after an ANALYZE."""
    _KEPT.forget()


def read_statistics() -> Statistics:
    """The statistics as they are now. 15 ms for the 10,000 words that Postgres keeps."""
    with connection.cursor() as cursor:
        cursor.execute(_STATISTICS)
        total, words, frequencies = cursor.fetchone()
    # Behind the frequencies of the words come the least and the greatest of them.
    return Statistics(
        int(total) if words else 0, dict(zip(words or (), frequencies or (), strict=False))
    )


def weigh(query: str, base_ids: Sequence[str], *, searched_rows: int) -> Keywords:
    """The query's words by what they say in a search of bases that hold so many chunks."""
    words = query_words(query)
    if not words:
        return Keywords()
    statistics = _KEPT.get()
    if statistics.total < TRUSTED_FROM:
        statistics = Statistics(0, {})
    unknown = [word for word in words if word not in statistics.shares]
    counted = _count(unknown, base_ids, statistics)
    shares = {
        word: statistics.shares[word] if word in statistics.shares else counted.shares[word]
        for word in words
    }
    weighed = sorted(
        (Word(word, idf(share, counted.total), min(1.0, share)) for word, share in shares.items()),
        key=lambda word: word.share,
    )
    is_held = _Held(base_ids, counted.are_held)
    return choose(weighed, total=counted.total, searched_rows=searched_rows, held=is_held.among)


def idf(share: float, total: int) -> float:
    """The weight of a word that this share of all chunks has; above 0 even if all have it."""
    having = min(share, 1.0) * total
    return math.log(1 + (total - having + 0.5) / (having + 0.5))


def choose(weighed: Sequence[Word], *, total: int, searched_rows: int, held: HeldAmong) -> Keywords:
    """The rarest words that the bases hold; of these, as many for candidates as are cheap.

    `weighed` begins with the rarest. At least one word brings up candidates, however common. Common
    words are only looked for in the bases where one of them has to: that costs more than it tells.
    """
    full_weight = sum(word.weight for word in weighed[:SCORED_WORDS])
    is_small = searched_rows <= SMALL_ROWS
    any_chunk = [word for word in weighed if word.share > 0]
    rare = _first_held([each for each in any_chunk if each.share * total <= CANDIDATE_CHUNKS], held)
    common = [each for each in any_chunk if each.share * total > CANDIDATE_CHUNKS]
    while not rare and common and not held(common[:1]):
        del common[0]
    present = [*rare, *common][:SCORED_WORDS]
    expected = list(itertools.accumulate(word.share * total for word in present))
    count = max(1, sum(chunks <= CANDIDATE_CHUNKS for chunks in expected))
    return Keywords(
        candidates=tuple(present[:count]),
        refining=tuple(present[count:]),
        full_weight=full_weight,
        are_bases_small=is_small,
        candidate_chunks=expected[count - 1] if present else 0.0,
    )


def _first_held(words: Sequence[Word], held: HeldAmong) -> list[Word]:
    """The first words that the bases hold; no more are looked for than it takes."""
    found: list[Word] = []
    for at in range(0, len(words), SCORED_WORDS):
        found += held(words[at : at + SCORED_WORDS])
        if len(found) >= SCORED_WORDS:
            break
    return found[:SCORED_WORDS]


class _Held:
    """Which words the bases hold, as far as counting told, and else by asking."""

    def __init__(self, base_ids: Sequence[str], known: Mapping[str, bool]) -> None:
        self._base_ids = list(base_ids)
        self._known = dict(known)

    def among(self, words: Sequence[Word]) -> list[Word]:
        """Those of the words, in their order."""
        asked = [word.text for word in words if word.text not in self._known]
        if asked:
            with connection.cursor() as cursor:
                literals = [query_literal([word]) for word in asked]
                cursor.execute(_HELD, [self._base_ids, literals])
                answers = [bool(row[0]) for row in last_result(cursor)]
            self._known.update(zip(asked, answers, strict=True))
        return [word for word in words if self._known[word.text]]


def last_result(cursor: Any) -> Any:
    """The rows of the last of several statements that were sent at once, to save trips."""
    while cursor.nextset():
        pass
    return cursor.fetchall()


@dataclasses.dataclass(frozen=True, slots=True)
class _Counted:
    """How many chunks there are, about; of words, which share of them and whether the bases do."""

    total: int
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    are_held: Mapping[str, bool] = dataclasses.field(default_factory=dict)


def _count(words: Sequence[str], base_ids: Sequence[str], statistics: Statistics) -> _Counted:
    """Counts up to a limit; whether the bases hold a word is left out where that hid it."""
    total = statistics.total
    with connection.cursor() as cursor:
        if not total:
            cursor.execute(_COUNT_ALL, [_COUNTED_TOTAL])
            (total,) = cursor.fetchone()
        total = max(total, 1)
        if not words:
            return _Counted(total)
        literals = [query_literal([word]) for word in words]
        cursor.execute(_COUNT, [list(base_ids), _COUNTED_ROWS, literals])
        counts = dict(zip(words, (row[0] for row in last_result(cursor)), strict=True))
    return _Counted(
        total,
        {word: count / total for word, (count, _held) in counts.items()},
        {word: held > 0 for word, (count, held) in counts.items() if held or count < _COUNTED_ROWS},
    )
