"""`/mcp_server`, `/mcp_tools` and `/mcp_user_config` of the agentchat family."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from core.crypto import MASK
from tests.tooling.mcp.servers import Peer
from tooling.models import McpServer, McpUserConfig, Transport

pytestmark = pytest.mark.django_db

ROOT = "/api/v1"
SERVERS = f"{ROOT}/mcp_server"
TOOLS = f"{ROOT}/mcp_tools"
CONFIGS = f"{ROOT}/mcp_user_config"
TOKEN = "Bearer sk-very-secret-1234"


def data_of(response: Any) -> Any:
    assert response.status_code == 200, response.content
    body = response.json()
    assert (body["status_code"], body["status_message"]) == (200, "SUCCESS"), body
    return body["data"]


def refusal_of(response: Any, code: int) -> str:
    body = response.json()
    assert (body["status_code"], body["data"]) == (code, None), body
    message: str = body["status_message"]
    return message


def make_server(owner: User | None, **fields: Any) -> McpServer:
    values = {"name": "Orders", "prefix": "orders", "url": "https://mcp.test/mcp", **fields}
    return McpServer.objects.create(owner=owner, **values)


@pytest.fixture
def body(peer: Peer) -> dict[str, Any]:
    return {"server_name": "Orders", "url": peer.url, "type": "streamable_http"}


class TestServers:
    def test_it_makes_one_and_lists_its_tools(
        self, alice_api: APIClient, alice: User, body: dict[str, Any], peer: Peer
    ) -> None:
        made = data_of(alice_api.post(SERVERS, body))
        row = McpServer.objects.get()
        assert row.owner == alice
        assert {
            "mcp_server_id": row.pk,
            "server_name": "Orders",
            "user_id": str(alice.pk),
            "user_name": "alice",
            "mcp_as_tool_name": "orders",
            "url": peer.url,
            "type": "streamable_http",
            "logo_url": "",
            "config": [],
            "config_enabled": True,
            "withheld_tools": [],
            "check_ok": True,
            "check_message": "7 tools.",
        }.items() <= made.items()
        assert made["tools"][0] == "order_status"
        assert made["params"][0]["input_schema"]["required"] == ["number"]
        assert data_of(alice_api.get(SERVERS)) == [made]

    def test_it_takes_what_other_programs_write(self, alice_api: APIClient, peer: Peer) -> None:
        entry = {"type": "http", "url": peer.url, "headers": {"Authorization": TOKEN}}
        sent = {"imported_config": {"mcpServers": {"My Orders": entry}}}
        made = data_of(alice_api.post(SERVERS, sent))
        assert (made["server_name"], made["mcp_as_tool_name"]) == ("My Orders", "my_orders")
        assert (made["type"], made["check_ok"]) == ("streamable_http", True)
        assert peer.seen.header("authorization") == {TOKEN}
        shown = made["imported_config"]["mcpServers"]["My Orders"]["headers"]
        assert shown == {"Authorization": MASK + "1234"}

    def test_it_speaks_sse(self, alice_api: APIClient, peer: Peer) -> None:
        sent = {"server_name": "Orders", "url": peer.sse_url, "type": "sse"}
        assert data_of(alice_api.post(SERVERS, sent))["check_ok"] is True

    def test_it_keeps_one_that_does_not_answer_and_says_so(
        self, alice_api: APIClient, body: dict[str, Any], peer: Peer
    ) -> None:
        peer.refuses = 401
        made = data_of(alice_api.post(SERVERS, body))
        assert (made["check_ok"], made["tools"]) == (False, [])
        assert made["check_message"] == "Orders refused the credential (status 401)."
        peer.refuses = None
        again = data_of(alice_api.post(f"{TOOLS}/refresh", {"server_id": made["mcp_server_id"]}))
        assert (again["check_ok"], len(again["tools"])) == (True, 7)

    @pytest.mark.parametrize(
        "fields",
        [
            {"type": "stdio"},
            {"type": "websocket"},
            {"type": "STDIO "},
            {"server_name": ""},
            {"server_name": None},
            {"url": ""},
            {"url": "ftp://a.test/mcp"},
            {"url": "http://user:word@a.test/mcp"},
            {"url": "http://10.0.0.1/mcp"},
            {"url": "http://[::ffff:a9fe:a9fe]/mcp"},
            {"headers": {"Host": "other.test"}},
            {"headers": {"X-A": "a\r\nX-B: b"}},
            {"headers": {"X-A": MASK}},
            {"headers": {"X-A": "a", "x-a": "b"}},
            {"headers": ["X-A"]},
            {"config": "text"},
            {"config": [{"key": ""}]},
            {"config": [{"key": "a", "target": "url"}]},
            {"config": [{"key": "a", "value": 3}]},
            {"mcp_as_tool_name": "a__b"},
            {"timeout_ms": 10},
            {"imported_config": {"mcpServers": {}}},
            {"imported_config": {"mcpServers": {"a": {"command": "sh", "args": ["-c", "id"]}}}},
            {"imported_config": {"mcpServers": {"a": {"url": "https://a.test", "headers": [1]}}}},
        ],
    )
    def test_it_refuses_what_cannot_be_or_must_not_be(
        self, alice_api: APIClient, body: dict[str, Any], fields: dict[str, Any]
    ) -> None:
        refusal_of(alice_api.post(SERVERS, {**body, **fields}), 422)
        assert not McpServer.objects.exists()
        data_of(alice_api.post(SERVERS, body))

    def test_nobody_makes_a_process_by_fields_of_the_row(
        self, alice_api: APIClient, alice: User, body: dict[str, Any]
    ) -> None:
        claims = {"transport": "stdio", "command": ["sh"], "owner_id": None, "user_id": 0}
        made = data_of(alice_api.post(SERVERS, {**body, **claims}))
        row = McpServer.objects.get()
        assert (made["type"], row.transport, row.owner) == (
            "streamable_http", Transport.STREAMABLE_HTTP, alice,
        )  # fmt: skip

    def test_it_changes_what_is_sent(
        self, alice_api: APIClient, body: dict[str, Any], peer: Peer
    ) -> None:
        made = data_of(alice_api.post(SERVERS, {**body, "headers": {"X-Key": "secret-words"}}))
        server_id = made["mcp_server_id"]
        changed = data_of(alice_api.put(SERVERS, {"server_id": server_id, "server_name": "New"}))
        assert (changed["server_name"], changed["tools"]) == ("New", made["tools"])
        headers = {"X-Key": changed["imported_config"]["mcpServers"]["New"]["headers"]["X-Key"]}
        data_of(alice_api.put(SERVERS, {"server_id": server_id, "headers": headers}))
        assert McpServer.objects.get().headers == {"X-Key": "secret-words"}

    def test_it_sends_no_header_to_another_host_than_it_was_entered_for(
        self, alice_api: APIClient, body: dict[str, Any], peer: Peer
    ) -> None:
        made = data_of(alice_api.post(SERVERS, {**body, "headers": {"X-Key": "secret-words"}}))
        moved = {"server_id": made["mcp_server_id"], "url": "http://127.0.0.1:9/mcp"}
        for kept in ({}, {"headers": {"X-Key": MASK}}):
            message = refusal_of(alice_api.put(SERVERS, {**moved, **kept}), 422)
            assert "enter the headers anew" in message
        data_of(alice_api.put(SERVERS, {**moved, "headers": {"X-Key": "other-words"}}))
        assert McpServer.objects.get().headers == {"X-Key": "other-words"}

    @pytest.mark.parametrize("url", ["ftp://a.test/mcp", "http://10.0.0.1/mcp", "here"])
    def test_a_wrong_address_is_named_as_such_on_change_too(
        self, alice_api: APIClient, alice: User, url: str
    ) -> None:
        row = make_server(alice)
        sent = {"server_id": row.pk, "url": url}
        assert refusal_of(alice_api.put(SERVERS, sent), 422).startswith("url: ")
        row.refresh_from_db()
        assert row.url == "https://mcp.test/mcp"

    def test_it_deletes_one(self, alice_api: APIClient, alice: User) -> None:
        row = make_server(alice)
        data_of(alice_api.delete(SERVERS, {"server_id": row.pk}))
        assert not McpServer.objects.exists()

    def test_it_names_the_logo(self, alice_api: APIClient) -> None:
        assert data_of(alice_api.get(f"{SERVERS}/logo")).endswith("/static/tooling/mcp.svg")

    def test_it_shows_the_parameters_of_tools(
        self, alice_api: APIClient, body: dict[str, Any]
    ) -> None:
        made = data_of(alice_api.post(SERVERS, body))
        tools = data_of(alice_api.get(TOOLS, {"server_id": made["mcp_server_id"]}))
        assert (tools[0]["tool_name"], tools[0]["is_approved"]) == ("order_status", True)
        assert tools[0]["tool_description"] == "Tells where an order is."
        assert tools[0]["tool_schema"] == [
            {"name": "number", "description": "", "type": "string", "required": True},
            {"name": "verbose", "description": "", "type": "boolean", "required": False},
        ]


class TestForeign:
    """Rows of others are unknown; the system's may be used and not changed."""

    def requests(self, api: APIClient, server_id: str) -> list[Any]:
        return [
            api.put(SERVERS, {"server_id": server_id, "server_name": "Mine"}),
            api.delete(SERVERS, {"server_id": server_id}),
            api.post(f"{TOOLS}/refresh", {"server_id": server_id}),
            api.post(f"{TOOLS}/approve", {"server_id": server_id}),
        ]

    def test_a_foreign_server_is_like_an_unknown_one(
        self, bob_api: APIClient, alice_api: APIClient, alice: User
    ) -> None:
        row = make_server(alice, config_fields=[_field("X-Key")])
        assert data_of(bob_api.get(SERVERS)) == []
        assert len(data_of(alice_api.get(SERVERS))) == 1
        foreign = [
            *self.requests(bob_api, row.pk),
            bob_api.get(TOOLS, {"server_id": row.pk}),
            bob_api.get(CONFIGS, {"server_id": row.pk}),
            bob_api.post(f"{CONFIGS}/create", {"mcp_server_id": row.pk, "config": {"X-Key": "a"}}),
            bob_api.put(f"{CONFIGS}/update", {"server_id": row.pk, "config": {"X-Key": "a"}}),
        ]
        for response in foreign:
            assert "not found" in refusal_of(response, 404)
        row.refresh_from_db()
        assert row.name == "Orders"

    def test_users_use_a_system_server_and_change_nothing_of_it(
        self, bob_api: APIClient, carol_api: APIClient
    ) -> None:
        row = make_server(
            None, url="https://mcp.test/mcp?key=hidden", headers={"X-Key": "very-secret-1234"}
        )
        shown = data_of(bob_api.get(SERVERS))[0]
        assert (shown["user_id"], shown["url"]) == ("0", "https://mcp.test/mcp")
        assert shown["imported_config"]["mcpServers"]["Orders"]["headers"] == {"X-Key": MASK}
        for response in self.requests(bob_api, row.pk):
            assert "operators only" in refusal_of(response, 403)
        changed = data_of(carol_api.put(SERVERS, {"server_id": row.pk, "server_name": "New"}))
        assert changed["url"] == "https://mcp.test/mcp?key=hidden"

    def test_an_assistant_gets_no_foreign_server(
        self, bob_api: APIClient, alice_api: APIClient, alice: User
    ) -> None:
        row = make_server(alice)
        body = {"name": "Anna", "mcpServerIds": [row.pk]}
        refused = bob_api.post(f"{ROOT}/assistants", body)
        assert refused.status_code == 400
        assert list(refused.json()["error"]["details"]) == ["mcpServerIds"]
        made = alice_api.post(f"{ROOT}/assistants", body).json()["data"]
        assert made["mcpServerIds"] == [row.pk]

    def test_an_operator_gives_nobody_a_server_that_is_not_the_owners(
        self, carol_api: APIClient, alice: User, bob: User
    ) -> None:
        assistant = Assistant.objects.create(owner=alice, name="Anna")
        servers = {who.username: make_server(who) for who in (alice, bob)}
        path = f"{ROOT}/assistants/{assistant.pk}"
        assert carol_api.patch(path, {"mcpServerIds": [servers["bob"].pk]}).status_code == 400
        assert carol_api.patch(path, {"mcpServerIds": [servers["alice"].pk]}).status_code == 200


