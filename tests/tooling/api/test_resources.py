"""`/tools/resources`: the published samples, what is listed, and who may do what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from assistants.runtime import load_runtime
from tests.tooling.api.conftest import client_tool
from tooling.catalogue import BUILTIN_TOOLS
from tooling.models import Tool

PATH = "/api/v1/tools/resources"

# As published.
CREATE: dict[str, Any] = {
    "name": "订单查询",
    "description": "查询用户订单信息",
    "category": "query",
    "icon": "Search",
    "http_method": "POST",
    "http_url": "https://api.example.com/orders",
    "http_headers": {"Authorization": "Bearer {api_key}"},
    "http_timeout_ms": 10000,
    "parameter_schema": {
        "type": "object",
        "properties": {"order_id": {"type": "string", "description": "订单ID"}},
        "required": ["order_id"],
    },
    "enabled": True,
}
LISTED: dict[str, Any] = {
    "id": "calculator",
    "name": "计算器",
    "description": "执行数学计算",
    "category": "query",
    "icon": "Terminal",
    "http_method": "GET",
    "http_url": None,
    "http_timeout_ms": 10000,
    "parameter_defaults": {},
    "wait_for_response": False,
    "enabled": True,
    "is_system": True,
}


def rows_of(client: APIClient, **query: Any) -> dict[str, dict[str, Any]]:
    response = client.get(PATH, query)
    assert response.status_code == 200, response.content
    return {row["id"]: row for row in response.json()["list"]}


def detail_of(response: Any, status: int) -> str:
    assert response.status_code == status, response.content
    assert set(response.json()) == {"detail"}
    detail: str = response.json()["detail"]
    return detail


# --- Lists -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("builtin_tools")
def test_it_lists_the_fifteen_tools_as_published(alice_api: APIClient) -> None:
    page = alice_api.get(PATH).json()
    assert {name: page[name] for name in ("total", "page", "limit")} == {
        "total": 15,
        "page": 1,
        "limit": 100,
    }
    assert [row["id"] for row in page["list"]] == list(BUILTIN_TOOLS)
    calculator = page["list"][1]
    assert calculator.items() >= LISTED.items()
    assert calculator["user_id"] is None
    assert calculator["parameter_schema"]["properties"]["expression"]["type"] == "string"
    assert datetime.fromisoformat(calculator["created_at"]).tzinfo is not None


@pytest.mark.usefixtures("builtin_tools")
def test_it_lists_own_tools_and_nothing_of_others(
    alice_api: APIClient, bob_api: APIClient, carol_api: APIClient, orders: Tool
) -> None:
    seen = [orders.pk in rows_of(client) for client in (alice_api, bob_api, carol_api)]
    assert seen == [True, False, True]


@pytest.mark.usefixtures("builtin_tools")
@pytest.mark.parametrize(
    ("query", "finds_calculator", "finds_orders"),
    [
        ({"category": "query"}, True, True),
        ({"category": "system"}, False, False),
        ({"enabled": "true"}, True, True),
        ({"enabled": "0"}, False, False),
        ({"include_system": "false"}, False, True),
        ({"include_system": "1"}, True, True),
        ({"keyword": "rder"}, False, True),
        ({"keyword": "计算"}, True, False),
        ({"keyword": "ARITHMETIC"}, True, False),
    ],
)
def test_it_narrows_the_list(
    alice_api: APIClient,
    orders: Tool,
    query: dict[str, str],
    finds_calculator: bool,
    finds_orders: bool,
) -> None:
    rows = rows_of(alice_api, **query)
    assert ("calculator" in rows, orders.pk in rows) == (finds_calculator, finds_orders)


def test_longer_lists_need_no_more_queries(
    alice_api: APIClient, orders: Tool, django_assert_max_num_queries: Any
) -> None:
    rows_of(alice_api)
    for number in range(5):
        alice_api.post(PATH, {**CREATE, "secrets": {"api_key": f"sk-secret-{number}"}})
    with django_assert_max_num_queries(6):
        assert len(rows_of(alice_api)) == 6


@pytest.mark.usefixtures("builtin_tools")
def test_it_pages(alice_api: APIClient) -> None:
    first, second, beyond, whole = (
        alice_api.get(PATH, query).json()
        for query in (
            {"limit": 10},
            {"page_size": 10, "page": 2},
            {"page": 9},
            {"limit": 5000},
        )
    )
    assert [len(page["list"]) for page in (first, second, beyond, whole)] == [10, 5, 0, 15]
    assert {page["total"] for page in (first, second, beyond, whole)} == {15}
    assert (second["page"], second["limit"], whole["limit"]) == (2, 10, 1000)


@pytest.mark.parametrize(
    "query",
    [
        "category=other",
        "enabled=perhaps",
        "include_system=x",
        "page=0",
        "limit=-1",
        "page=x",
        "limit=",
    ],
)
def test_it_refuses_a_query_that_means_nothing(alice_api: APIClient, query: str) -> None:
    assert detail_of(alice_api.get(f"{PATH}?{query}"), 400).startswith(query.split("=")[0])


# --- One tool ----------------------------------------------------------------------------------


def test_it_makes_the_published_tool(alice_api: APIClient, alice: User) -> None:
    response = alice_api.post(PATH, CREATE)
    assert response.status_code == 200
    row = response.json()
    assert row.items() >= CREATE.items()
    assert (row["user_id"], row["is_system"]) == (alice.pk, False)
    assert row["id"].startswith("tool_")
    assert len(row["id"]) == len("tool_") + 8
    assert row["missing_secrets"] == ["api_key"]
    assert alice_api.get(f"{PATH}/{row['id']}").json() == row


def test_it_needs_no_more_than_a_name_a_category_and_an_address(alice_api: APIClient) -> None:
    row = alice_api.post(
        PATH, {"name": "Time", "category": "query", "http_url": "https://example.com/now"}
    ).json()
    defaults = {
        "http_method": "GET",
        "http_headers": {},
        "http_timeout_ms": 10000,
        "parameter_schema": {"type": "object", "properties": {}, "required": []},
        "parameter_defaults": {},
        "wait_for_response": False,
        "enabled": True,
    }
    assert row.items() >= defaults.items()


def test_it_takes_names_in_both_cases_and_null_for_nothing(alice_api: APIClient) -> None:
    row = alice_api.post(
        PATH,
        {
            "name": "Lamp",
            "category": "system",
            "waitForResponse": True,
            "http_url": None,
            "http_headers": None,
            "parameterSchema": None,
            "parameter_defaults": None,
        },
    ).json()
    assert (row["wait_for_response"], row["http_url"], row["http_headers"]) == (True, None, {})


def test_it_takes_an_id_once(alice_api: APIClient, bob_api: APIClient) -> None:
    assert alice_api.post(PATH, {**CREATE, "id": "order_lookup"}).json()["id"] == "order_lookup"
    for client in (alice_api, bob_api):
        again = client.post(
            PATH, {**CREATE, "id": "order_lookup", "name": "Other"}, HTTP_ACCEPT_LANGUAGE="en"
        )
        assert detail_of(again, 400) == "Tool ID already exists"
    assert Tool.objects.get(pk="order_lookup").name == CREATE["name"]


@pytest.mark.parametrize("tool_id", ["calculator", "voice_message_prompt"])
def test_it_keeps_the_ids_of_built_in_tools(alice_api: APIClient, tool_id: str) -> None:
    # Also where the first start has not written their rows yet.
    response = alice_api.post(PATH, {**CREATE, "id": tool_id}, HTTP_ACCEPT_LANGUAGE="en")
    assert detail_of(response, 400) == "Tool ID already exists"


def test_it_takes_no_owner_from_the_body(
    alice_api: APIClient, carol_api: APIClient, alice: User, carol: User, bob: User
) -> None:
    claims = {"user_id": bob.pk, "owner": bob.pk, "owner_id": bob.pk, "is_system": True}
    for client, user in ((alice_api, alice), (carol_api, carol)):
        made = client.post(PATH, {**CREATE, **claims}).json()
        assert (made["user_id"], made["is_system"]) == (user.pk, False)
        kept = client.put(f"{PATH}/{made['id']}", {**claims, "id": "other", "name": "New"}).json()
        assert (kept["user_id"], kept["id"], kept["name"]) == (user.pk, made["id"], "New")


@pytest.mark.parametrize("verb", ["put", "patch"])
def test_it_changes_what_is_given(alice_api: APIClient, orders: Tool, verb: str) -> None:
    url = f"{PATH}/{orders.pk}"
    before = alice_api.get(url).json()
    after = getattr(alice_api, verb)(url, {"description": "New", "enabled": False}).json()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"description", "enabled", "updated_at"}


def test_it_takes_back_what_it_shows(alice_api: APIClient, orders: Tool) -> None:
    url = f"{PATH}/{orders.pk}"
    shown = alice_api.get(url).json()
    after = alice_api.put(url, shown).json()
    assert {**after, "updated_at": shown["updated_at"]} == shown
    orders.refresh_from_db()
    assert orders.http_headers["X-Token"] == "literal-token-0123"
    assert [(row.value, row.host) for row in orders.secrets.all()] == [
        ("sk-secret-4567", "api.example.com:443")
    ]


def test_it_forgets_the_request_of_a_tool_that_moves_to_the_client(
    alice_api: APIClient, orders: Tool
) -> None:
    row = alice_api.put(f"{PATH}/{orders.pk}", {"category": "system"}).json()
    emptied: dict[str, Any] = {
        "http_url": None,
        "http_headers": {},
        "http_method": "GET",
        "secrets": {},
    }
    assert row.items() >= emptied.items()
    assert not orders.secrets.exists()


def test_it_always_waits_for_tools_of_the_server(alice_api: APIClient) -> None:
    waits = [
        alice_api.post(PATH, {**CREATE, **values, "wait_for_response": True}).json()
        for values in ({"category": "query"}, {"category": "system"})
    ]
    assert [row["wait_for_response"] for row in waits] == [False, True]


def test_it_deletes_a_tool_that_an_assistant_uses(
    alice_api: APIClient, alice: User, orders: Tool
) -> None:
    assistant = Assistant.objects.create(
        owner=alice,
        name="Anna",
        manual_opener_tool_calls=[{"toolName": orders.pk, "arguments": {"order_id": "1"}}],
    )
    assistant.set_tools([orders.pk])
    response = alice_api.delete(f"{PATH}/{orders.pk}", HTTP_ACCEPT_LANGUAGE="en")
    assert (response.status_code, response.json()) == (200, {"message": "Deleted successfully"})
    unknown = alice_api.get(f"{PATH}/{orders.pk}", HTTP_ACCEPT_LANGUAGE="en")
    assert detail_of(unknown, 404) == "Tool resource not found"
    runtime = load_runtime(assistant.pk)
    assert (runtime.tools, runtime.opener_tool_calls) == ((), ())


# --- Who may what ------------------------------------------------------------------------------


def test_it_hides_a_foreign_tool_like_an_unknown_one(
    bob_api: APIClient, alice_api: APIClient, orders: Tool
) -> None:
    url, unknown = f"{PATH}/{orders.pk}", f"{PATH}/tool_00000000"
    for verb in ("get", "put", "patch", "delete"):
        refused, missing = (
            getattr(bob_api, verb)(path, {} if verb in ("put", "patch") else None)
            for path in (url, unknown)
        )
        assert (refused.status_code, refused.json()) == (404, missing.json())
    assert alice_api.patch(url, {"name": "Mine"}).status_code == 200
    assert alice_api.delete(url).status_code == 200


def test_operators_may_change_and_delete_tools_of_users(
    carol_api: APIClient, alice: User, orders: Tool
) -> None:
    url = f"{PATH}/{orders.pk}"
    assert carol_api.put(url, {"name": "Better"}).json()["user_id"] == alice.pk
    assert carol_api.delete(url).status_code == 200


@pytest.mark.usefixtures("builtin_tools")
@pytest.mark.parametrize("body", [{"enabled": False}, {"name": "Mine"}, {}])
def test_users_change_nothing_of_the_system(
    alice_api: APIClient, carol_api: APIClient, body: dict[str, Any]
) -> None:
    url = f"{PATH}/calculator"
    for response in (
        alice_api.put(url, body, HTTP_ACCEPT_LANGUAGE="en"),
        alice_api.delete(url, HTTP_ACCEPT_LANGUAGE="en"),
    ):
        assert detail_of(response, 403) == "System tool is read-only"
    assert carol_api.put(url, {"enabled": False}).json()["enabled"] is False


@pytest.mark.usefixtures("builtin_tools")
def test_operators_change_only_whether_a_built_in_tool_is_enabled(carol_api: APIClient) -> None:
    url = f"{PATH}/calculator"
    shown = carol_api.get(url).json()
    # A client that sends all of a row changes only what differs.
    assert carol_api.put(url, {**shown, "enabled": False}).json()["enabled"] is False
    for body in (
        {"name": "Mine", "enabled": True},
        {"category": "system"},
        {"http_url": "https://example.com"},
        {"secrets": {"api_key": "sk-12345678"}},
    ):
        response = carol_api.put(url, body, HTTP_ACCEPT_LANGUAGE="en")
        assert detail_of(response, 403) == "System tool is read-only"
    assert detail_of(carol_api.delete(url), 403)
    assert carol_api.get(url).json()["enabled"] is False


def test_tools_that_operators_made_for_all_are_read_only_to_users(
    alice_api: APIClient, carol_api: APIClient
) -> None:
    url = f"{PATH}/{client_tool(None).pk}"
    assert alice_api.get(url).json()["is_system"] is True
    assert detail_of(alice_api.put(url, {"name": "Mine"}), 403)
    assert detail_of(alice_api.delete(url), 403)
    assert carol_api.put(url, {"name": "Better"}).json()["name"] == "Better"
    assert carol_api.delete(url).status_code == 200


def test_it_needs_a_credential(anonymous_api: APIClient, alice_api: APIClient) -> None:
    assert detail_of(anonymous_api.post(PATH, CREATE), 401)
    assert detail_of(anonymous_api.get(PATH), 401)
    assert alice_api.post(PATH, CREATE).status_code == 200


@pytest.mark.parametrize("tool_id", ["'", "%00", "..%2f..%2fetc", "%2e%2e", "a" * 10_000, "%ff"])
def test_it_survives_hostile_ids(alice_api: APIClient, tool_id: str) -> None:
    assert detail_of(alice_api.get(f"{PATH}/{tool_id}"), 404)


@pytest.mark.usefixtures("builtin_tools")
def test_it_finds_a_tool_by_its_earlier_name(alice_api: APIClient) -> None:
    assert alice_api.get(f"{PATH}/voice_message_prompt").json()["id"] == "voice_msg_prompt"


@pytest.mark.usefixtures("builtin_tools")
def test_it_speaks_the_language_that_was_asked_for(alice_api: APIClient) -> None:
    row = alice_api.get(f"{PATH}/calculator", HTTP_ACCEPT_LANGUAGE="en").json()
    assert (row["name"], row["description"]) == ("Calculator", "Do arithmetic")
