"""Searches as callers make them, on the real database, with vendors that really answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from psycopg_pool import ConnectionPool

from accounts.models import User
from knowledge import fusion
from knowledge import search as search_module
from knowledge.models import (
    Chunk,
    KnowledgeBase,
    SearchRecord,
    SearchSource,
    SpaceStatus,
)
from knowledge.search import KEPT_RECORDS, record_search, search
from knowledge.types import Hit, SearchNote, SearchOutcome, SearchRequest, SearchTimings
from providers.builtin.hashing import embed_text
from providers.fakes import FakeUpstream, Step
from providers.fakes.upstream import embedding
from providers.models import Llm
from providers.registry import embedding_model
from tests.knowledge.corpus import (
    add_document,
    chunk_ids,
    create_index,
    drop_indexes,
    make_base,
    make_embedder,
    make_space,
)
from tests.upstream import reranker_spec

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = (
    "The shop opens at nine in the morning and closes at six.",
    "Coffee costs three euros, tea costs two.",
    "退货政策：七天内可以无理由退货。",
    "Error ERR-4711 means that the pump is blocked.",
)


@pytest.fixture(autouse=True)
def no_indexes_left(transactional_db: None) -> Iterator[None]:
    yield
    drop_indexes()


def find(query: str, *bases: KnowledgeBase, **options: Any) -> SearchOutcome:
    request = SearchRequest(query, tuple(base.pk for base in bases), **options)
    return asyncio.run(search(request))


def texts_of(outcome: SearchOutcome) -> list[str]:
    return [hit.content for hit in outcome.hits]


def with_vectors(owner: User, texts: Sequence[str], **options: Any) -> KnowledgeBase:
    """A base whose vectors the built-in embedder made."""
    base = make_base(owner, texts, **options)
    make_space(base, make_embedder(owner), np.stack([embed_text(text) for text in texts]))
    return base


@pytest.fixture
def shop(alice: User) -> KnowledgeBase:
    return with_vectors(alice, TEXTS)


class TestHits:
    def test_it_finds_by_words_and_by_vector_and_says_so(self, shop: KnowledgeBase) -> None:
        outcome = find("What does ERR-4711 mean?", shop)

        hit = outcome.hits[0]
        [chunk] = Chunk.objects.filter(content=TEXTS[3])
        assert (hit.chunk_id, hit.document_id, hit.ordinal) == (chunk.pk, chunk.document_id, 3)
        assert (hit.knowledge_base_id, hit.knowledge_base_name) == (shop.pk, "base")
        assert (hit.document_name, hit.page, hit.content) == ("doc.txt", 1, TEXTS[3])
        assert (hit.char_start, hit.char_end) == (chunk.char_start, chunk.char_end)
        assert (hit.vector_rank, hit.keyword_rank) == (1, 1)
        assert hit.fused_score == pytest.approx((1 + 1.4 * hit.keyword_share**0.25) / 6)
        query, text = embed_text("What does ERR-4711 mean?"), embed_text(TEXTS[3])
        assert hit.score == pytest.approx(float(query @ text), abs=1e-3)
        assert 0 < hit.keyword_share < 1
        assert outcome.notes == ()
        assert outcome.timings.total_ms >= outcome.timings.database_ms > 0
        assert outcome.timings.rerank_ms == 0

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("请问一下关于七天内退货的详细情况是什么呢", TEXTS[2]),
            ("please tell me everything about the price of a cup of coffee", TEXTS[1]),
            ("ERR-4711", TEXTS[3]),
            ("err 4711?", TEXTS[3]),
        ],
    )
    def test_it_finds_words_in_filler(self, alice: User, query: str, expected: str) -> None:
        assert texts_of(find(query, make_base(alice, TEXTS)))[0] == expected

    def test_it_gives_the_cosine_of_a_hit_that_only_its_words_found(self, alice: User) -> None:
        base = make_base(alice, [*(f"Coffee number {at}" for at in range(60)), "A pump, XK-99"])
        query = embed_text("Where is XK-99?")
        make_space(base, make_embedder(alice), np.stack([*[query] * 60, -query]))

        [pump] = [hit for hit in find("Where is XK-99?", base).hits if hit.content[0] == "A"]

        assert (pump.vector_rank, pump.keyword_rank) == (None, 1)
        assert pump.score == pytest.approx(-1, abs=1e-3)

    def test_it_gives_the_rank_by_words_of_what_the_vector_found(self, shop: KnowledgeBase) -> None:
        hits = find("coffee", shop).hits
        assert {hit.content: hit.keyword_rank for hit in hits} == {
            TEXTS[1]: 1,
            **dict.fromkeys((TEXTS[0], TEXTS[2], TEXTS[3])),
        }

    def test_it_ends_at_the_limit(self, shop: KnowledgeBase) -> None:
        assert [len(find("coffee", shop, limit=limit).hits) for limit in (0, 1, 3)] == [0, 1, 3]

    def test_it_prefers_a_word_of_few_chunks(self, alice: User) -> None:
        base = make_base(alice, [*(f"the manual, part {at}" for at in range(9)), "the valve"])
        assert texts_of(find("the manual of the valve", base))[0] == "the valve"


class TestCost:
    def test_texts_are_compared_off_the_event_loop(
        self, shop: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: list[threading.Thread] = []

        def distinct(hits: Iterable[Hit], *, neighbours: int = 0) -> Iterator[Hit]:
            threads.append(threading.current_thread())
            yield from hits

        monkeypatch.setattr(fusion, "distinct", distinct)
        assert find("coffee", shop).hits
        assert threads
        assert threading.main_thread() not in threads

    @pytest.mark.parametrize("is_slow", [False, True])
    def test_a_statement_that_takes_too_long_is_stopped(
        self, shop: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
    ) -> None:
        if is_slow:
            impatient = search_module._SETTINGS.replace("timeout = '10s'", "timeout = '50ms'")
            monkeypatch.setattr(search_module, "_SETTINGS", impatient + "select pg_sleep(60);")
        outcome = find("coffee", shop)
        assert bool(outcome.hits) != is_slow
        assert [note.code for note in outcome.notes] == ["search_stopped"] * is_slow


class TestExactness:
    def test_the_nearest_are_those_of_numpy(self, alice: User, upstream: FakeUpstream) -> None:
        random = np.random.default_rng(5)
        vectors = random.standard_normal((120, 24)).astype(np.float32)
        base = make_base(alice, [f"text{number}" for number in range(120)])
        make_space(base, remote_embedder(alice, upstream, dimensions=24), vectors)

        hits = find("Which are near?", base, limit=20).hits

        query = np.asarray(embedding("Which are near?", 24))
        cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        nearest = np.asarray(chunk_ids(base))[np.argsort(-cosines)[:20]]
        assert [hit.chunk_id for hit in hits] == nearest.tolist()
        assert [hit.score for hit in hits] == pytest.approx(sorted(cosines)[::-1][:20], abs=2e-3)

    def test_an_index_finds_the_same(self, alice: User, upstream: FakeUpstream) -> None:
        random = np.random.default_rng(6)
        base = make_base(alice, [f"text{number}" for number in range(400)])
        vectors = random.standard_normal((400, 24)).astype(np.float32)
        space = make_space(base, remote_embedder(alice, upstream, dimensions=24), vectors)
        exact = find("Which are near?", base, limit=20)

        create_index(space)

        assert [hit.chunk_id for hit in find("Which are near?", base, limit=20).hits] == [
            hit.chunk_id for hit in exact.hits
        ]

    def test_an_index_that_gives_too_few_is_not_believed(
        self, alice: User, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = make_base(alice, [f"text{number}" for number in range(100)])
        vectors = np.random.default_rng(7).standard_normal((100, 24)).astype(np.float32)
        space = make_space(base, remote_embedder(alice, upstream, dimensions=24), vectors)
        exact = find("Which are near?", base, limit=60)
        create_index(space)
        monkeypatch.setattr(search_module, "_SETTINGS", STINGY)

        outcome = find("Which are near?", base, limit=60)

        assert texts_of(outcome) == texts_of(exact)
        assert len(outcome.hits) == 60
        assert [(note.code, note.knowledge_base_id) for note in outcome.notes] == [
            ("index_incomplete", base.pk)
        ]


# An index scan that ends after a few, and a planner that has no other choice.
STINGY = """
set local hnsw.ef_search = 3; set local hnsw.iterative_scan = off; set local enable_seqscan = off;
set local enable_sort = off; set local enable_bitmapscan = off;
"""


def remote_embedder(owner: User, upstream: FakeUpstream, *, dimensions: int = 8) -> Llm:
    return make_embedder(
        owner,
        vendor="openai_compatible",
        base_url=upstream.base_url,
        model_name="fake-model",
        dimensions=dimensions,
    )


class TestSeveralBases:
    def test_it_searches_bases_of_different_models_at_once(
        self, alice: User, upstream: FakeUpstream
    ) -> None:
        local = with_vectors(alice, ["the green bicycle has a bell"], name="local")
        remote = make_base(alice, ["the red bicycle has a lamp"], name="remote")
        vector = np.asarray([embedding("the red bicycle has a lamp", 8)], np.float32)
        make_space(remote, remote_embedder(alice, upstream), vector)

        outcome = find("the red bicycle", local, remote)

        assert outcome.notes == ()
        assert {hit.knowledge_base_name for hit in outcome.hits} == {"local", "remote"}
        # Cosines of two models do not compare: each has its own first.
        assert [hit.vector_rank for hit in outcome.hits] == [1, 1]

    def test_bases_of_one_model_share_its_ranks_and_one_request(
        self, alice: User, upstream: FakeUpstream
    ) -> None:
        embedder = remote_embedder(alice, upstream)
        bases = []
        for text in ("aaaaaaaa", "aaaabbbb"):
            base = make_base(alice, [text], name=text)
            make_space(base, embedder, np.asarray([embedding(text, 8)], np.float32))
            bases.append(base)

        outcome = find("aaaaaaab", *bases)

        assert [(hit.content, hit.vector_rank) for hit in outcome.hits] == [
            ("aaaaaaaa", 1),
            ("aaaabbbb", 2),
        ]
        assert upstream.stats.of("embeddings").requests == 1

    def test_it_finds_nothing_of_other_bases(self, alice: User, bob: User) -> None:
        own = with_vectors(alice, ["our secret is green"])
        foreign = with_vectors(bob, ["their secret is red", "our secret is green too"])
        assert texts_of(find("secret red", own)) == ["our secret is green"]
        assert "their secret is red" in texts_of(find("secret red", own, foreign))

    def test_bases_that_do_not_exist_hold_nothing(self, shop: KnowledgeBase) -> None:
        request = SearchRequest("coffee", ("000000000000", "\0", "' or 1=1", shop.pk))
        assert texts_of(asyncio.run(search(request)))[0] == TEXTS[1]
        nothing = asyncio.run(search(SearchRequest("coffee", ("000000000000",))))
        assert (nothing.hits, nothing.notes) == ((), ())


class TestSpaces:
    def notes(self, outcome: SearchOutcome) -> list[tuple[str, str | None]]:
        return [(note.code, note.knowledge_base_id) for note in outcome.notes]

    def test_a_base_without_vectors_answers_by_words(self, alice: User) -> None:
        base = make_base(alice, TEXTS)
        outcome = find("coffee", base)
        assert texts_of(outcome) == [TEXTS[1]]
        assert outcome.hits[0].score is None
        assert outcome.hits[0].vector_rank is None
        assert self.notes(outcome) == [("vector_skipped", base.pk)]

    def test_an_empty_base_lacks_nothing(self, alice: User) -> None:
        assert find("coffee", make_base(alice)).notes == ()

    def test_vectors_of_a_model_that_was_edited_are_not_compared(self, shop: KnowledgeBase) -> None:
        assert find("coffee", shop).notes == ()
        Llm.objects.update(model_name="another")
        outcome = find("coffee", shop)
        assert texts_of(outcome) == [TEXTS[1]]
        assert self.notes(outcome) == [("vector_skipped", shop.pk)]

    def test_a_disabled_model_is_not_asked(self, alice: User, upstream: FakeUpstream) -> None:
        base = make_base(alice, TEXTS)
        embedder = remote_embedder(alice, upstream)
        make_space(base, embedder, np.ones((4, 8), np.float32))
        find("coffee", base)
        assert upstream.stats.of("embeddings").requests == 1
        Llm.objects.update(is_enabled=False)
        assert self.notes(find("coffee", base)) == [("vector_skipped", base.pk)]
        assert upstream.stats.of("embeddings").requests == 1

    def test_a_space_that_is_being_built_is_not_searched(
        self, alice: User, shop: KnowledgeBase
    ) -> None:
        vectors = np.stack([embed_text(TEXTS[0])] * 4)
        make_space(shop, make_embedder(alice), vectors, status=SpaceStatus.BUILDING)
        assert texts_of(find("coffee costs", shop))[0] == TEXTS[1]

    def test_chunks_without_a_vector_yet_are_found_by_words(self, alice: User) -> None:
        base = make_base(alice, TEXTS)
        make_space(base, make_embedder(alice), embed_text(TEXTS[0])[None])
        [hit] = [hit for hit in find("coffee", base).hits if hit.content == TEXTS[1]]
        assert (hit.score, hit.vector_rank, hit.keyword_rank) == (None, None, 1)


class TestEmbedding:
    @pytest.mark.parametrize(
        "step", [Step(status=500), Step(status=401), Step(raw='{"data": []}'), Step(raw="{")]
    )
    def test_a_failing_model_leaves_the_words(
        self, alice: User, upstream: FakeUpstream, step: Step
    ) -> None:
        base = make_base(alice, TEXTS)
        make_space(base, remote_embedder(alice, upstream), np.ones((4, 8), np.float32))
        assert len(find("coffee", base).hits) == 4
        upstream.script("embeddings", *[step] * 5)

        outcome = find("coffee", base)

        assert texts_of(outcome) == [TEXTS[1]]
        [note] = outcome.notes
        assert (note.code, note.knowledge_base_id) == ("vector_skipped", base.pk)
        assert note.message.startswith("Searched by words only: ")

    def test_a_silent_model_is_not_waited_for(
        self, alice: User, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search_module, "EMBED_WITHIN_S", 0.05)
        base = make_base(alice, TEXTS)
        make_space(base, remote_embedder(alice, upstream), np.ones((4, 8), np.float32))
        upstream.script("embeddings", Step(hang_after=0, wait_ms=60_000))
        outcome = find("coffee", base)
        assert texts_of(outcome) == [TEXTS[1]]
        assert outcome.notes[0].code == "vector_skipped"
        assert outcome.timings.embed_ms >= 50

    def test_vectors_of_another_length_are_not_compared(
        self, alice: User, upstream: FakeUpstream
    ) -> None:
        base = make_base(alice, TEXTS)
        embedder = make_embedder(
            alice, vendor="openai_compatible", base_url=upstream.base_url, model_name="fake-model"
        )
        make_space(base, embedder, np.ones((4, 16), np.float32))
        outcome = find("coffee", base)
        assert texts_of(outcome) == [TEXTS[1]]
        assert "another length" in outcome.notes[0].message

    def test_it_holds_no_connection_while_a_model_thinks(
        self, shop: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []

        def watched(spec: Any) -> Any:
            seen.append(used_connections())
            return embedding_model(spec)

        before = used_connections()
        monkeypatch.setattr(search_module, "embedding_model", watched)
        assert find("coffee", shop).hits
        assert seen == [before]

    def test_a_long_query_is_cut_to_what_models_take(
        self, alice: User, upstream: FakeUpstream
    ) -> None:
        base = make_base(alice, TEXTS)
        make_space(base, remote_embedder(alice, upstream), np.ones((4, 8), np.float32))
        for query, length in (("long words " * 9_000, 2_000), ("很长" * 9_000, 480)):
            find(query, base)
            [sent] = upstream.stats.last("embeddings")[-1]["body"]["input"]
            assert query.startswith(sent)
            assert len(sent) == length


def used_connections() -> int:
    pool = getattr(connection, "pool")  # noqa: B009 - of this backend only
    assert isinstance(pool, ConnectionPool)
    stats = pool.get_stats()
    return stats["pool_size"] - stats["pool_available"]


class TestThreshold:
    QUERY = "coffee ERR-4711"

    def test_it_compares_the_cosine(self, shop: KnowledgeBase) -> None:
        scores = {hit.content: hit.score or 0 for hit in find(self.QUERY, shop).hits}
        between = sorted(scores.values())[-2] - 1e-6
        kept = find(self.QUERY, shop, min_score=between).hits
        assert {hit.content for hit in kept} == {TEXTS[1], TEXTS[3]}
        assert all((hit.score or 0) >= between for hit in kept)
        assert find(self.QUERY, shop, min_score=1.0).hits == ()

    def test_enough_of_the_words_keep_a_hit(self, shop: KnowledgeBase) -> None:
        shares = {hit.content: hit.keyword_share for hit in find(self.QUERY, shop).hits}
        assert shares[TEXTS[3]] > shares[TEXTS[1]] > 0
        kept = find(self.QUERY, shop, min_score=1.0, keeps_keyword_share=shares[TEXTS[3]])
        assert texts_of(kept) == [TEXTS[3]]

    def test_what_has_no_vector_has_no_cosine_to_fall_short_of(self, alice: User) -> None:
        assert texts_of(find("coffee", make_base(alice, TEXTS), min_score=0.99)) == [TEXTS[1]]


class TestReranking:
    def spec(self, upstream: FakeUpstream) -> Any:
        return reranker_spec(upstream.base_url)

    def test_it_orders_by_the_rerankers_scores(
        self, shop: KnowledgeBase, upstream: FakeUpstream
    ) -> None:
        query = "coffee opens at nine"
        outcome = find(query, shop, reranker=self.spec(upstream), limit=2)
        assert [hit.content for hit in outcome.hits] == [TEXTS[0], TEXTS[1]]
        assert outcome.hits[0].rerank_score == pytest.approx(3 / 4)
        assert outcome.timings.rerank_ms > 0
        assert len(upstream.stats.last("rerank")[0]["body"]["documents"]) == 4

    @pytest.mark.parametrize(
        "step", [Step(status=500), Step(status=400), Step(raw='{"results": 1}')]
    )
    def test_a_failing_reranker_leaves_the_fused_order(
        self, shop: KnowledgeBase, upstream: FakeUpstream, step: Step
    ) -> None:
        plain = find("coffee opens at nine", shop)
        upstream.script("rerank", *[step] * 5)
        outcome = find("coffee opens at nine", shop, reranker=self.spec(upstream))
        assert outcome.hits == plain.hits
        [note] = outcome.notes
        assert (note.code, note.knowledge_base_id) == ("rerank_skipped", None)

    def test_a_silent_reranker_is_not_waited_for(
        self, shop: KnowledgeBase, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search_module, "RERANK_WITHIN_S", 0.05)
        upstream.script("rerank", Step(wait_ms=60_000))
        outcome = find("coffee", shop, reranker=self.spec(upstream))
        assert len(outcome.hits) == 4
        assert outcome.notes[0].code == "rerank_skipped"


class TestText:
    @pytest.fixture
    def book(self, alice: User) -> KnowledgeBase:
        return make_base(alice, [f"chapter {word}" for word in ("one", "two", "three", "four")])

    def test_neighbours_are_joined_to_a_hit(self, book: KnowledgeBase) -> None:
        [hit] = find("three", book, neighbours=1).hits
        assert hit.content == "chapter two\nchapter three\nchapter four"
        assert (hit.ordinal, hit.char_start, hit.char_end) == (2, 12, 50)

    def test_neighbours_of_another_document_are_not(self, book: KnowledgeBase) -> None:
        add_document(book, ["paragraph one", "paragraph three and a half"])
        hits = find("half", book, neighbours=5).hits
        assert [hit.content for hit in hits] == ["paragraph one\nparagraph three and a half"]

    def test_a_copy_is_shown_once(self, alice: User) -> None:
        base = make_base(alice, ["Lunch is at noon, every day."])
        add_document(base, ["lunch is at noon — every day"], name="copy.txt")
        add_document(base, ["Lunch is at 12, every day."], name="other.txt")
        assert texts_of(find("lunch every day", base)) == [
            "Lunch is at noon, every day.",
            "Lunch is at 12, every day.",
        ]

    def test_the_budget_ends_the_list(self, book: KnowledgeBase) -> None:
        whole = find("chapter one", book)
        assert len(whole.hits) == 4
        assert find("chapter one", book, token_budget=7).hits == whole.hits[:2]

    def test_neighbours_give_way_to_the_budget(self, book: KnowledgeBase) -> None:
        [hit] = find("three", book, neighbours=1, token_budget=4).hits
        assert hit.content == "chapter three"


HOSTILE = {
    "quotes": "it's \"quoted\" 'coffee'' \\' \\",
    "statement": "coffee'; drop table knowledge_chunk; --",
    "operators": "coffee & !tea | (costs <-> two):*",
    "percent": "100% %s %(x)s coffee",
    "nul": "cof\0fee coffee\0",
    "long": "coffee " * 20_000,
    "one long word": "coffee" * 20_000,
    "punctuation": "?!… ——（）",
    "emoji": "☕️🫖👩‍👩‍👧",
    "half a pair": "coffee \ud83d",
    "blank": " \n\t ",
    "empty": "",
    "controls": "".join(map(chr, range(32))) + "coffee",
}


@pytest.mark.parametrize("query", HOSTILE.values(), ids=HOSTILE)
def test_it_survives_hostile_queries(shop: KnowledgeBase, query: str) -> None:
    outcome = find(query, shop)
    if "coffee " in query:
        assert texts_of(outcome)[0] == TEXTS[1]
    record_search(SearchRequest(query, (shop.pk,)), outcome, SearchSource.API)
    assert Chunk.objects.count() == 4


class TestRecords:
    def outcome(self, *hits: Hit, notes: Sequence[SearchNote] = ()) -> SearchOutcome:
        return SearchOutcome(hits, SearchTimings(1, 2, 0, 3.5), tuple(notes))

    def test_it_notes_a_search_in_each_base(self, shop: KnowledgeBase, alice: User) -> None:
        other = with_vectors(alice, ["tea"], name="other")
        request = SearchRequest("coffee", (shop.pk, other.pk, "000000000000", "\0"))
        outcome = asyncio.run(search(request))
        record_search(request, outcome, SearchSource.PLAYGROUND)
        [first] = shop.searches.all()
        [second] = other.searches.all()
        assert (first.query, first.source, first.hits) == ("coffee", "playground", 4)
        assert first.top_score == max(hit.score or 0 for hit in outcome.hits)
        assert first.duration_ms == outcome.timings.total_ms
        assert (second.hits, second.notes) == (1, [])

    def test_a_note_belongs_to_its_base(self, alice: User) -> None:
        bases = [make_base(alice, name=name) for name in "ab"]
        notes = [
            SearchNote("vector_skipped", "of a", bases[0].pk),
            SearchNote("rerank_skipped", "of all"),
        ]
        request = SearchRequest("q", tuple(base.pk for base in bases))
        record_search(request, self.outcome(notes=notes), SearchSource.API)
        of_each = [[note["message"] for note in base.searches.get().notes] for base in bases]
        assert of_each == [["of a", "of all"], ["of all"]]

    def test_it_takes_as_many_queries_however_many_bases_there_are(self, alice: User) -> None:
        bases = [make_base(alice, name=name) for name in "abcd"]

        def queries(count: int) -> int:
            request = SearchRequest("q", tuple(base.pk for base in bases[:count]))
            with CaptureQueriesContext(connection) as captured:
                record_search(request, self.outcome(), SearchSource.API)
            return len(captured)

        assert queries(1) == queries(4)
        assert SearchRecord.objects.count() == 5

    def test_the_oldest_go(self, shop: KnowledgeBase) -> None:
        request = SearchRequest("last", (shop.pk,))
        SearchRecord.objects.bulk_create(
            SearchRecord(
                knowledge_base=shop, source="api", query=f"{number}", hits=0, duration_ms=1
            )
            for number in range(KEPT_RECORDS)
        )
        record_search(request, self.outcome(), SearchSource.API)
        kept = list(shop.searches.values_list("query", flat=True))
        assert len(kept) == KEPT_RECORDS
        assert kept[0] == "last"
        assert "0" not in kept
