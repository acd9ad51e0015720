"""`/agent` of the agentchat family: assistants under its names."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from knowledge.models import KnowledgeBase
from providers.models import Llm
from tests.conftest import client_with, make_key
from tests.rest import data_of as platform_data
from tooling.models import McpServer, Tool

AGENT = "/api/v1/agent"
ASSISTANTS = "/api/v1/assistants"
# The body of the seed's curl sample, literally.
SEED_BODY = """{
"name": "我的助手",
"description": "一个智能助手",
"tool_ids": [],
"llm_id": "gpt-4",
"knowledge_ids": [],
"enable_memory": true,
"system_prompt": "你是一个有用的助手",
"logo_url": ""
}"""


def body(**changes: Any) -> dict[str, Any]:
    plain = {"name": "Anna", "description": "", "system_prompt": "", "logo_url": ""}
    return {**plain, **changes}


def data_of(response: Any) -> Any:
    assert response.status_code == 200, response.content
    answer = response.json()
    assert (answer["status_code"], answer["status_message"]) == (200, "SUCCESS"), answer
    assert set(answer) == {"status_code", "status_message", "data"}
    return answer["data"]


def refusal_of(response: Any, code: int) -> str:
    assert response.status_code == (code if code in (401, 422) else 200), response.content
    answer = response.json()
    assert (answer["status_code"], answer["data"]) == (code, None), answer
    message: str = answer["status_message"]
    return message


def make(client: APIClient, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = data_of(client.post(AGENT, body(**changes)))
    return made


class TestMaking:
    def test_it_takes_the_published_sample(self, alice_key: str, alice: User) -> None:
        client = client_with(alice_key)
        made = data_of(client.post(AGENT, SEED_BODY, content_type="application/json"))
        assert datetime.fromisoformat(made.pop("create_time"))
        assert datetime.fromisoformat(made.pop("update_time"))
        logo_url = made.pop("logo_url")
        assert logo_url == "http://testserver/static/assistants/agent.svg"
        assert finders.find(logo_url.removeprefix("http://testserver/static/"))
        row = Assistant.objects.get(owner=alice)
        assert made == {
            "id": row.pk,
            "agent_id": row.pk,
            "name": "我的助手",
            "description": "一个智能助手",
            "user_id": str(alice.pk),
            "is_custom": True,
            "system_prompt": "你是一个有用的助手",
            "llm_id": "builtin-demo",
            "enable_memory": True,
            "tool_ids": [],
            "mcp_ids": [],
            "knowledge_ids": [],
            "agent_skill_ids": [],
        }

    def test_it_is_an_assistant_of_the_platform(self, alice_api: APIClient) -> None:
        made = make(alice_api, name="Anna", description="Helps", logo_url="https://x.org/a.png")
        shown = platform_data(alice_api.get(f"{ASSISTANTS}/{made['id']}"))
        names = ("name", "description", "logoUrl", "enableMemory", "prompt")
        assert [shown[name] for name in names] == ["Anna", "Helps", "https://x.org/a.png", True, ""]
        changes = {"description": "Knows", "logoUrl": "/static/b.svg", "enableMemory": False}
        platform_data(alice_api.patch(f"{ASSISTANTS}/{made['id']}", changes))
        listed = {each["id"]: each for each in data_of(alice_api.get(AGENT))}
        changed = listed[made["id"]]
        assert changed["description"] == "Knows"
        assert changed["logo_url"] == "/static/b.svg"
        assert not changed["enable_memory"]

    def test_an_assistant_of_the_platform_is_an_agent(self, alice_api: APIClient) -> None:
        made = platform_data(alice_api.post(ASSISTANTS, {"name": "Berta", "prompt": "Hm"}), 201)
        listed = {each["id"]: each for each in data_of(alice_api.get(AGENT))}
        assert listed[made["id"]]["system_prompt"] == "Hm"
        assert not listed[made["id"]]["enable_memory"]

    @pytest.mark.parametrize("missing", ["name", "description", "system_prompt", "logo_url"])
    def test_it_needs_four_fields(self, alice_api: APIClient, missing: str) -> None:
        sent = body()
        del sent[missing]
        assert missing in refusal_of(alice_api.post(AGENT, sent), 422)
        make(alice_api)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", " "),
            ("name", "x" * 101),
            ("description", "x" * 501),
            ("logo_url", "javascript:alert(1)"),
            ("logo_url", "//x.org/a.png"),
            ("logo_url", 'https://x.org/"onload='),
            ("tool_ids", "calculator"),
            ("enable_memory", "perhaps"),
        ],
    )
    def test_it_refuses_wrong_values(self, alice_api: APIClient, field: str, value: Any) -> None:
        made = make(alice_api, name="Berta")
        for refused in (
            alice_api.post(AGENT, body(**{field: value})),
            alice_api.put(AGENT, {"agent_id": made["id"], field: value}),
        ):
            assert field in refusal_of(refused, 422)

    def test_names_are_unique_for_each_user(self, alice_api: APIClient, bob_api: APIClient) -> None:
        anna = make(alice_api, name="Anna")
        berta = make(alice_api, name="Berta")
        text = refusal_of(alice_api.post(AGENT, body(name="Anna")), 500)
        assert text == "There is an application of this name already; choose another one."
        rename = {"agent_id": berta["id"], "name": "Anna"}
        refusal_of(alice_api.put(AGENT, rename), 500)
        data_of(alice_api.put(AGENT, {"agent_id": anna["id"], "name": "Anna"}))
        make(bob_api, name="Anna")
        # The platform's family does not mind, and what it made can still be changed here.
        twin = platform_data(alice_api.post(ASSISTANTS, {"name": "Anna"}), 201)
        data_of(alice_api.put(AGENT, {"agent_id": twin["id"], "description": "Twin"}))

    @pytest.mark.django_db(transaction=True)
    def test_a_name_is_given_once_to_requests_at_the_same_time(self, alice: User) -> None:
        client = client_with(make_key(alice))

        def create(_number: int) -> int:
            try:
                return int(client.post(AGENT, body()).json()["status_code"])
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            codes = sorted(pool.map(create, range(4)))
        assert codes == [200, 500, 500, 500]


class TestReferences:
    @pytest.fixture
    def rows(self, alice: User) -> dict[str, str]:
        """One of alice's for each field."""
        llm = Llm.objects.create(owner=alice, name="Mine", vendor="ollama", aliases=["other"])
        tool = Tool.objects.create(
            pk="orders", owner=alice, name="Orders", http_url="https://x.org", category="query"
        )
        server = McpServer.objects.create(owner=alice, name="Files", url="https://x.org/mcp")
        base = KnowledgeBase.objects.create(owner=alice, name="Manuals")
        return {
            "llm_id": llm.pk,
            "tool_ids": tool.pk,
            "mcp_ids": server.pk,
            "knowledge_ids": base.pk,
        }

    @pytest.mark.parametrize("field", ["llm_id", "tool_ids", "mcp_ids", "knowledge_ids"])
    def test_it_takes_what_may_be_seen_and_nothing_else(
        self, alice_api: APIClient, bob_api: APIClient, rows: dict[str, str], field: str
    ) -> None:
        value: Any = rows[field] if field == "llm_id" else [rows[field]]
        unknown: Any = "nothing" if field == "llm_id" else ["nothing"]
        assert make(alice_api, **{field: value})[field] == value
        foreign = refusal_of(bob_api.post(AGENT, body(**{field: value})), 404)
        missing = refusal_of(bob_api.post(AGENT, body(**{field: unknown})), 404)
        assert foreign.startswith(f"{field}: ")
        assert foreign.replace(rows[field], "nothing") == missing
        assert not Assistant.objects.filter(owner__username="bob").exists()

        bobs = make(bob_api)
        change = {"agent_id": bobs["id"], field: value}
        assert refusal_of(bob_api.put(AGENT, change), 404).startswith(f"{field}: ")
        assert data_of(bob_api.get(AGENT))[-1][field] == bobs[field]

    @pytest.mark.parametrize("key", ["Mine", "other"])
    def test_a_model_has_names(
        self, alice_api: APIClient, bob_api: APIClient, rows: dict[str, str], key: str
    ) -> None:
        assert make(alice_api, llm_id=key)["llm_id"] == rows["llm_id"]
        refusal_of(bob_api.post(AGENT, body(llm_id=key)), 404)

    def test_a_name_goes_before_an_alias_and_the_own_before_the_systems(
        self, alice_api: APIClient, alice: User
    ) -> None:
        assert make(alice_api, name="a", llm_id="gpt-4")["llm_id"] == "builtin-demo"
        aliased = Llm.objects.create(owner=alice, name="b", vendor="ollama", aliases=["gpt-4"])
        assert make(alice_api, name="b", llm_id="gpt-4")["llm_id"] == aliased.pk
        Llm.objects.create(owner=None, name="gpt-4", vendor="ollama", is_enabled=False)
        named = Llm.objects.create(owner=None, name="gpt-4", vendor="ollama")
        assert make(alice_api, name="c", llm_id="gpt-4")["llm_id"] == named.pk
        own = Llm.objects.create(owner=alice, name="gpt-4", vendor="ollama")
        assert make(alice_api, name="d", llm_id="gpt-4")["llm_id"] == own.pk

    def test_operators_mean_nobody_elses_model_by_a_name(
        self, carol_api: APIClient, rows: dict[str, str]
    ) -> None:
        refusal_of(carol_api.post(AGENT, body(llm_id="Mine")), 404)
        assert make(carol_api, llm_id=rows["llm_id"])["llm_id"] == rows["llm_id"]

    def test_a_model_of_another_kind_is_none(self, alice_api: APIClient) -> None:
        refusal_of(alice_api.post(AGENT, body(llm_id="builtin-hashing")), 404)

    def test_no_model_means_the_default(self, alice_api: APIClient) -> None:
        made = make(alice_api, llm_id="gpt-4")
        assert made["llm_id"] == "builtin-demo"
        for nothing in (None, ""):
            changed = data_of(alice_api.put(AGENT, {"agent_id": made["id"], "llm_id": nothing}))
            assert changed["llm_id"] is None


