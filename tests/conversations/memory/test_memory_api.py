"""`/memory`: what agents know about the caller."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Memory
from providers.models import Llm
from tests.conftest import client_with, make_key
from tests.conversations.memory.conftest import facts_of, known, talk

PATH = "/api/v1/memory"
TEA, BERLIN, CATS = "The user likes tea.", "The user lives in Berlin.", "The user has cats."

pytestmark = pytest.mark.django_db


def data_of(response: Any) -> Any:
    body = response.json()
    assert (response.status_code, body["status_code"]) == (200, 200), body
    return body["data"]


def refusal_of(response: Any) -> tuple[int, str]:
    body = response.json()
    assert body["data"] is None
    return body["status_code"], body["status_message"]


def contents(response: Any) -> list[str]:
    return sorted(row["content"] for row in data_of(response))


@pytest.fixture
def other(alice: User, llm: Llm, embedder: Llm) -> Assistant:
    return Assistant.objects.create(name="Other", owner=alice, llm=llm, embedder=embedder)


def test_it_lists_what_is_known_in_all_or_in_part(
    alice: User, alice_api: APIClient, ada: Assistant, other: Assistant
) -> None:
    dialog = talk(alice, ada, alias="dialog-123")
    (tea,) = known(alice, ada, TEA, where=dialog)
    known(alice, ada, BERLIN)
    known(alice, other, CATS)
    assert contents(alice_api.get(PATH)) == [CATS, TEA, BERLIN]
    assert contents(alice_api.get(PATH, {"agent_id": ada.pk})) == [TEA, BERLIN]
    for name in (dialog.pk, "dialog-123"):
        (row,) = data_of(alice_api.get(PATH, {"dialog_id": name}))
        assert row == {
            "memory_id": tea.pk,
            "content": TEA,
            "agent_id": ada.pk,
            "dialog_id": dialog.pk,
            "create_time": tea.created_at.isoformat(),
            "update_time": tea.updated_at.isoformat(),
        }
    both = {"dialog_id": dialog.pk, "agent_id": other.pk}
    assert data_of(alice_api.get(PATH, both)) == []


def test_it_pages(alice: User, alice_api: APIClient, ada: Assistant) -> None:
    known(alice, ada, TEA, BERLIN, CATS)
    first = data_of(alice_api.get(PATH, {"limit": 2}))
    second = data_of(alice_api.get(PATH, {"limit": 2, "page": 2}))
    assert [row["content"] for row in first + second] == [CATS, BERLIN, TEA]
    assert refusal_of(alice_api.get(PATH, {"limit": 0}))[0] == 422


@pytest.mark.parametrize("way", ["body", "query"])
def test_it_forgets_one_or_all_of_a_dialog(
    alice: User, alice_api: APIClient, ada: Assistant, way: str
) -> None:
    dialog = talk(alice, ada)
    known(alice, ada, TEA, BERLIN, where=dialog)
    (cats,) = known(alice, ada, CATS)

    def delete(**fields: str) -> Any:
        if way == "body":
            return alice_api.delete(PATH, fields, format="json")
        return alice_api.delete(PATH, QUERY_STRING="&".join(f"{k}={v}" for k, v in fields.items()))

    assert data_of(delete(memory_id=cats.pk)) is None
    assert facts_of(alice) == [TEA, BERLIN]
    assert refusal_of(delete(memory_id=cats.pk))[0] == 404
    assert data_of(delete(dialog_id=dialog.pk)) is None
    assert facts_of(alice) == []
    assert refusal_of(delete())[0] in (400, 422, 500)


def test_anothers_memories_are_like_unknown_ones(
    alice: User,
    alice_api: APIClient,
    bob_api: APIClient,
    carol_api: APIClient,
    ada: Assistant,
) -> None:
    dialog = talk(alice, ada)
    (row,) = known(alice, ada, TEA, where=dialog)
    for stranger in (bob_api, carol_api):
        assert data_of(stranger.get(PATH)) == []
        for foreign, unknown in (
            ({"memory_id": row.pk}, {"memory_id": "0" * 12}),
            ({"dialog_id": dialog.pk}, {"dialog_id": "0" * 12}),
        ):
            refused = refusal_of(stranger.delete(PATH, foreign, format="json"))
            assert refused[0] == 404
            assert refused == refusal_of(stranger.delete(PATH, unknown, format="json"))
        refused = refusal_of(stranger.get(PATH, {"dialog_id": dialog.pk}))
        assert refused == refusal_of(stranger.get(PATH, {"dialog_id": "0" * 12}))
        assert refused[0] == 404
    assert Memory.objects.filter(pk=row.pk).exists()
    assert data_of(alice_api.delete(PATH, {"memory_id": row.pk}, format="json")) is None


def test_facts_can_be_read_and_deleted_where_the_agent_was_taken_away(
    bob: User, alice: User, bob_api: APIClient, ada: Assistant
) -> None:
    known(bob, ada, TEA)
    Assistant.objects.update(is_public=False, enable_memory=False)
    assert contents(bob_api.get(PATH, {"agent_id": ada.pk})) == [TEA]
    (row,) = data_of(bob_api.get(PATH))
    assert data_of(bob_api.delete(PATH, {"memory_id": row["memory_id"]}, format="json")) is None
    assert refusal_of(bob_api.get(PATH, {"agent_id": ada.pk}))[0] == 404


@pytest.mark.parametrize("name", ["'", "\0", "..%2f", "x" * 500])
def test_it_survives_hostile_ids(alice_api: APIClient, ada: Assistant, name: str) -> None:
    for field in ("dialog_id", "agent_id"):
        assert refusal_of(alice_api.get(PATH, {field: name}))[0] in (400, 404, 422, 500)
    for field in ("dialog_id", "memory_id"):
        refused = alice_api.delete(PATH, {field: name}, format="json")
        assert refusal_of(refused)[0] in (400, 404, 422, 500)


def test_it_needs_a_credential_for_chats(
    alice: User, alice_api: APIClient, anonymous_api: APIClient
) -> None:
    assert data_of(alice_api.get(PATH)) == []
    assert refusal_of(anonymous_api.get(PATH))[0] == 401
    others = client_with(make_key(alice, scopes=["tasks"]))
    assert refusal_of(others.get(PATH))[0] == 403
    chat = client_with(make_key(alice, scopes=["chat"]))
    assert data_of(chat.get(PATH)) == []
