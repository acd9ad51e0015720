"""`/llm/*` and `/agent/models` of the agentchat family."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from core.crypto import MASK
from knowledge.models import KnowledgeBase
from providers.catalogue import sync_builtin_models
from providers.models import Llm
from tests.conftest import client_with, make_key
from tests.rest import data_of as platform_data

pytestmark = pytest.mark.django_db

LLM = "/api/v1/llm"
KEY = "sk-a-secret-key-1234"
BODY: dict[str, Any] = {"model": "gpt-4o", "api_key": KEY, "base_url": "https://llm.example/v1"}


def data_of(response: Any) -> Any:
    assert response.status_code == 200, response.content
    answer = response.json()
    assert (answer["status_code"], answer["status_message"]) == (200, "SUCCESS"), answer
    assert KEY.encode() not in response.content
    return answer["data"]


def refusal_of(response: Any, code: int) -> str:
    assert response.status_code == (code if code in (401, 405, 422) else 200), response.content
    answer = response.json()
    assert (answer["status_code"], answer["data"]) == (code, None), answer
    message: str = answer["status_message"]
    return message


def make(client: APIClient, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = data_of(client.post(f"{LLM}/create", {**BODY, **fields}))
    return made


class TestMaking:
    def test_it_is_a_model_of_the_platform(self, alice_api: APIClient, alice: User) -> None:
        made = make(alice_api)
        assert datetime.fromisoformat(made.pop("create_time"))
        assert datetime.fromisoformat(made.pop("update_time"))
        assert made == {
            "llm_id": made["llm_id"],
            "llm_type": "LLM",
            "name": "gpt-4o",
            "model": "gpt-4o",
            "base_url": "https://llm.example/v1",
            "api_key": MASK,
            "provider": "OpenAI",
            "user_id": str(alice.pk),
        }
        shown = platform_data(alice_api.get(f"{LLM}/{made['llm_id']}"))
        assert (shown["type"], shown["vendor"], shown["model_name"]) == ("text", "openai", "gpt-4o")
        assert Llm.objects.get().api_key == KEY

    @pytest.mark.parametrize(
        ("word", "type_"), [("LLM", "text"), ("Embedding", "embedding"), ("Reranker", "rerank")]
    )
    def test_types_have_words_of_their_own(
        self, alice_api: APIClient, word: str, type_: str
    ) -> None:
        made = make(alice_api, llm_type=word, provider="SiliconFlow")
        assert made["llm_type"] == word
        assert Llm.objects.get().type == type_
        assert data_of(alice_api.get(f"{LLM}/schema")) == ["LLM", "Embedding", "Reranker"]

    @pytest.mark.parametrize(
        ("provider", "vendor"),
        [
            ("OpenAI", "openai"),
            ("anthropic", "anthropic"),
            ("DeepSeek", "deepseek"),
            ("OpenAI-compatible", "openai_compatible"),
            ("My own", "openai_compatible"),
        ],
    )
    def test_providers_are_vendors(self, alice_api: APIClient, provider: str, vendor: str) -> None:
        made = make(alice_api, provider=provider)
        assert Llm.objects.get().vendor == vendor
        # What it is called goes back the way it came.
        data_of(
            alice_api.put(f"{LLM}/update", {"llm_id": made["llm_id"], "provider": made["provider"]})
        )
        assert Llm.objects.get().vendor == vendor

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("model", ""),
            ("llm_type", "text"),
            ("base_url", "ftp://x"),
            ("api_key", ""),
            ("provider", "x" * 101),
        ],
    )
    def test_it_refuses_wrong_values(self, alice_api: APIClient, field: str, value: str) -> None:
        refused = alice_api.post(f"{LLM}/create", {**BODY, field: value})
        assert field in refusal_of(refused, 422)
        make(alice_api)

    def test_a_provider_that_nobody_knows_needs_an_address(self, alice_api: APIClient) -> None:
        sent = {"model": "m", "api_key": KEY, "provider": "My own"}
        assert "provider" in refusal_of(alice_api.post(f"{LLM}/create", sent), 422)

    def test_a_model_that_is_made_can_be_named_by_an_agent(self, alice_api: APIClient) -> None:
        made = make(alice_api)
        body = {"name": "a", "description": "", "system_prompt": "", "logo_url": ""}
        agent = data_of(alice_api.post("/api/v1/agent", {**body, "llm_id": "gpt-4o"}))
        assert agent["llm_id"] == made["llm_id"]


class TestChanging:
    @pytest.mark.parametrize("kept", [{}, {"api_key": MASK}, {"api_key": ""}, {"api_key": None}])
    def test_it_keeps_the_key(self, alice_api: APIClient, kept: dict[str, Any]) -> None:
        made = make(alice_api)
        change = {"llm_id": made["llm_id"], "model": "gpt-5", **kept}
        changed = data_of(alice_api.put(f"{LLM}/update", change))
        assert (changed["model"], changed["name"], changed["api_key"]) == ("gpt-5", "gpt-5", MASK)
        assert Llm.objects.get().api_key == KEY

    def test_it_takes_a_new_key_address_and_provider(self, alice_api: APIClient) -> None:
        made = make(alice_api)
        change = {"api_key": "sk-new", "base_url": "https://b.example/v1", "provider": "vLLM"}
        changed = data_of(alice_api.put(f"{LLM}/update", {"llm_id": made["llm_id"], **change}))
        row = Llm.objects.get()
        assert (row.api_key, row.base_url, row.vendor) == ("sk-new", change["base_url"], "vllm")
        assert changed["provider"] == "vLLM"
        assert row.model_name == "gpt-4o"

    def test_a_name_that_was_given_elsewhere_is_kept(
        self, alice_api: APIClient, alice: User
    ) -> None:
        row = Llm.objects.create(owner=alice, name="Mine", model_name="a", vendor="ollama")
        changed = data_of(alice_api.put(f"{LLM}/update", {"llm_id": row.pk, "model": "b"}))
        assert (changed["name"], changed["model"]) == ("Mine", "b")

    @pytest.mark.parametrize("is_body", [True, False])
    def test_it_deletes(self, alice_api: APIClient, is_body: bool) -> None:
        llm_id = make(alice_api)["llm_id"]
        deleted = (
            alice_api.delete(f"{LLM}/delete", {"llm_id": llm_id})
            if is_body
            else alice_api.delete(f"{LLM}/delete?llm_id={llm_id}")
        )
        assert data_of(deleted) is None
        assert not Llm.objects.exists()

    def test_it_keeps_a_model_that_a_knowledge_base_was_made_with(
        self, alice_api: APIClient, alice: User
    ) -> None:
        made = make(alice_api, llm_type="Embedding")
        KnowledgeBase.objects.create(owner=alice, name="kb", embedder_id=made["llm_id"])
        refusal_of(alice_api.delete(f"{LLM}/delete", {"llm_id": made["llm_id"]}), 409)


VERBS: dict[str, Callable[[APIClient, str], Any]] = {
    "update": lambda client, key: client.put(f"{LLM}/update", {"llm_id": key, "model": "x"}),
    "delete": lambda client, key: client.delete(f"{LLM}/delete", {"llm_id": key}),
    "delete by query": lambda client, key: client.delete(f"{LLM}/delete?llm_id={key}"),
}


@pytest.mark.parametrize("verb", VERBS)
class TestIsolation:
    def test_a_foreign_model_is_unknown(
        self, alice_api: APIClient, bob_api: APIClient, verb: str
    ) -> None:
        made, change = make(alice_api), VERBS[verb]
        foreign = refusal_of(change(bob_api, made["llm_id"]), 404)
        assert foreign == refusal_of(change(bob_api, "nothing"), 404)
        assert foreign.startswith("llm_id: ")
        data_of(change(alice_api, made["llm_id"]))

    def test_the_systems_models_belong_to_operators(
        self, alice_api: APIClient, carol_api: APIClient, verb: str
    ) -> None:
        row = Llm.objects.create(owner=None, name="m", vendor="openai", api_key=KEY)
        refusal_of(VERBS[verb](alice_api, row.pk), 403)
        data_of(VERBS[verb](carol_api, row.pk))


class TestListing:
    @pytest.fixture(autouse=True)
    def rows(self, alice: User, bob: User) -> None:
        owners = {"system": None, "alice": alice, "bob": bob}
        for name, owner in owners.items():
            for type_ in ("text", "embedding", "rerank"):
                Llm.objects.create(
                    owner=owner, name=f"{name}-{type_}", type=type_, vendor="vllm", api_key=KEY
                )

    def names(self, response: Any) -> dict[str, list[str]]:
        return {word: [row["name"] for row in rows] for word, rows in data_of(response).items()}

    def expected(self, *owners: str) -> dict[str, list[str]]:
        words = {"LLM": "text", "Embedding": "embedding", "Reranker": "rerank"}
        return {word: [f"{owner}-{type_}" for owner in owners] for word, type_ in words.items()}

    def test_it_lists_own_and_visible_ones(self, alice_api: APIClient) -> None:
        assert self.names(alice_api.post(f"{LLM}/personal")) == self.expected("alice")
        assert self.names(alice_api.post(f"{LLM}/visible")) == self.expected("system", "alice")

    def test_it_lists_all_to_operators_only(
        self, alice_api: APIClient, carol_api: APIClient
    ) -> None:
        refusal_of(alice_api.get(f"{LLM}/all"), 403)
        everything = self.names(carol_api.get(f"{LLM}/all"))
        assert everything == self.expected("system", "alice", "bob")

    @pytest.mark.parametrize("path", ["/api/v1/agent/models", f"{LLM}/agent/models"])
    def test_it_lists_what_agents_think_with(
        self, alice_api: APIClient, alice: User, path: str
    ) -> None:
        Llm.objects.create(owner=alice, name="off", vendor="vllm", is_enabled=False)
        listed = data_of(alice_api.get(path))
        assert [row["name"] for row in listed] == ["system-text", "alice-text"]
        assert {row["llm_type"] for row in listed} == {"LLM"}

    def test_it_searches_names(self, alice_api: APIClient, alice: User) -> None:
        def found(name: str) -> list[str]:
            answer = data_of(alice_api.post(f"{LLM}/search", {"llm_name": name}))
            assert list(answer) == ["LLM"]
            return [row["name"] for row in answer["LLM"]]

        Llm.objects.create(owner=alice, name="x", vendor="vllm", aliases=["GPT-4"])
        Llm.objects.create(owner=alice, name="y", vendor="vllm", model_name="gpt-4o")
        assert found("gpt-4") == ["x", "y"]
        assert found("TEXT") == ["system-text", "alice-text"]
        assert found("") == ["system-text", "alice-text", "x", "y"]
        assert found("bob") == []


def test_the_demo_model_answers_to_the_name_in_published_samples() -> None:
    sync_builtin_models()
    row = Llm.objects.get(pk="builtin-demo")
    assert row.aliases == ["gpt-4"]
    # Whoever takes the name away has decided.
    Llm.objects.filter(pk=row.pk).update(aliases=[])
    sync_builtin_models()
    row.refresh_from_db()
    assert row.aliases == []


def test_it_needs_the_scope_to_manage(alice: User) -> None:
    chats = client_with(make_key(alice, scopes=["chat"]))
    refusal_of(chats.post(f"{LLM}/visible"), 403)
    refusal_of(chats.post(f"{LLM}/create", BODY), 403)