def _field(key: str, target: str = "header", *, required: bool = True) -> dict[str, Any]:
    return {"key": key, "label": key, "target": target, "required": required}


class TestUserConfigs:
    def test_users_set_their_own_values_and_never_see_them_again(
        self, alice_api: APIClient, bob_api: APIClient, bob: User
    ) -> None:
        row = make_server(
            None, config_fields=[_field("Authorization"), _field("tenant", "parameter")]
        )
        assert data_of(bob_api.get(SERVERS))[0]["config_enabled"] is False
        sent = {"mcp_server_id": row.pk, "config": {"Authorization": TOKEN, "tenant": "b"}}
        made = data_of(bob_api.post(f"{CONFIGS}/create", sent))
        assert [field["value"] for field in made["config"]] == [MASK + "1234", MASK]
        assert data_of(bob_api.get(f"{CONFIGS}/{made['config_id']}")) == made
        assert data_of(bob_api.get(CONFIGS, {"server_id": row.pk})) == made
        assert data_of(bob_api.get(SERVERS))[0]["config_enabled"] is True
        assert data_of(alice_api.get(CONFIGS, {"server_id": row.pk}))["config_id"] is None
        stored = McpUserConfig.objects.get()
        assert (stored.owner, stored.values) == (bob, {"Authorization": TOKEN, "tenant": "b"})

    def test_a_mask_keeps_an_empty_text_deletes(self, bob_api: APIClient) -> None:
        row = make_server(None, config_fields=[_field("X-A"), _field("X-B")])
        values = {"X-A": "one-secret", "X-B": "two-secret"}
        data_of(bob_api.post(f"{CONFIGS}/create", {"mcp_server_id": row.pk, "config": values}))
        sent = [{"key": "X-A", "value": MASK}, {"key": "X-B", "value": ""}]
        data_of(bob_api.put(f"{CONFIGS}/update", {"server_id": row.pk, "config": sent}))
        assert McpUserConfig.objects.get().values == {"X-A": "one-secret"}

    def test_another_users_settings_are_unknown_also_to_operators(
        self, alice_api: APIClient, carol_api: APIClient, bob_api: APIClient, bob: User
    ) -> None:
        row = make_server(None, config_fields=[_field("X-A")])
        config = McpUserConfig.objects.create(owner=bob, server=row, values={"X-A": "a"})
        for api in (alice_api, carol_api):
            refusal_of(api.get(f"{CONFIGS}/{config.pk}"), 404)
            refusal_of(api.delete(f"{CONFIGS}/delete", {"config_id": config.pk}), 404)
        data_of(bob_api.get(f"{CONFIGS}/{config.pk}"))
        data_of(bob_api.delete(f"{CONFIGS}/delete", {"config_id": config.pk}))
        assert not McpUserConfig.objects.exists()

    @pytest.mark.parametrize(
        "config", [{"X-Other": "a"}, {"X-A": "a\r\nb"}, {"X-A": "é"}, {"X-A": 3}, "X-A", ["X-A"]]
    )
    def test_it_refuses_other_settings(self, bob_api: APIClient, config: Any) -> None:
        row = make_server(None, config_fields=[_field("X-A")])
        body = {"mcp_server_id": row.pk, "config": config}
        refusal_of(bob_api.post(f"{CONFIGS}/create", body), 422)
        assert not McpUserConfig.objects.exists()
        data_of(bob_api.post(f"{CONFIGS}/create", {**body, "config": {"X-A": "a"}}))

    def test_a_value_sent_with_a_new_server_is_the_senders_own(
        self, alice_api: APIClient, alice: User, body: dict[str, Any], peer: Peer
    ) -> None:
        config = [{**_field("X-Key"), "value": "own-secret"}]
        made = data_of(alice_api.post(SERVERS, {**body, "config": config}))
        assert (made["config"][0]["value"], made["check_ok"]) == (MASK, True)
        assert peer.seen.header("x-key") == {"own-secret"}
        assert McpUserConfig.objects.get().owner == alice
        assert "own-secret" not in str(McpServer.objects.get().config_fields)

    def test_what_users_set_does_not_follow_a_server_to_another_host(
        self, carol_api: APIClient, bob: User, loopback_allowed: None
    ) -> None:
        row = make_server(None, config_fields=[_field("X-A")])
        McpUserConfig.objects.create(owner=bob, server=row, values={"X-A": "a"})
        data_of(carol_api.put(SERVERS, {"server_id": row.pk, "server_name": "New"}))
        assert McpUserConfig.objects.exists()
        moved = {"server_id": row.pk, "url": "http://127.0.0.1:9/mcp"}
        data_of(carol_api.put(SERVERS, moved))
        assert not McpUserConfig.objects.exists()


def test_deleting_a_server_takes_it_from_assistants(alice_api: APIClient, alice: User) -> None:
    row = make_server(alice)
    assistant = Assistant.objects.create(owner=alice, name="Anna")
    assistant.set_mcp_servers([row.pk])
    data_of(alice_api.delete(SERVERS, {"server_id": row.pk}))
    assert not assistant.mcp_servers.exists()
