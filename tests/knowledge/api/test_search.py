"""`/knowledge-bases/{id}/search`, and the way of a document from a request to a result."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from knowledge import ingest
from knowledge.models import Document, KnowledgeBase, SearchRecord
from providers.fakes import FakeUpstream
from providers.models import Llm
from tests.conftest import client_with, make_key
from tests.knowledge.api.conftest import make_base, make_chunks, make_document
from tests.rest import data_of, error_of

# The search reads in threads of its own.
pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/knowledge-bases"
TEXTS = (
    "The red button stops the pump.",
    "The pump of type PX-4711 needs oil each month.",
    "退货政策：七天内可以无理由退货。",
)


def search_in(base: KnowledgeBase) -> str:
    return f"{PATH}/{base.pk}/search"


@pytest.fixture
def filled(base: KnowledgeBase) -> KnowledgeBase:
    """A base of alice that words find something in."""
    make_chunks(make_document(base, "machines.txt"), *TEXTS)
    return base


def test_it_finds_a_document_that_was_sent(
    alice_api: APIClient, base: KnowledgeBase, builtin_models: None
) -> None:
    body = {"name": "hours.md", "content": "# Shop\n\nThe shop opens at nine o'clock."}
    sent = data_of(alice_api.post(f"{PATH}/{base.pk}/documents", body), 201)
    ingest.prepare(sent["id"])
    halfway = data_of(alice_api.get(f"{PATH}/{base.pk}/documents/{sent['id']}"))
    assert (halfway["status"], halfway["stage"]) == ("processing", "embedding")
    ingest.embed(sent["id"])

    shown = data_of(alice_api.get(f"{PATH}/{base.pk}/documents/{sent['id']}"))
    assert (shown["status"], shown["progress"], shown["errorMessage"]) == ("completed", 1.0, "")
    assert shown["chunkCount"] == shown["chunksEmbedded"] == 1
    assert [stage["stage"] for stage in shown["stages"]] == ["parsing", "chunking", "embedding"]
    assert all(stage["durationMs"] >= 0 and stage["items"] for stage in shown["stages"])
    whole = data_of(alice_api.get(f"{PATH}/{base.pk}"))
    assert (whole["status"], whole["docCount"], whole["chunkCount"]) == ("active", 1, 1)
    assert whole["vectorSpaces"][0]["status"] == "active"

    answer = data_of(alice_api.post(search_in(base), {"query": "When does the shop open?"}))
    (result,) = answer["results"]
    assert (result["document_id"], result["document_name"]) == (sent["id"], "hours.md")
    assert "nine o'clock" in result["content"]
    assert 0 < result["score"] == result["metadata"]["score"] <= 1
    assert answer["notes"] == []


def test_it_says_of_each_result_why_it_was_found(
    alice_api: APIClient, filled: KnowledgeBase
) -> None:
    answer = data_of(alice_api.post(search_in(filled), {"query": "PX-4711"}))
    assert set(answer) == {"query", "results", "timings", "notes"}
    assert answer["query"] == "PX-4711"
    (result,) = answer["results"]
    assert isinstance(result["id"], str)
    assert (result["content"], result["chunk_index"]) == (TEXTS[1], 1)
    metadata = result["metadata"]
    assert set(metadata) == {
        "knowledge_base_id", "knowledge_base_name", "document_id", "document_name", "ordinal",
        "heading", "page", "char_start", "char_end", "score", "vector_rank", "keyword_rank",
        "keyword_score", "keyword_share", "fused_score", "rerank_score",
    }  # fmt: skip
    assert metadata["knowledge_base_id"] == filled.pk
    assert (metadata["keyword_rank"], metadata["score"]) == (1, None)
    # Without a cosine the words decide.
    assert result["score"] == metadata["keyword_share"] > 0
    assert set(answer["timings"]) == {"embed_ms", "database_ms", "rerank_ms", "total_ms"}
    assert [note["code"] for note in answer["notes"]] == ["vector_skipped"]
    assert answer["notes"][0]["knowledge_base_id"] == filled.pk


@pytest.mark.parametrize("name", ["n_results", "nResults", "limit", "topK", "top_k"])
def test_it_gives_as_many_as_asked(alice_api: APIClient, filled: KnowledgeBase, name: str) -> None:
    for count, given in ((1, 1), (50, 2)):
        answer = data_of(alice_api.post(search_in(filled), {"query": "the pump", name: count}))
        assert len(answer["results"]) == given


def test_it_joins_neighbours_and_keeps_to_a_budget(
    alice_api: APIClient, filled: KnowledgeBase
) -> None:
    def contents(**more: Any) -> list[str]:
        answer = data_of(alice_api.post(search_in(filled), {"query": "PX-4711", **more}))
        return [result["content"] for result in answer["results"]]

    (joined,) = contents(neighbours=1)
    assert all(text in joined for text in TEXTS)
    assert contents(tokenBudget=1) == []
    assert contents(token_budget=1000) == [TEXTS[1]]


def test_it_searches_this_base_only(
    alice_api: APIClient, filled: KnowledgeBase, alice: User
) -> None:
    other = make_base(alice)
    for body in ({"query": "pump"}, {"query": "pump", "knowledge_base_ids": [filled.pk]}):
        assert data_of(alice_api.post(search_in(other), body))["results"] == []
    assert data_of(alice_api.post(search_in(filled), {"query": "pump"}))["results"]


def test_it_is_among_the_recent_searches(alice_api: APIClient, filled: KnowledgeBase) -> None:
    data_of(alice_api.post(search_in(filled), {"query": "七天退货"}))
    record = SearchRecord.objects.get()
    assert (record.knowledge_base, record.source, record.query) == (filled, "api", "七天退货")
    assert record.hits == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": None}, "query"),
        ({"query": ""}, "query"),
        ({"query": "  "}, "query"),
        ({"query": ["x"]}, "query"),
        ({"query": "x" * 4001}, "query"),
        ({"n_results": 0}, "n_results"),
        ({"n_results": 51}, "n_results"),
        ({"nResults": "many"}, "n_results"),
        ({"limit": 0}, "n_results"),
        ({"min_score": 1.1}, "min_score"),
        ({"min_score": "NaN"}, "min_score"),
        ({"neighbours": -1}, "neighbours"),
        ({"neighbours": 100}, "neighbours"),
        ({"token_budget": 0}, "token_budget"),
        ({"rerank_model_id": {}}, "rerank_model_id"),
    ],
)
def test_it_refuses_wrong_values(
    alice_api: APIClient, filled: KnowledgeBase, body: dict[str, Any], field: str
) -> None:
    error = error_of(alice_api.post(search_in(filled), {"query": "pump", **body}), 400)
    assert list(error["details"]) == [field]
    data_of(alice_api.post(search_in(filled), {"query": "pump"}))


@pytest.mark.parametrize(
    "query", ["'", "a:*b & !c | <->", "\\", "%_", "x" * 4000, "\u202e", "🎉", "' or 1=1 --"]
)
def test_it_survives_hostile_queries(
    alice_api: APIClient, filled: KnowledgeBase, query: str
) -> None:
    data_of(alice_api.post(search_in(filled), {"query": query}))


class TestReranking:
    @pytest.fixture
    def vendor(self, loopback_allowed: None) -> Any:
        with FakeUpstream() as fake:
            yield fake

    def model(self, vendor: FakeUpstream, owner: User, **fields: Any) -> Llm:
        address = {"base_url": vendor.base_url, "api_key": "sk-key"}
        fields = {"type": "rerank", "model_name": "rerank", **address, **fields}
        return Llm.objects.create(
            owner=owner,
            name="Judge",
            vendor="openai_compatible",
            **fields,
        )

    def test_it_asks_the_model_that_was_chosen(
        self, alice_api: APIClient, alice: User, filled: KnowledgeBase, vendor: FakeUpstream
    ) -> None:
        model = self.model(vendor, alice)
        for name in ("rerank_model_id", "rerankModelId"):
            body = {"query": "the pump", name: model.pk}
            answer = data_of(alice_api.post(search_in(filled), body))
            assert {note["code"] for note in answer["notes"]} == {"vector_skipped"}
            assert all(
                isinstance(result["metadata"]["rerank_score"], float)
                for result in answer["results"]
            )

    def test_it_answers_without_a_model_that_fails(
        self, alice_api: APIClient, alice: User, filled: KnowledgeBase, vendor: FakeUpstream
    ) -> None:
        model = self.model(vendor, alice, base_url="http://127.0.0.1:9/v1")
        body = {"query": "the pump", "rerank_model_id": model.pk}
        answer = data_of(alice_api.post(search_in(filled), body))
        assert len(answer["results"]) == 2
        assert "rerank_skipped" in {note["code"] for note in answer["notes"]}

    def test_it_takes_only_a_visible_rerank_model(
        self,
        alice_api: APIClient,
        bob: User,
        alice: User,
        filled: KnowledgeBase,
        vendor: FakeUpstream,
    ) -> None:
        def ask(model_id: str) -> Any:
            body = {"query": "pump", "rerank_model_id": model_id}
            return alice_api.post(search_in(filled), body)

        unknown = ask("000000000000")
        error = error_of(unknown, 400)
        assert list(error["details"]) == ["rerank_model_id"]
        assert error["message"] == "Unknown rerank model."
        for row in (self.model(vendor, bob), self.model(vendor, alice, type="text")):
            assert ask(row.pk).json() == unknown.json()
        data_of(ask(self.model(vendor, alice).pk))


class TestIsolation:
    def test_it_answers_a_foreign_base_like_an_unknown_one(
        self, alice_api: APIClient, bob_api: APIClient, filled: KnowledgeBase
    ) -> None:
        body = {"query": "pump"}
        foreign = bob_api.post(search_in(filled), body)
        unknown = bob_api.post(f"{PATH}/000000000000/search", body)
        assert error_of(foreign, 404)["code"] == "KNOWLEDGE_BASE_NOT_FOUND"
        assert foreign.json() == unknown.json()
        assert data_of(alice_api.post(search_in(filled), body))["results"]
        assert SearchRecord.objects.count() == 1

    def test_everybody_searches_what_is_the_systems(
        self, alice_api: APIClient, carol_api: APIClient
    ) -> None:
        base = make_base(None)
        make_chunks(make_document(base), *TEXTS)
        for client in (alice_api, carol_api):
            assert data_of(client.post(search_in(base), {"query": "pump"}))["results"]

    def test_operators_search_everywhere(self, carol_api: APIClient, filled: KnowledgeBase) -> None:
        assert data_of(carol_api.post(search_in(filled), {"query": "pump"}))["results"]

    def test_it_needs_the_scope_to_manage(self, alice: User, filled: KnowledgeBase) -> None:
        talking = client_with(make_key(alice, scopes=["chat"]))
        assert error_of(talking.post(search_in(filled), {"query": "pump"}), 403)
        managing = client_with(make_key(alice, scopes=["manage"]))
        data_of(managing.post(search_in(filled), {"query": "pump"}))


def test_an_empty_file_fails_for_want_of_text(alice_api: APIClient, base: KnowledgeBase) -> None:
    body = {"file": SimpleUploadedFile("empty.txt", b"")}
    url = f"{PATH}/{base.pk}/documents"
    sent = data_of(alice_api.post(url, body, format="multipart"), 201)
    ingest.prepare(sent["id"])
    shown = data_of(alice_api.get(f"{url}/{sent['id']}"))
    assert (shown["status"], shown["errorCode"]) == ("failed", "no_text")
    assert shown["errorMessage"]
    assert data_of(alice_api.get(f"{PATH}/{base.pk}"))["status"] == "error"
    assert Document.objects.get().chunks.count() == 0
