"""The relevance set is sound, its measures are right, and the product keeps what it promises."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from bench.relevance import (
    DOCUMENTS,
    Passage,
    fill_base,
    in_one_line,
    means,
    measure,
    ndcg,
    read_questions,
    recall,
)

A, B, HELPFUL = Passage("d", "a", 2), Passage("d", "b", 2), Passage("d", "c", 1)
NOTHING: frozenset[Passage] = frozenset()


def test_the_set_is_as_large_as_promised() -> None:
    questions = read_questions()
    asked_about = {each.document for question in questions for each in question.passages}
    assert len(list(DOCUMENTS.iterdir())) >= 32
    assert asked_about == {path.name for path in DOCUMENTS.iterdir()}
    assert len({question.text for question in questions}) == len(questions) >= 66
    languages = Counter(question.language for question in questions)
    assert min(languages["zh"], languages["en"]) >= 33
    kinds = Counter(question.kind for question in questions)
    assert min(kinds.values()) >= 10


def test_every_quote_is_once_in_its_document() -> None:
    texts = {
        path.name: in_one_line(path.read_text(encoding="utf-8")) for path in DOCUMENTS.iterdir()
    }
    for question in read_questions():
        assert any(passage.grade == 2 for passage in question.passages)
        for passage in question.passages:
            assert texts[passage.document].count(in_one_line(passage.quote)) == 1, passage.quote


def test_ndcg_weighs_grades_by_rank_and_counts_a_passage_once() -> None:
    chunks = [frozenset({A}), frozenset({HELPFUL}), frozenset({A}), NOTHING]
    best = 3 + 1 / math.log2(3)
    assert ndcg([frozenset({A}), frozenset({HELPFUL})], chunks) == 1
    assert ndcg([frozenset({HELPFUL}), frozenset({A})], chunks) == pytest.approx(
        (1 + 3 / math.log2(3)) / best
    )
    assert ndcg([frozenset({A}), frozenset({A})], chunks) == pytest.approx(3 / best)
    assert ndcg([*[NOTHING] * 10, frozenset({A})], chunks) == 0


def test_recall_is_of_passages_among_the_first_hits() -> None:
    assert recall([frozenset({A, B})], [A, B]) == 1
    assert recall([frozenset({A}), *[NOTHING] * 4, frozenset({B})], [A, B]) == 0.5


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_hybrid_search_is_not_below_either_leg() -> None:
    scores = means(measure(fill_base(DOCUMENTS.iterdir()), read_questions()))
    gain, share = scores["hybrid"]
    assert gain >= max(scores["vector"][0], scores["words"][0]), scores
    assert share >= max(scores["vector"][1], scores["words"][1]), scores