class TestChanging:
    def test_it_changes_what_is_sent(self, alice_api: APIClient) -> None:
        before = make(alice_api, description="Helps", tool_ids=["calculator"])
        changed = data_of(
            alice_api.put(AGENT, {"agent_id": before["id"], "system_prompt": "Be brief."})
        )
        differing = {name for name in before if before[name] != changed[name]}
        assert differing == {"system_prompt", "update_time"}

    def test_an_agent_can_be_sent_back_as_it_was_shown(
        self, alice_api: APIClient, alice: User
    ) -> None:
        shown = make(alice_api, tool_ids=["calculator"], llm_id="gpt-4")
        changed = data_of(alice_api.put(AGENT, shown))
        assert {name for name in shown if shown[name] != changed[name]} == {"update_time"}
        # The picture of agents that have none is not theirs: its address does not last.
        assert Assistant.objects.get(owner=alice).logo_url == ""
        data_of(alice_api.put(AGENT, {**shown, "logo_url": "https://x.org/a.png"}))
        assert Assistant.objects.get(owner=alice).logo_url == "https://x.org/a.png"

    def test_it_takes_no_owner_from_the_body(
        self, alice_api: APIClient, alice: User, bob: User
    ) -> None:
        claims = {"user_id": str(bob.pk), "owner_id": bob.pk, "is_custom": False, "id": "other"}
        made = make(alice_api, **claims)
        changed = data_of(alice_api.put(AGENT, {"agent_id": made["id"], **claims}))
        assert (changed["user_id"], changed["id"]) == (str(alice.pk), made["id"])

    def test_a_foreign_agent_is_unknown(self, alice_api: APIClient, bob_api: APIClient) -> None:
        made = make(alice_api)
        changes: tuple[Callable[[APIClient, str], Any], ...] = (
            lambda client, agent_id: client.put(AGENT, {"agent_id": agent_id, "name": "New"}),
            lambda client, agent_id: client.delete(AGENT, {"agent_id": agent_id}),
            lambda client, agent_id: client.delete(f"{AGENT}?agent_id={agent_id}"),
        )
        for change in changes:
            foreign = refusal_of(change(bob_api, made["id"]), 404)
            assert foreign == refusal_of(change(bob_api, "nothing"), 404)
            refusal_of(change(bob_api, "\0"), 422)
        assert made["id"] not in {each["id"] for each in data_of(bob_api.get(AGENT))}
        data_of(changes[0](alice_api, made["id"]))
        data_of(changes[1](alice_api, made["id"]))

    def test_the_systems_agents_belong_to_operators(
        self, alice_api: APIClient, carol_api: APIClient
    ) -> None:
        row = Assistant.objects.create(owner=None, name="Everybody's")
        shown = data_of(alice_api.get(AGENT))[0]
        assert (shown["id"], shown["user_id"], shown["is_custom"]) == (row.pk, "0", False)
        refusal_of(alice_api.put(AGENT, {"agent_id": row.pk, "name": "Mine"}), 403)
        refusal_of(alice_api.delete(AGENT, {"agent_id": row.pk}), 403)
        data_of(carol_api.put(AGENT, {"agent_id": row.pk, "name": "Ours"}))
        data_of(carol_api.delete(AGENT, {"agent_id": row.pk}))

    @pytest.mark.parametrize("is_body", [True, False])
    def test_it_deletes(self, alice_api: APIClient, is_body: bool) -> None:
        made = make(alice_api)
        named = {"agent_id": made["id"]}
        response = (
            alice_api.delete(AGENT, named)
            if is_body
            else alice_api.delete(f"{AGENT}?agent_id={made['id']}")
        )
        assert data_of(response) is None
        assert data_of(alice_api.get(AGENT)) == []

    def test_it_needs_an_id_to_delete(self, alice_api: APIClient) -> None:
        assert "agent_id" in refusal_of(alice_api.delete(AGENT), 422)


