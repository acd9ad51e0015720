"""`/tool/*`: the same tools in the words of agentchat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from assistants.runtime import load_runtime
from tests.tooling.api.conftest import client_tool
from tests.tooling.openapi_documents import ORDERS
from tooling.models import Category, Tool

PATH = "/api/v1/tool"
ENGLISH: dict[str, Any] = {"HTTP_ACCEPT_LANGUAGE": "en"}

# As published, with texts of the kinds that it names.
CREATE = {
    "zh_name": "订单查询",
    "en_name": "find_order",
    "description": "查询用户订单信息",
    "logo_url": "https://example.com/logo.png",
}
UPDATE = {
    "zh_name": "物流查询",
    "en_name": "find_parcel",
    "description": "查询物流",
    "logo_url": "logo URL",
}


def data_of(response: Any) -> Any:
    assert response.status_code == 200, response.content
    body = response.json()
    assert (body["status_code"], body["status_message"]) == (200, "SUCCESS"), body
    return body["data"]


def refusal_of(response: Any, code: int, status: int = 200) -> str:
    assert response.status_code == status, response.content
    body = response.json()
    assert (body["status_code"], body["data"]) == (code, None), body
    message: str = body["status_message"]
    return message


def made(client: APIClient, **values: Any) -> str:
    tool_id: str = data_of(client.post(f"{PATH}/create", {**CREATE, **values}))["tool_id"]
    return tool_id


def own(client: APIClient) -> dict[str, dict[str, Any]]:
    return {row["tool_id"]: row for row in data_of(client.post(f"{PATH}/own"))}


# --- Entries -----------------------------------------------------------------------------------


def test_it_makes_an_entry_that_waits_for_an_address(alice_api: APIClient, alice: User) -> None:
    tool_id = made(alice_api)
    row = own(alice_api)[tool_id]
    assert row.items() >= CREATE.items()
    assert (row["user_id"], row["is_user_defined"]) == (str(alice.pk), True)
    assert (row["http_url"], row["openapi_schema"], row["auth_config"]) == ("", None, None)
    assert {"create_time", "update_time"} <= row.keys()


def test_an_entry_is_not_offered_to_models(alice_api: APIClient, alice: User) -> None:
    assistant = Assistant.objects.create(owner=alice, name="Anna")
    tool_id = made(alice_api)
    assistant.set_tools([tool_id])
    assert load_runtime(assistant.pk).tools == ()
    # Nor can it be enabled before it has an address, but changed otherwise.
    row_url = f"/api/v1/tools/resources/{tool_id}"
    refused = alice_api.put(row_url, {"enabled": True}, **ENGLISH)
    assert refused.json() == {"detail": "http_url is required for query tools"}
    assert alice_api.put(row_url, {"name": "New"}).status_code == 200
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, "openapi_schema": ORDERS}))
    assert [tool.id for tool in load_runtime(assistant.pk).tools] == ["find_order"]


def test_it_shows_the_same_rows_as_the_other_family(alice_api: APIClient) -> None:
    tool_id = made(alice_api)
    row = alice_api.get(f"/api/v1/tools/resources/{tool_id}").json()
    assert (row["name"], row["function_name"]) == (CREATE["zh_name"], CREATE["en_name"])
    assert (row["category"], row["enabled"]) == ("query", False)


@pytest.mark.usefixtures("builtin_tools")
def test_it_lists_what_each_word_means(
    alice_api: APIClient, bob_api: APIClient, carol_api: APIClient
) -> None:
    alices, bobs, carols = (made(client) for client in (alice_api, bob_api, carol_api))

    def listed(client: APIClient, word: str) -> set[str]:
        verb = client.get if word == "all" else client.post
        return {row["tool_id"] for row in data_of(verb(f"{PATH}/{word}"))}

    seen = {
        (name, word): listed(client, word) & {alices, bobs, carols, "calculator"}
        for name, client in (("alice", alice_api), ("carol", carol_api))
        for word in ("all", "own", "visible")
    }
    assert seen == {
        ("alice", "all"): {alices, "calculator"},
        ("alice", "own"): {alices},
        ("alice", "visible"): {alices, "calculator"},
        ("carol", "all"): {alices, bobs, carols, "calculator"},
        ("carol", "own"): {carols},
        ("carol", "visible"): {carols, "calculator"},
    }


@pytest.mark.usefixtures("builtin_tools")
def test_it_names_the_tools_of_the_system(alice_api: APIClient) -> None:
    rows = {row["tool_id"]: row for row in data_of(alice_api.get(f"{PATH}/all"))}
    shown = {"zh_name": "计算器", "en_name": "calculator", "user_id": "0"}
    assert rows["calculator"].items() >= {**shown, "is_user_defined": False}.items()


def test_it_pages(alice_api: APIClient) -> None:
    ids = [made(alice_api, en_name=f"tool_{number}") for number in range(3)]
    pages = [
        [row["tool_id"] for row in data_of(alice_api.post(f"{PATH}/own?limit=2&page={page}"))]
        for page in (1, 2, 3)
    ]
    assert pages == [ids[:2], ids[2:], []]


def test_it_changes_what_is_sent(alice_api: APIClient) -> None:
    tool_id = made(alice_api)
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, **UPDATE}))
    assert own(alice_api)[tool_id].items() >= UPDATE.items()
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, "description": ""}))
    assert own(alice_api)[tool_id].items() >= {**UPDATE, "description": ""}.items()


@pytest.mark.parametrize("in_query", [False, True])
def test_it_deletes(alice_api: APIClient, in_query: bool) -> None:
    tool_id = made(alice_api)
    if in_query:
        data_of(alice_api.delete(f"{PATH}/delete?tool_id={tool_id}"))
    else:
        data_of(alice_api.delete(f"{PATH}/delete", {"tool_id": tool_id}))
    assert own(alice_api) == {}
    assert refusal_of(alice_api.delete(f"{PATH}/delete", {"tool_id": tool_id}), 404)


# --- Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"zh_name": "一"}, "zh_name"),
        ({"zh_name": "x" * 51}, "zh_name"),
        ({"zh_name": None}, "zh_name"),
        ({"en_name": "a"}, "en_name"),
        ({"en_name": "x" * 65}, "en_name"),
        ({"en_name": "two words"}, "en_name"),
        ({"en_name": "工具英文名"}, "en_name"),
        ({"description": "x" * 301}, "description"),
        ({"logo_url": "javascript:alert(1)"}, "logo_url"),
        ({"openapi_schema": {"swagger": "2.0"}}, "openapi_schema"),
        ({"openapi_schema": "{"}, "openapi_schema"),
        ({"openapi_schema": []}, "openapi_schema"),
        ({"openapi_schema": False}, "openapi_schema"),
        ({"openapi_schema": json.dumps({**ORDERS, "x": float("nan")})}, "openapi_schema"),
        ({"openapi_schema": json.dumps({**ORDERS, "x": "\0"})}, "openapi_schema"),
        ({"openapi_schema": {**ORDERS, "servers": [{"url": "http://10.0.0.1"}]}}, "openapi_schema"),
        ({"auth_config": {"auth_type": "Bearer", "data": "tok-12345678"}}, "auth_config"),
        ({"openapi_schema": ORDERS, "auth_config": {"auth_type": "X", "data": "y"}}, "auth_config"),
        ({"openapi_schema": ORDERS, "auth_config": {"auth_type": "Bearer"}}, "auth_config"),
        (
            {"openapi_schema": ORDERS, "auth_config": {"auth_type": "Bearer", "data": "a\nb"}},
            "auth_config",
        ),
    ],
)
def test_it_names_the_field_that_is_wrong(
    alice_api: APIClient, wrong: dict[str, Any], field: str
) -> None:
    refused = alice_api.post(f"{PATH}/create", {**CREATE, **wrong}, **ENGLISH)
    assert field in refusal_of(refused, 422, 422)
    assert refused.json()["detail"][0]["loc"][:2] == ["body", field]
    tool_id = made(alice_api)
    body = {"tool_id": tool_id, **wrong}
    assert field in refusal_of(alice_api.put(f"{PATH}/update", body, **ENGLISH), 422, 422)


def test_it_keeps_names_apart_per_user(alice_api: APIClient, bob_api: APIClient) -> None:
    made(alice_api)
    made(bob_api)
    again = alice_api.post(f"{PATH}/create", CREATE, **ENGLISH)
    assert "function name already" in refusal_of(again, 500)
    other = made(alice_api, en_name="other")
    renamed = {"tool_id": other, "en_name": CREATE["en_name"]}
    refusal_of(alice_api.put(f"{PATH}/update", renamed), 500)
    assert own(alice_api)[other]["en_name"] == "other"


def test_it_hides_a_foreign_tool_like_an_unknown_one(
    alice_api: APIClient, bob_api: APIClient
) -> None:
    tool_id = made(alice_api)
    for tried, verb in (("update", bob_api.put), ("delete", bob_api.delete)):
        foreign = verb(f"{PATH}/{tried}", {"tool_id": tool_id, "zh_name": "新名"}, **ENGLISH)
        unknown = verb(f"{PATH}/{tried}", {"tool_id": "tool_0", "zh_name": "新名"}, **ENGLISH)
        assert refusal_of(foreign, 404) == "tool_id: Tool resource not found"
        assert foreign.json() == unknown.json()
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, "zh_name": "新名"}))
    data_of(alice_api.delete(f"{PATH}/delete", {"tool_id": tool_id}))


@pytest.mark.usefixtures("builtin_tools")
def test_it_changes_nothing_of_the_system(alice_api: APIClient, carol_api: APIClient) -> None:
    for client in (alice_api, carol_api):
        for tried, verb in (("update", client.put), ("delete", client.delete)):
            body = {"tool_id": "calculator", "zh_name": "新名"}
            response = verb(f"{PATH}/{tried}", body, **ENGLISH)
            assert refusal_of(response, 403) == "System tool is read-only"
    shared = client_tool(None).pk
    body = {"tool_id": shared, "zh_name": "新名"}
    refusal_of(alice_api.put(f"{PATH}/update", body), 403)
    data_of(carol_api.put(f"{PATH}/update", body))


def test_it_takes_no_owner_from_the_body(alice_api: APIClient, alice: User, bob: User) -> None:
    claims = {"user_id": str(bob.pk), "owner": bob.pk, "is_system": True, "category": "system"}
    tool_id = made(alice_api, **claims)
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, **claims, "zh_name": "新名"}))
    row = Tool.objects.get(pk=tool_id)
    assert (row.owner_id, row.category) == (alice.pk, Category.QUERY)


def test_it_needs_a_credential(anonymous_api: APIClient, alice_api: APIClient) -> None:
    assert refusal_of(anonymous_api.post(f"{PATH}/create", CREATE), 401, 401)
    assert refusal_of(anonymous_api.get(f"{PATH}/all"), 401, 401)
    data_of(alice_api.get(f"{PATH}/all"))


# --- Documents and credentials -----------------------------------------------------------------


def test_it_imports_the_operation_of_a_document(alice_api: APIClient) -> None:
    tool_id = made(alice_api, openapi_schema=ORDERS, description="")
    row = Tool.objects.get(pk=tool_id)
    assert (row.http_method, row.http_url) == (
        "GET",
        "https://api.example.com/v1/orders/{order_id}",
    )
    assert row.parameter_schema["required"] == ["order_id"]
    assert (row.description, row.is_enabled) == ("Finds an order", True)
    # What it shows is taken back as it is, also beside other changes.
    shown = own(alice_api)[tool_id]
    data_of(alice_api.put(f"{PATH}/update", {**shown, "zh_name": "新名"}))
    after = own(alice_api)[tool_id]
    assert {**after, "zh_name": shown["zh_name"], "update_time": ""} == {**shown, "update_time": ""}


def test_a_new_document_replaces_the_request(alice_api: APIClient) -> None:
    tool_id = made(alice_api, openapi_schema=ORDERS, description="Mine")
    moved = {**ORDERS, "servers": [{"url": "https://other.example.com"}]}
    alice_api.put(f"/api/v1/tools/resources/{tool_id}", {"enabled": False})
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, "openapi_schema": moved}))
    row = Tool.objects.get(pk=tool_id)
    assert row.http_url == "https://other.example.com/orders/{order_id}"
    # What was disabled on purpose stays so.
    assert (row.description, row.is_enabled) == ("Mine", False)


@pytest.mark.parametrize(
    ("auth_type", "data", "header", "secret"),
    [
        ("Bearer", "tok-12345678", {"Authorization": "Bearer {api_auth}"}, "tok-12345678"),
        ("Basic", "anna:pass", {"Authorization": "Basic {api_auth}"}, "YW5uYTpwYXNz"),
        ("APIKey", "key-12345678", {"X-Shop-Key": "{api_auth}"}, "key-12345678"),
    ],
)
def test_it_keeps_credentials_as_secrets(
    alice_api: APIClient, auth_type: str, data: str, header: dict[str, str], secret: str
) -> None:
    auth = {"auth_type": auth_type, "data": data}
    tool_id = made(alice_api, openapi_schema=ORDERS, auth_config=auth)
    row = Tool.objects.get(pk=tool_id)
    assert row.http_headers == header
    assert [(each.name, each.value, each.host) for each in row.secrets.all()] == [
        ("api_auth", secret, "api.example.com:443")
    ]
    listed = alice_api.post(f"{PATH}/own")
    assert secret not in listed.content.decode()
    shown = own(alice_api)[tool_id]["auth_config"]
    assert shown["auth_type"] == auth_type
    assert shown["data"].startswith("************")
    # The mask keeps the value, whatever else is changed.
    body = {"tool_id": tool_id, "auth_config": shown, "zh_name": "新名"}
    data_of(alice_api.put(f"{PATH}/update", body))
    assert [each.value for each in row.secrets.all()] == [secret]
    # Null takes it away.
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, "auth_config": None}))
    row.refresh_from_db()
    assert (row.http_headers, list(row.secrets.all())) == ({}, [])
    assert own(alice_api)[tool_id]["auth_config"] is None


def test_the_mask_of_a_credential_is_no_credential_of_another_kind(alice_api: APIClient) -> None:
    auth = {"auth_type": "Bearer", "data": "token-of-shop:abc"}
    tool_id = made(alice_api, openapi_schema=ORDERS, auth_config=auth)
    mask = own(alice_api)[tool_id]["auth_config"]["data"]
    assert mask.endswith(":abc")
    basic = {"auth_type": "Basic", "data": mask}
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, "auth_config": basic}))
    row = Tool.objects.get(pk=tool_id)
    assert row.http_headers == {"Authorization": "Basic {api_auth}"}
    assert [each.value for each in row.secrets.all()] == ["token-of-shop:abc"]


def test_a_credential_stays_with_its_host(alice_api: APIClient) -> None:
    auth = {"auth_type": "Bearer", "data": "tok-12345678"}
    tool_id = made(alice_api, openapi_schema=ORDERS, auth_config=auth)
    moved = {**ORDERS, "servers": [{"url": "https://evil.example.net"}]}
    data_of(alice_api.put(f"{PATH}/update", {"tool_id": tool_id, "openapi_schema": moved}))
    row = Tool.objects.get(pk=tool_id)
    assert row.http_headers == {"Authorization": "Bearer {api_auth}"}
    assert [secret.host for secret in row.secrets.all()] == ["api.example.com:443"]
    body = {"tool_id": tool_id, "auth_config": auth}
    data_of(alice_api.put(f"{PATH}/update", body))
    assert [secret.host for secret in row.secrets.all()] == ["evil.example.net:443"]
