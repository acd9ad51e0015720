"""Searches beside the bases of others, whose words share the index and the statistics."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection

from accounts.models import User
from knowledge import statistics
from knowledge.models import Document, DocumentStatus, KnowledgeBase
from knowledge.search import search
from knowledge.types import SearchRequest
from tests.knowledge.corpus import make_base

pytestmark = pytest.mark.django_db(transaction=True)

FILLER = " ".join(f"filler{letter}" for letter in "abcdefghij")


def found(query: str, base: KnowledgeBase) -> int:
    """How many hits there are once Postgres knows its tables."""
    with connection.cursor() as cursor:
        cursor.execute("analyze knowledge_chunk")
    statistics.forget_statistics()
    return len(asyncio.run(search(SearchRequest(query, (base.pk,)))).hits)


def fill(base: KnowledgeBase, *, words: str, count: int) -> None:
    """Many chunks with the same words, written by the database itself."""
    document = Document.objects.create(
        knowledge_base=base,
        name="many.txt",
        file_type="txt",
        size=1,
        sha256=base.pk[:64],
        status=DocumentStatus.READY,
        chunks_total=count,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into knowledge_chunk (knowledge_base_id, document_id, ordinal, content,"
            "  heading, char_start, char_end, lexemes)"
            " select %s, %s, at, %s || ' ' || at, '', 0, 9, (%s || ' ' || at)::tsvector"
            " from generate_series(1, %s) at",
            [base.pk, document.pk, words, words, count],
        )


@pytest.mark.parametrize("own_chunks", [100, 6_000], ids=["small base", "large base"])
def test_a_word_that_fills_the_bases_of_others_is_found(
    alice: User, bob: User, own_chunks: int
) -> None:
    theirs, own = make_base(bob, name="theirs"), make_base(alice, name="own")
    fill(theirs, words="insurance", count=25_000)
    fill(own, words="insurance", count=own_chunks)
    assert found("insurance", own)
    assert found("insurance", theirs)


def test_words_of_others_do_not_push_out_the_words_of_the_base(alice: User, bob: User) -> None:
    own = make_base(alice, [f"refund number {at}" for at in range(40)], name="own")
    assert found(f"{FILLER} refund", own)
    make_base(bob, [FILLER] * 2, name="theirs")
    assert found(f"{FILLER} refund", own)


def test_a_rarer_word_of_others_is_no_candidate_in_place_of_an_own_one(
    alice: User, bob: User
) -> None:
    theirs, own = make_base(bob, name="theirs"), make_base(alice, name="own")
    fill(theirs, words="insurance premium", count=9_000)
    fill(own, words="refund premium", count=10)
    assert found("insurance premium", own)