class TestSearching:
    def test_it_finds_by_a_part_of_the_name(self, alice_api: APIClient, bob_api: APIClient) -> None:
        for name in ("Sales helper", "Travel"):
            make(alice_api, name=name)
        make(bob_api, name="Help desk")
        Assistant.objects.create(owner=None, name="HELP")

        def found(sent: Any) -> list[str]:
            answer = data_of(alice_api.post(f"{AGENT}/search", sent))
            return [each["name"] for each in answer]

        assert found({"name": "help"}) == ["HELP", "Sales helper"]
        assert found({"name": "%"}) == []
        assert (
            sorted(found({"name": ""})) == sorted(found({})) == ["HELP", "Sales helper", "Travel"]
        )

    def test_it_pages(self, alice_api: APIClient) -> None:
        for name in "abc":
            make(alice_api, name=name)
        first = data_of(alice_api.get(AGENT, {"limit": 2}))
        second = data_of(alice_api.get(AGENT, {"limit": 2, "page": 2}))
        assert [each["name"] for each in first + second] == ["c", "b", "a"]


def test_it_needs_the_scope_to_manage(alice: User) -> None:
    client = client_with(make_key(alice, scopes=["chat"]))
    refusal_of(client.get(AGENT), 403)
    refusal_of(client.post(AGENT, json.loads(SEED_BODY)), 403)
