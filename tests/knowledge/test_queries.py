"""What Postgres makes of the statement of a search."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connection

from accounts.models import User
from knowledge import search
from knowledge.indexes import index_name
from knowledge.models import VectorSpace
from knowledge.queries import Branch, Hybrid, Weights, hybrid
from knowledge.statistics import Keywords, Word, last_result
from tests.knowledge.corpus import (
    create_index,
    drop_indexes,
    make_base,
    make_embedder,
    make_space,
)

pytestmark = pytest.mark.django_db(transaction=True)

DIMENSIONS = 16
QUERY = np.random.default_rng(1).standard_normal(DIMENSIONS).astype(np.float32)


@pytest.fixture(autouse=True)
def no_indexes_left(transactional_db: None) -> Iterator[None]:
    yield
    drop_indexes()


def wanted(*spaces: VectorSpace, is_indexed: bool = False, words: str = "") -> Hybrid:
    return Hybrid(
        base_ids=[space.knowledge_base_id for space in spaces],
        vectors=[QUERY],
        branches=[
            Branch(space.knowledge_base_id, space.pk, DIMENSIONS, 0, is_indexed) for space in spaces
        ],
        keywords=Keywords(tuple(Word(word, 1.0, 0.1) for word in words.split())),
        depth=10,
        limit=10,
    )


def rows_of(query: Hybrid) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(search._SETTINGS + hybrid(query).as_string(cursor.connection))
        return last_result(cursor)


def used_indexes(query: Hybrid) -> set[str]:
    with connection.cursor() as cursor:
        statement = hybrid(query).as_string(cursor.connection)
        cursor.execute(f"{search._SETTINGS} explain (format json) {statement}")
        [[plan]] = last_result(cursor)
    found: set[str] = set()

    def look(node: Any) -> None:
        if isinstance(node, dict):
            found.update(value for key, value in node.items() if key == "Index Name")
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    look(json.loads(plan) if isinstance(plan, str) else plan)
    return found


@pytest.fixture
def spaces(alice: User) -> list[VectorSpace]:
    random = np.random.default_rng(2)
    made = []
    for name in "ab":
        base = make_base(alice, [f"{name}word{at} common" for at in range(600)], name=name)
        vectors = random.standard_normal((600, DIMENSIONS)).astype(np.float32)
        made.append(make_space(base, make_embedder(alice), vectors))
    with connection.cursor() as cursor:
        cursor.execute("analyze knowledge_chunk")
        cursor.execute("analyze knowledge_chunkvector")
    return made


def test_each_space_is_read_through_its_own_index(spaces: list[VectorSpace]) -> None:
    for space in spaces:
        create_index(space)
    names = {index_name(space.pk) for space in spaces}
    assert used_indexes(wanted(*spaces, is_indexed=True)) >= names
    assert not used_indexes(wanted(*spaces)) & names


@pytest.mark.parametrize("is_small", [True, False])
def test_words_are_looked_up_in_their_index(spaces: list[VectorSpace], is_small: bool) -> None:
    query = wanted(*spaces, words="aword7 bword7")
    keywords = dataclasses.replace(query.keywords, are_bases_small=is_small)
    query = dataclasses.replace(query, keywords=keywords)
    assert "knowledge_chunk_lexemes" in used_indexes(query)
    by_words = [row[5] for row in rows_of(query) if row[12] == 1 or row[12] == 2]
    assert sorted(by_words) == ["aword7 common", "bword7 common"]


def test_words_count_by_what_they_tell(spaces: list[VectorSpace]) -> None:
    rare, filler = Word("aword7", 9.0, 0.001), Word("common", 1.0, 1.0)
    query = dataclasses.replace(wanted(spaces[0]), keywords=Keywords((rare, filler)), depth=600)
    rows = rows_of(dataclasses.replace(query, limit=600))
    assert rows[0][5] == "aword7 common"
    weights = Weights()
    for row in rows:
        tells = row[13] / 10 * (row[13] / 10) ** weights.doubt
        by_vector = weights.vector / (weights.offset + row[11])
        by_words = weights.keyword / (weights.offset + row[12]) * tells
        assert row[14] == pytest.approx(by_vector + by_words)


def test_a_word_tells_less_when_most_of_the_query_is_not_found(spaces: list[VectorSpace]) -> None:
    def fused(full_weight: float) -> float:
        keywords = Keywords((Word("aword7", 9.0, 0.001),), full_weight=full_weight)
        query = dataclasses.replace(
            wanted(), keywords=keywords, base_ids=[spaces[0].knowledge_base_id]
        )
        return float(rows_of(query)[0][14])

    assert fused(9.0) == pytest.approx(1.4 / 6)
    assert fused(9.0 * 16) == pytest.approx(1.4 / 6 / 2)


def test_the_exact_order_does_not_depend_on_how_it_is_read(spaces: list[VectorSpace]) -> None:
    exact = rows_of(wanted(*spaces))
    for space in spaces:
        create_index(space)
    assert [row[0] for row in rows_of(wanted(*spaces, is_indexed=True))] == [
        row[0] for row in exact
    ]


def test_weights_decide_between_the_legs(spaces: list[VectorSpace]) -> None:
    query = wanted(spaces[0], words="aword7")
    by_vector = rows_of(dataclasses.replace(query, weights=Weights(vector=1.0, keyword=0.1)))
    by_words = rows_of(dataclasses.replace(query, weights=Weights(vector=0.1, keyword=1.0)))
    assert by_vector[0][11] == 1
    assert by_words[0][5] == "aword7 common"
    assert by_words[0][12] == 1


def test_words_that_refine_only_order_the_candidates(spaces: list[VectorSpace]) -> None:
    keywords = Keywords((Word("aword7", 2.0, 0.1),), (Word("common", 0.5, 1.0),))
    query = dataclasses.replace(wanted(spaces[0]), branches=[], vectors=[], keywords=keywords)
    [row] = rows_of(query)
    assert (row[5], row[13]) == ("aword7 common", 2.5)


def test_a_vector_without_direction_ends_no_search(spaces: list[VectorSpace]) -> None:
    with connection.cursor() as cursor:
        zeros = f"[{','.join('0' * DIMENSIONS)}]"
        cursor.execute(
            "update knowledge_chunkvector set embedding = %s::halfvec where space_id = %s",
            [zeros, spaces[0].pk],
        )
    assert rows_of(wanted(spaces[0])) == []
    assert {row[1] for row in rows_of(wanted(*spaces))} == {spaces[1].knowledge_base_id}
    [row] = rows_of(wanted(spaces[0], words="aword7"))
    assert row[10] is None
