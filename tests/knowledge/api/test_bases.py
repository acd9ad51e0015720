"""`/knowledge-bases` of the platform family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from knowledge.models import Document, KnowledgeBase, VectorSpace
from providers.models import Llm
from tests.knowledge.api.conftest import make_base, make_document
from tests.rest import PlatformResourceCases, data_of, error_of

pytestmark = pytest.mark.django_db

PATH = "/api/v1/knowledge-bases"


def make_embedder(owner: User | None, name: str = "Vectors", **fields: Any) -> Llm:
    fields = {"type": "embedding", "vendor": "openai", "model_name": "embed-3", **fields}
    return Llm.objects.create(owner=owner, name=name, **fields)


class TestKnowledgeBases(PlatformResourceCases):
    path = PATH
    not_found_code = "KNOWLEDGE_BASE_NOT_FOUND"
    create_data: ClassVar = {"name": "Manuals", "description": "Of all machines."}
    update_data: ClassVar = {
        "name": "Handbooks",
        "description": "Of the new machines.",
        "chunkSize": 300,
        "chunkOverlap": 30,
    }

    def make(self, owner: User) -> KnowledgeBase:
        return make_base(owner)


def test_it_makes_a_base_from_a_name_alone(alice_api: APIClient, alice: User) -> None:
    made = data_of(alice_api.post(PATH, {"name": "Manuals"}), 201)
    assert made.pop("id")
    assert made.pop("createdAt")
    assert made.pop("updatedAt")
    assert made == {
        "user_id": alice.pk,
        "name": "Manuals",
        "description": "",
        "embeddingModel": None,
        "chunkSize": 500,
        "chunkOverlap": 50,
        "docCount": 0,
        "chunkCount": 0,
        "size": 0,
        "status": "active",
        "vectorSpaces": [],
        "documents": [],
    }


def test_it_takes_names_of_fields_in_both_cases(alice_api: APIClient) -> None:
    for body in ({"chunkSize": 200, "chunkOverlap": 20}, {"chunk_size": 200, "chunk_overlap": 20}):
        made = data_of(alice_api.post(PATH, {"name": "m", **body}), 201)
        assert (made["chunkSize"], made["chunkOverlap"]) == (200, 20)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": ["m"]}, "name"),
        ({"description": "x" * 501}, "description"),
        ({"chunkSize": 10}, "chunkSize"),
        ({"chunkSize": 10**9}, "chunkSize"),
        ({"chunkSize": "many"}, "chunkSize"),
        ({"chunkOverlap": -1}, "chunkOverlap"),
        ({"chunkSize": 100, "chunkOverlap": 100}, "chunkOverlap"),
        ({"chunkOverlap": 500}, "chunkOverlap"),
        ({"embeddingModel": "nobody's"}, "embeddingModel"),
        ({"embeddingModel": {}}, "embeddingModel"),
    ],
)
def test_it_refuses_wrong_values(
    alice_api: APIClient, base: KnowledgeBase, body: dict[str, Any], field: str
) -> None:
    made = alice_api.post(PATH, {"name": "m", **body})
    changed = alice_api.patch(f"{PATH}/{base.pk}", body)
    for refused in (made, changed):
        error = error_of(refused, 400)
        assert error["code"] == "VALIDATION_ERROR"
        assert list(error["details"]) == [field]
    data_of(alice_api.post(PATH, {"name": "m"}), 201)


class TestEmbeddingModel:
    def test_it_takes_an_id_or_a_name_of_a_visible_one(
        self, alice_api: APIClient, alice: User
    ) -> None:
        own, system = make_embedder(alice, "Mine"), make_embedder(None, "Ours", model_name="e")
        for text, row in ((own.pk, own), ("Mine", own), ("embed-3", own), (system.pk, system)):
            made = data_of(alice_api.post(PATH, {"name": "m", "embeddingModel": text}), 201)
            assert made["embeddingModel"] == row.pk
        url = f"{PATH}/{made['id']}"
        assert data_of(alice_api.patch(url, {"embeddingModel": None}))["embeddingModel"] is None

    def test_it_answers_a_foreign_one_like_an_unknown_one(
        self, alice_api: APIClient, bob_api: APIClient, alice: User
    ) -> None:
        body = {"name": "m", "embeddingModel": make_embedder(alice).pk}
        data_of(alice_api.post(PATH, body), 201)
        foreign = bob_api.post(PATH, body)
        unknown = bob_api.post(PATH, {"name": "m", "embeddingModel": "000000000000"})
        assert list(error_of(foreign, 400)["details"]) == ["embeddingModel"]
        assert foreign.json() == unknown.json()

    def test_it_takes_no_model_of_another_kind(self, alice_api: APIClient, alice: User) -> None:
        text = make_embedder(alice, type="text")
        refused = alice_api.post(PATH, {"name": "m", "embeddingModel": text.pk})
        assert list(error_of(refused, 400)["details"]) == ["embeddingModel"]


class TestOverview:
    def test_it_counts_documents_chunks_and_bytes(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        make_document(base, content=b"12345", chunks_total=3)
        make_document(base, content=b"123", chunks_total=4)
        make_document(make_base(base.owner), chunks_total=100)
        shown = data_of(alice_api.get(f"{PATH}/{base.pk}"))
        assert (shown["docCount"], shown["chunkCount"], shown["size"]) == (2, 7, 8)

    @pytest.mark.parametrize(
        ("statuses", "expected"),
        [
            ([], "active"),
            (["ready", "cancelled"], "active"),
            (["ready", "uploaded"], "indexing"),
            (["failed", "embedding"], "indexing"),
            (["failed", "ready"], "active"),
            (["failed", "cancelled"], "error"),
            (["failed", "failed"], "error"),
        ],
    )
    def test_it_tells_how_the_base_is_doing(
        self,
        alice_api: APIClient,
        base: KnowledgeBase,
        statuses: list[str],
        expected: str,
    ) -> None:
        for status in statuses:
            make_document(base, status=status)
        assert data_of(alice_api.get(f"{PATH}/{base.pk}"))["status"] == expected
        for word in ("active", "indexing", "error"):
            items = data_of(alice_api.get(f"{PATH}?status={word}"))["items"]
            assert [item["id"] for item in items] == ([base.pk] if word == expected else [])

    def test_it_tells_of_vectors_that_are_built_or_failed(
        self, alice_api: APIClient, base: KnowledgeBase, alice: User
    ) -> None:
        space = VectorSpace.objects.create(
            knowledge_base=base, embedder=make_embedder(alice), status="building"
        )
        shown = data_of(alice_api.get(f"{PATH}/{base.pk}"))
        assert shown["status"] == "indexing"
        assert shown["vectorSpaces"] == [
            {
                "embeddingModel": space.embedder_id,
                "status": "building",
                "dimensions": None,
                "indexState": "none",
                "errorMessage": "",
            }
        ]
        VectorSpace.objects.update(error_code="refused", error_message="The key is wrong.")
        shown = data_of(alice_api.get(f"{PATH}/{base.pk}"))
        assert shown["status"] == "error"
        assert shown["vectorSpaces"][0]["errorMessage"] == "The key is wrong."
        VectorSpace.objects.update(next_attempt_at=timezone.now())
        assert data_of(alice_api.get(f"{PATH}/{base.pk}"))["status"] == "indexing"

    def test_it_names_the_vectors_in_use_first(
        self, alice_api: APIClient, base: KnowledgeBase, alice: User
    ) -> None:
        for status in ("building", "active"):
            VectorSpace.objects.create(
                knowledge_base=base, embedder=make_embedder(alice), status=status
            )
        shown = data_of(alice_api.get(f"{PATH}/{base.pk}"))["vectorSpaces"]
        assert [space["status"] for space in shown] == ["active", "building"]

    def test_it_refuses_a_status_that_there_is_not(self, alice_api: APIClient) -> None:
        error = error_of(alice_api.get(f"{PATH}?status=perhaps"), 400)
        assert list(error["details"]) == ["status"]

    def test_it_finds_bases_by_their_name(self, alice_api: APIClient, base: KnowledgeBase) -> None:
        make_base(base.owner, "Recipes")
        items = data_of(alice_api.get(f"{PATH}?keyword=MANUAL"))["items"]
        assert [item["id"] for item in items] == [base.pk]

    def test_it_shows_a_page_of_the_documents(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        rows = [make_document(base, f"{number}.txt") for number in range(5)]
        url = f"{PATH}/{base.pk}"
        everything = data_of(alice_api.get(url))["documents"]
        assert [item["id"] for item in everything] == [row.pk for row in reversed(rows)]
        second = data_of(alice_api.get(f"{url}?page=2&page_size=2"))
        assert [item["name"] for item in second["documents"]] == ["2.txt", "1.txt"]
        assert second["docCount"] == 5

    def test_it_lists_with_the_same_queries_however_many_there_are(
        self,
        alice_api: APIClient,
        alice: User,
        count_queries: Callable[[Callable[[], object]], int],
    ) -> None:
        def add() -> KnowledgeBase:
            row = make_base(alice)
            make_document(row).stage_runs.create(stage="parsing", attempt=1)
            return row

        row = add()
        alice_api.get(PATH)  # the key's first use is noted
        calls = [lambda: alice_api.get(PATH), lambda: alice_api.get(f"{PATH}/{row.pk}")]
        few = [count_queries(call) for call in calls]
        for _number in range(4):
            add()
            make_document(row).stage_runs.create(stage="parsing", attempt=1)
        assert [count_queries(call) for call in calls] == few


class TestSystemBases:
    def test_everybody_sees_them_and_operators_change_them(
        self, alice_api: APIClient, carol_api: APIClient, alice: User
    ) -> None:
        row = make_base(None)
        url = f"{PATH}/{row.pk}"
        assert data_of(alice_api.get(url))["user_id"] is None
        assert error_of(alice_api.patch(url, {"name": "x"}), 403)["code"] == "FORBIDDEN"
        assert error_of(alice_api.delete(url), 403)["code"] == "FORBIDDEN"
        data_of(carol_api.patch(url, {"name": "x"}))
        data_of(carol_api.delete(url))


class TestDeletion:
    def test_it_keeps_a_base_that_an_assistant_uses_unless_forced(
        self, alice_api: APIClient, alice: User, base: KnowledgeBase
    ) -> None:
        assistant = Assistant.objects.create(owner=alice, name="Anna")
        assistant.set_knowledge_bases([base.pk])
        url = f"{PATH}/{base.pk}"
        for query in ("", "?force=false", "?force=0"):
            error = error_of(alice_api.delete(f"{url}{query}"), 409)
            assert error["code"] == "KNOWLEDGE_BASE_IN_USE"
            assert "Anna" in error["message"]
        assert list(error_of(alice_api.delete(f"{url}?force=maybe"), 400)["details"]) == ["force"]
        data_of(alice_api.delete(f"{url}?force=true"))
        shown = data_of(alice_api.get(f"/api/v1/assistants/{assistant.pk}"))
        assert (shown["knowledgeBaseId"], shown["knowledgeBaseIds"]) == (None, [])

    def test_it_names_assistants_to_those_who_may_see_them_and_counts_the_others(
        self, alice_api: APIClient, carol_api: APIClient, alice: User, bob: User
    ) -> None:
        base = make_base(alice)
        for owner, name in ((alice, "Anna"), (bob, "Boris"), (bob, "Bella")):
            Assistant.objects.create(owner=owner, name=name).set_knowledge_bases([base.pk])
        message = error_of(alice_api.delete(f"{PATH}/{base.pk}"), 409)["message"]
        assert "“Anna”, 2 others" in message
        assert "Boris" not in message
        message = error_of(carol_api.delete(f"{PATH}/{base.pk}"), 409)["message"]
        assert all(name in message for name in ("Anna", "Boris", "Bella"))
        assert "other" not in message

    def test_it_takes_the_documents_with_it(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        make_document(base)
        data_of(alice_api.delete(f"{PATH}/{base.pk}"))
        assert Document.objects.count() == 0
