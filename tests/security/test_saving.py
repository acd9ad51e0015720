"""What no body can say: an address that leads inwards, whose a row is, a program to run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from core.errors import InvalidRequest
from core.redis import redis_sync
from tests.security.peers import HOSTILE_URLS, Peer
from tooling.models import McpServer, McpUserConfig, Scenario, Tool, ToolBackend, Transport
from tooling.vendors import check_backend

pytestmark = pytest.mark.django_db

API = "/api/v1"
# Beyond the twenty: what a URL may hide from one parser and show to another.
MORE_HOSTILE_URLS = [
    *HOSTILE_URLS, "http://[::ffff:a9fe:a9fe]/", "http://127.0.0.1.:{port}/",
    "http://LOCALHOST:{port}/", "http://x.localhost:{port}/", "//127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/", "http:127.0.0.1:{port}/", "https://user:pw@127.0.0.1:{port}/",
    "javascript:alert(1)", "data:text/html,x", "unix:///var/run/docker.sock",
    "http://127.0.0.1%00.example.com:{port}/", "http://127.0.0.1:{port}#@example.com/",
    "http://exa mple.com/", "http://example.com:99999/", "http://[::1", "http://", "stdio:id",
]  # fmt: skip


def body_of(response: Any) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    return body


def is_success(response: Any) -> bool:
    body = body_of(response)
    return bool(response.status_code < 300 and body.get("status_code", 200) == 200)


def tool_body(url: str) -> dict[str, Any]:
    return {"name": "Orders", "category": "query", "http_url": url}


def document(url: str) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "x", "version": "1"},
        "servers": [{"url": url.rstrip("/")}],
        "paths": {"/orders": {"get": {"operationId": "orders", "responses": {}}}},
    }


def agentchat_body(url: str) -> dict[str, Any]:
    names = {"zh_name": "Orders", "en_name": "orders", "description": "d", "logo_url": ""}
    return {**names, "openapi_schema": document(url)}


def server_body(url: str) -> dict[str, Any]:
    return {"server_name": "Shop", "url": url, "type": "sse"}


def imported_body(url: str) -> dict[str, Any]:
    return {"imported_config": {"mcpServers": {"shop": {"type": "sse", "url": url}}}}


# Path and body of what makes a row with an address.
MAKING: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "tool": ("/tools/resources", tool_body),
    "agentchat's tool": ("/tool/create", agentchat_body),
    "MCP server": ("/mcp_server", server_body),
    "imported MCP server": ("/mcp_server", imported_body),
}


def stored() -> list[str]:
    return [row.http_url for row in Tool.objects.all()] + [
        row.url for row in McpServer.objects.all()
    ]


@pytest.mark.parametrize("what", MAKING)
@pytest.mark.parametrize("url", MORE_HOSTILE_URLS)
def test_no_address_that_leads_inwards_is_stored(
    peer: Peer, alice_api: APIClient, what: str, url: str
) -> None:
    path, body = MAKING[what]
    hostile = url.format(port=peer.port)
    refused = alice_api.post(API + path, body(hostile), format="json")
    assert not is_success(refused)
    assert refused.status_code < 500
    assert stored() == []
    assert peer.connections == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", MAKING)
def test_an_address_that_an_operator_allowed_is_stored(
    peer: Peer, alice_api: APIClient, what: str, settings: Any
) -> None:
    path, body = MAKING[what]
    assert not is_success(alice_api.post(API + path, body(peer.url), format="json"))
    settings.OUTBOUND_ALLOW = [peer.host]
    assert is_success(alice_api.post(API + path, body(peer.url), format="json"))
    assert [url.startswith(peer.url) for url in stored()] == [True]


@pytest.mark.django_db(transaction=True)
def test_no_change_leads_inwards(
    peer: Peer, alice: User, alice_api: APIClient, settings: Any
) -> None:
    tool = Tool.objects.create(
        owner=alice, name="T", category="query", http_url="https://a.example"
    )
    server = McpServer.objects.create(owner=alice, name="M", prefix="m", url="https://a.example")

    def change(address: str) -> list[Any]:
        put, patch = alice_api.put, alice_api.patch
        row = f"{API}/tools/resources/{tool.pk}"
        document_of = {"tool_id": tool.pk, "openapi_schema": document(address)}
        return [
            put(row, {"http_url": address}, format="json"),
            patch(row, {"http_url": address}, format="json"),
            put(f"{API}/tool/update", document_of, format="json"),
            put(f"{API}/mcp_server", {"server_id": server.pk, "url": address}, format="json"),
        ]

    for url in MORE_HOSTILE_URLS:
        # None of them is refused for being one of many.
        redis_sync().flushdb()
        responses = change(url.format(port=peer.port))
        assert [is_success(response) for response in responses] == [False] * 4, url
        assert stored() == ["https://a.example"] * 2
    assert peer.connections == 0
    settings.OUTBOUND_ALLOW = [peer.host]
    assert [is_success(response) for response in change(peer.url)] == [True] * 4


@pytest.mark.parametrize("url", MORE_HOSTILE_URLS)
def test_no_service_of_a_tool_leads_inwards(peer: Peer, settings: Any, url: str) -> None:
    row = ToolBackend(tool_id="search", vendor=ToolBackend.Vendor.SEARXNG)
    row.base_url = url.format(port=peer.port)
    with pytest.raises(InvalidRequest) as refused:
        check_backend(row)
    assert refused.value.param == "base_url"
    settings.OUTBOUND_ALLOW = [peer.host]
    row.base_url = peer.url
    check_backend(row)


def operation(**more: Any) -> dict[str, Any]:
    return {"operationId": "orders", "responses": {}, **more}


def asking(schema: Any, **root: Any) -> dict[str, Any]:
    """A document whose operation takes one argument of the schema."""
    parameters = [{"name": "q", "in": "query", "schema": schema}]
    paths = {"/orders": {"get": operation(parameters=parameters)}}
    return {**document("https://shop.example"), "paths": paths, **root}


def doubling(levels: int) -> dict[str, Any]:
    """Variables that unfold to 2 to the power of `levels`."""
    variables = {f"v{n}": {"default": f"{{v{n + 1}}}" * 2} for n in range(levels)}
    return {
        **document("https://shop.example"),
        "servers": [{"url": "https://shop.example/{v0}", "variables": variables}],
    }


def laughing(levels: int) -> dict[str, Any]:
    """Schemas that unfold to 2 to the power of `levels`."""
    schemas: dict[str, Any] = {
        f"s{n}": {"allOf": [{"$ref": f"#/components/schemas/s{n + 1}"}] * 2} for n in range(levels)
    }
    schemas[f"s{levels}"] = {"type": "string"}
    return asking({"$ref": "#/components/schemas/s0"}, components={"schemas": schemas})


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _level in range(levels):
        schema = {"type": "array", "items": schema}
    return asking(schema)


@pytest.mark.parametrize(
    "hostile",
    [
        asking({"$ref": "http://169.254.169.254/latest"}),
        asking({"$ref": "file:///etc/passwd"}),
        asking({"type": "string", "pattern": "(?=a)(a+)+$"}),
        laughing(40),
        deep(400),
        {**document("https://shop.example"), "info": {"title": "x" * 600_000, "version": "1"}},
        {**document("https://shop.example"), "paths": {"/{a}/../{b}": {"$ref": "#/paths/~1{a}"}}},
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_no_document_is_a_trap(alice_api: APIClient, hostile: dict[str, Any]) -> None:
    body = agentchat_body("https://shop.example")
    started = time.process_time()
    refused = alice_api.post(
        f"{API}/tool/create", {**body, "openapi_schema": hostile}, format="json"
    )
    assert time.process_time() - started < 5
    assert not is_success(refused)
    assert refused.status_code < 500
    assert stored() == []
    for harmless in (asking({"type": "string"}), laughing(3), deep(5)):
        Tool.objects.all().delete()
        made = {**body, "openapi_schema": harmless}
        assert is_success(alice_api.post(f"{API}/tool/create", made, format="json"))
        assert [url.startswith("https://shop.example/orders") for url in stored()] == [True]


def test_no_variable_of_an_address_unfolds(alice_api: APIClient) -> None:
    body = {**agentchat_body(""), "openapi_schema": doubling(40)}
    assert is_success(alice_api.post(f"{API}/tool/create", body, format="json"))
    assert stored() == ["https://shop.example/{v1}{v1}/orders"]


# --- Whose a row is, and what is noted on it -----------------------------------------------------

CLAIMS: dict[str, Any] = {
    "is_system": True, "isSystem": True, "user_id": None, "userId": None, "owner": None,
    "owner_id": None, "ownerId": None, "is_staff": True, "is_superuser": True, "pk": "calculator",
    "check_ok": True, "checkOk": True, "check_message": "Fine", "checked_at": "2030-01-01",
    "last_check_ok": True, "last_check_message": "Fine", "last_checked_at": "2030-01-01T00:00:00Z",
    "approved_digests": ["x"], "approvedDigests": ["x"], "tools": ["x"], "listed_at": "2030-01-01",
    "created_at": "2001-01-01T00:00:00Z", "updated_at": "2001-01-01T00:00:00Z", "backend": {},
    "withheld_tools": [], "config_enabled": True, "user_configs": [], "transport": "stdio",
    "command": ["id"], "environment": {"A": "b"}, "status": "passed", "target": {},
}  # fmt: skip


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("whose", ["null", "another's"])
def test_no_body_says_whose_a_row_is(
    peer: Peer, alice: User, bob: User, alice_api: APIClient, settings: Any, whose: str
) -> None:
    settings.OUTBOUND_ALLOW = [peer.host]
    claims = dict(CLAIMS)
    if whose == "another's":
        claims |= dict.fromkeys(("user_id", "userId", "owner", "owner_id", "ownerId"), bob.pk)
    assistant = Assistant.objects.create(owner=alice, name="A")
    bodies = {
        "/tools/resources": tool_body(peer.url),
        "/tool/create": agentchat_body(peer.url),
        "/mcp_server": server_body(peer.url),
        "/tools/autotest/scenarios": {
            "name": "S", "assistant_id": assistant.pk, "steps": [{"say": "Hello"}],
        },
    }  # fmt: skip
    for path, body in bodies.items():
        made = alice_api.post(API + path, {**claims, **body}, format="json")
        assert is_success(made), made.content
    tool, entry = Tool.objects.order_by("created_at")
    server, scenario = McpServer.objects.get(), Scenario.objects.get()
    for row in (tool, entry, server, scenario):
        assert row.owner == alice
        assert row.created_at.year > 2001
    for tool_row in (tool, entry):
        assert (tool_row.check_ok, tool_row.checked_at) == (None, None)
    # It was asked at once, and is no MCP server: that is what is noted.
    assert (server.check_ok, server.tools, server.approved_digests) == (False, [], [])
    assert server.transport == Transport.SSE
    changes = [
        (f"/tools/resources/{tool.pk}", {"name": "New"}),
        ("/tool/update", {"tool_id": entry.pk, "zh_name": "New"}),
        ("/mcp_server", {"server_id": server.pk, "server_name": "New"}),
        (f"/tools/autotest/scenarios/{scenario.pk}", {"name": "New"}),
    ]
    for path, body in changes:
        changed = alice_api.put(API + path, {**claims, **body}, format="json")
        assert is_success(changed), changed.content
    for row in (tool, entry, server, scenario):
        row.refresh_from_db()
        assert (row.owner, row.name) == (alice, "New")
    assert (tool.check_ok, server.approved_digests, server.transport) == (None, [], Transport.SSE)


@pytest.mark.parametrize("verb", ["put", "patch", "delete"])
def test_no_user_changes_a_system_row(
    alice_api: APIClient, carol_api: APIClient, verb: str
) -> None:
    tool = Tool.objects.create(name="T", category="query", http_url="https://a.example")
    scenario = Scenario.objects.create(name="T", assistant_id="a", steps=[])
    for row, path in (
        (tool, f"/tools/resources/{tool.pk}"),
        (scenario, f"/tools/autotest/scenarios/{scenario.pk}"),
    ):
        body = {"enabled": False, "name": "T"}
        refused = getattr(alice_api, verb)(API + path, body, format="json")
        assert refused.status_code == 403
        before = type(row)._base_manager.filter(pk=row.pk).values().get()
        assert before["name"] == "T"
    allowed = getattr(carol_api, verb)(
        f"{API}/tools/resources/{tool.pk}", {"enabled": False}, format="json"
    )
    assert allowed.status_code == 200


def test_no_user_changes_a_system_server(alice_api: APIClient, carol_api: APIClient) -> None:
    server = McpServer.objects.create(name="M", prefix="m", url="https://a.example", tools=[])
    body = {"server_id": server.pk, "server_name": "Changed"}
    doors = [("put", "/mcp_server"), ("post", "/mcp_tools/approve"), ("delete", "/mcp_server")]
    for verb, path in doors:
        refused = getattr(alice_api, verb)(API + path, body, format="json")
        assert body_of(refused)["status_code"] == 403
    server.refresh_from_db()
    assert server.name == "M"
    for verb, path in doors:
        assert is_success(getattr(carol_api, verb)(API + path, body, format="json"))


def test_no_chosen_id_takes_a_row_over(alice: User, alice_api: APIClient, bob: User) -> None:
    theirs = Tool.objects.create(pk="theirs", owner=bob, name="Of bob", category="system")
    for taken in ("theirs", "calculator", "voice_message_prompt", "../x", "a b", "x" * 65, "\x00"):
        body = {"id": taken, "name": "Of alice", "category": "system"}
        refused = alice_api.post(f"{API}/tools/resources", body, format="json")
        assert refused.status_code == 400
    theirs.refresh_from_db()
    assert (theirs.owner, theirs.name) == (bob, "Of bob")
    body = {"id": "mine", "name": "Of alice", "category": "system"}
    assert alice_api.post(f"{API}/tools/resources", body, format="json").status_code == 200
    assert Tool.objects.get(pk="mine").owner == alice


# --- Programs ------------------------------------------------------------------------------------

STDIO_BODIES: list[dict[str, Any]] = [
    {"server_name": "M", "type": "stdio", "url": "id"},
    {"server_name": "M", "type": "STDIO", "url": "https://a.example"},
    {"server_name": "M", "type": " stdio ", "url": "https://a.example"},
    {"server_name": "M", "type": "websocket", "url": "https://a.example"},
    {"imported_config": {"mcpServers": {"m": {"command": "id", "args": ["-u"]}}}},
    {"imported_config": {"mcpServers": {"m": {
        "command": "id", "type": "sse", "url": "https://a.example"}}}},
    {"imported_config": {"mcpServers": {"m": {"type": "stdio", "url": "https://a.example"}}}},
    {"imported_config": {"mcpServers": {"m": {"transport": "stdio", "url": "https://a.example"}}}},
    {"server_name": "M", "url": "https://a.example", "type": "stdio",
     "imported_config": {"mcpServers": {"m": {"type": "sse", "url": "https://a.example"}}}},
]  # fmt: skip


@pytest.mark.parametrize("client", ["alice_api", "carol_api"])
@pytest.mark.parametrize("body", STDIO_BODIES, ids=json.dumps)
def test_no_body_names_a_program(
    client: str, body: dict[str, Any], request: pytest.FixtureRequest, alice: User, carol: User
) -> None:
    api: APIClient = request.getfixturevalue(client)
    assert not is_success(api.post(f"{API}/mcp_server", body, format="json"))
    owner = alice if client == "alice_api" else carol
    server = McpServer.objects.create(owner=owner, name="M", prefix="m", url="https://b.example")
    changed = api.put(f"{API}/mcp_server", {"server_id": server.pk, **body}, format="json")
    assert not is_success(changed)
    server.refresh_from_db()
    assert (server.transport, server.url) == (Transport.STREAMABLE_HTTP, "https://b.example")
    assert McpServer.objects.count() == 1
    renamed = {"server_id": server.pk, "server_name": "New"}
    assert is_success(api.put(f"{API}/mcp_server", renamed, format="json"))


# --- Secrets and the hosts they belong to --------------------------------------------------------


def test_no_changed_host_gets_the_secret(alice: User, alice_api: APIClient) -> None:
    body = {
        **tool_body("https://shop.example/orders"),
        "http_headers": {"Authorization": "Bearer {api_key}", "X-Api-Key": "literal-0123456789"},
        "secrets": {"api_key": "sk-0123456789ab"},
    }
    made = alice_api.post(f"{API}/tools/resources", body, format="json")
    assert made.status_code == 200
    row = f"{API}/tools/resources/{made.json()['id']}"
    shown = made.json()["http_headers"]
    for headers in (None, shown, {**shown, "X-Api-Key": shown["X-Api-Key"]}):
        change: dict[str, Any] = {"http_url": "https://thief.example/"}
        if headers is not None:
            change["http_headers"] = headers
        refused = alice_api.put(row, change, format="json")
        assert refused.status_code == 400
        assert Tool.objects.get().http_url == "https://shop.example/orders"
    again = {"Authorization": "Bearer {api_key}", "X-Api-Key": "of-the-new-host"}
    moved = alice_api.put(
        row, {"http_url": "https://thief.example/", "http_headers": again}, format="json"
    )
    assert moved.status_code == 200
    # The secret itself stays bound to its first host, and the row says that one is missing.
    assert moved.json()["missing_secrets"] == ["api_key"]
    assert Tool.objects.get().secrets.get().host == "shop.example:443"


@pytest.mark.django_db(transaction=True)
def test_no_changed_host_gets_the_headers_of_a_server(
    two_peers: list[Peer], alice: User, bob: User, alice_api: APIClient, settings: Any
) -> None:
    first, thief = two_peers
    settings.OUTBOUND_ALLOW = [first.host, thief.host]
    server = McpServer.objects.create(
        owner=alice, name="M", prefix="m", url=first.url, transport=Transport.SSE,
        headers={"Authorization": "Bearer of-the-first"},
        config_fields=[{"key": "X-Key", "label": "", "target": "header", "required": False}],
    )  # fmt: skip
    McpUserConfig.objects.create(owner=bob, server=server, values={"X-Key": "of-bob-0123"})
    body = {"server_id": server.pk, "url": thief.url}
    for headers in ({}, {"headers": {"Authorization": "************"}}):
        assert not is_success(
            alice_api.put(f"{API}/mcp_server", {**body, **headers}, format="json")
        )
    assert thief.connections == 0
    anew = {**body, "headers": {"Authorization": "Bearer of-the-second"}}
    assert is_success(alice_api.put(f"{API}/mcp_server", anew, format="json"))
    assert thief.seen
    assert "of-the-first" not in str(thief.seen)
    assert "of-the-second" in str(thief.seen)
    # What users had set was for the first host, too.
    assert not McpUserConfig.objects.exists()
