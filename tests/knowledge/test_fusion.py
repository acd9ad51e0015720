"""What is kept of found hits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from knowledge import fusion
from knowledge.fusion import Neighbour
from knowledge.types import Hit, SearchRequest

VALUES: dict[str, Any] = {
    "chunk_id": 1,
    "knowledge_base_id": "base",
    "knowledge_base_name": "Base",
    "document_id": "doc",
    "document_name": "doc.txt",
    "ordinal": 0,
    "content": "text",
    "heading": "",
    "page": None,
    "char_start": 0,
    "char_end": 4,
    "score": 0.5,
    "vector_rank": 1,
    "keyword_rank": None,
    "keyword_score": 0.0,
    "keyword_share": 0.0,
    "fused_score": 0.1,
}
LONG = "The quick brown fox jumps over the lazy dog and runs away into the wood, where it sleeps."


class Uncompared(frozenset[str]):
    """Runs of characters that nobody may compare."""

    def __and__(self, other: object) -> frozenset[str]:
        raise AssertionError


def hit(number: int = 1, content: str = "text", **values: Any) -> Hit:
    of_text = {"chunk_id": number, "ordinal": number, "content": content, "char_end": len(content)}
    return Hit(**{**VALUES, **of_text, **values})


def kept(*contents: str, **values: Any) -> list[str]:
    hits = [hit(number * 10, content, **values) for number, content in enumerate(contents)]
    return [each.content for each in fusion.distinct(hits)]


class TestPassing:
    def passes(self, found: Hit, *, share: float | None = None) -> bool:
        return fusion.passes(
            found, SearchRequest("q", ("base",), min_score=0.4, keeps_keyword_share=share)
        )

    def test_the_cosine_decides(self) -> None:
        assert self.passes(hit(score=0.4))
        assert not self.passes(hit(score=0.39))
        assert self.passes(hit(score=None))

    def test_words_save_what_is_below(self) -> None:
        worded = hit(score=0.1, keyword_rank=1, keyword_share=0.6)
        assert self.passes(worded, share=0.6)
        assert not self.passes(worded, share=0.7)
        assert not self.passes(worded)

    def test_a_share_of_nothing_saves_nothing(self) -> None:
        assert not self.passes(hit(score=0.1), share=0.0)


class TestCopies:
    def test_texts_that_differ_in_a_word_are_one(self) -> None:
        assert kept(LONG * 3, LONG * 3 + " Now.") == [LONG * 3]
        assert kept(LONG, f"  {LONG.upper()}!") == [LONG]

    def test_texts_of_other_lengths_are_not_compared(self) -> None:
        short, long = (
            dataclasses.replace(made, runs=Uncompared(made.runs))
            for made in map(fusion._Fingerprint.of, (hit(1, LONG), hit(2, LONG + LONG[::-1])))
        )
        assert not short.is_like(long)
        assert not long.is_like(short)
        with pytest.raises(AssertionError):
            short.is_like(short)

    def test_another_number_is_another_fact(self) -> None:
        assert len(kept(f"{LONG} Version 1.2", f"{LONG} Version 1.3")) == 2

    def test_another_heading_is_another_fact(self) -> None:
        texts = [hit(1, LONG, heading="Berlin"), hit(9, LONG, heading="Paris")]
        assert len(list(fusion.distinct(texts))) == 2

    def test_other_texts_stay(self) -> None:
        assert len(kept(LONG, "Something else entirely.", "", "a", "b")) == 5

    def test_what_stands_in_a_hits_neighbourhood_is_not_shown_again(self) -> None:
        hits = [hit(5, "five"), hit(6, "six"), hit(8, "eight"), hit(6, "other", document_id="two")]
        near = [each.content for each in fusion.distinct(hits, neighbours=1)]
        assert near == ["five", "eight", "other"]


class TestNeighbours:
    def around(self, *pieces: tuple[int, str, int]) -> fusion.Neighbours:
        return {
            ("doc", ordinal): Neighbour(ordinal, text, start, start + len(text))
            for ordinal, text, start in pieces
        }

    def test_what_chunks_repeat_is_joined_once(self) -> None:
        own = hit(1, "cdefg", char_start=2, char_end=7)
        around = self.around((0, "abcd", 0), (2, "fghi", 5))
        [joined] = fusion.joined([own], around, count=1)
        assert (joined.content, joined.char_start, joined.char_end) == ("abcdefghi", 0, 9)

    def test_a_table_keeps_the_header_that_its_chunks_repeat(self) -> None:
        # The header is not at the chunk's own place in the text.
        own = hit(1, "head\nrow 2", char_start=11, char_end=16)
        around = self.around((0, "head\nrow 1", 0))
        [joined] = fusion.joined([own], around, count=1)
        assert joined.content == "head\nrow 1\nhead\nrow 2"

    def test_a_chunk_between_two_hits_goes_to_the_better(self) -> None:
        hits = [
            hit(3, "ccc", char_start=20, char_end=23),
            hit(1, "aaa", char_start=0, char_end=3),
        ]
        around = self.around((2, "bbb", 10), (0, "zzz", -10), (4, "ddd", 30))
        contents = [each.content for each in fusion.joined(hits, around, count=1)]
        assert contents == ["bbb\nccc\nddd", "zzz\naaa"]


class TestBudget:
    def fitting(self, *contents: str, tokens: int | None) -> int:
        hits = [hit(number, content) for number, content in enumerate(contents)]
        plain = {each.chunk_id: each for each in hits}
        return len(list(fusion.within_budget(hits, plain, tokens=tokens)))

    def test_the_list_ends_before_the_hit_that_would_exceed_it(self) -> None:
        assert self.fitting("汉字", "汉字汉字", "汉", tokens=6) == 2
        assert self.fitting("汉字", "汉字汉字", "汉", tokens=5) == 1
        assert self.fitting("汉字", tokens=1) == 0

    def test_there_may_be_no_budget(self) -> None:
        assert self.fitting("汉字" * 1000, "汉", tokens=None) == 2

    def test_headings_count(self) -> None:
        assert fusion.cost(hit(content="汉字", heading="标题")) == 4


def test_a_reranker_orders_and_equal_scores_keep_their_order() -> None:
    hits = [hit(number) for number in range(4)]
    ordered = fusion.reranked(hits, [0.1, -3.0, 0.7, 0.1])
    assert [(each.chunk_id, each.rerank_score) for each in ordered] == [
        (2, 0.7),
        (0, 0.1),
        (3, 0.1),
        (1, -3.0),
    ]
