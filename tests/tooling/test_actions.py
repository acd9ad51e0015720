"""What can be done with tools, below the endpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytest
from django.db import connection, connections, transaction
from rest_framework.test import APIClient

from accounts.models import User
from accounts.principals import Principal
from assistants.models import Assistant
from assistants.runtime import load_runtime
from core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from tests.rest import data_of, error_of
from tooling.access import access_tool
from tooling.actions import ToolValues, create_tool, delete_tool, set_secrets, update_tool
from tooling.catalogue import sync_builtin_tools
from tooling.models import Tool, ToolSecret
from tooling.secrecy import is_secret, missing_secrets

ASSISTANTS = "/api/v1/assistants"


def http_tool(owner: User | None, **values: Any) -> Tool:
    given: dict[str, Any] = {
        "name": "Orders",
        "category": "query",
        "http_url": "https://api.example.com/orders",
    }
    return create_tool(owner.pk if owner else None, cast(ToolValues, {**given, **values}))


def principal_of(user: User) -> Principal:
    return Principal(user.pk, user.username, user.is_operator, frozenset())


# --- Rows --------------------------------------------------------------------------------------


def test_an_id_that_was_chosen_never_replaces_a_row(alice: User, bob: User) -> None:
    http_tool(alice, id="orders")
    for owner in (alice, bob, None):
        with pytest.raises(InvalidRequest, match="Tool ID already exists"):
            http_tool(owner, id="orders", name="Other")
    assert Tool.objects.get(pk="orders").owner_id == alice.pk


def test_the_system_has_each_function_name_once_too(alice: User) -> None:
    http_tool(None, function_name="find_order")
    http_tool(alice, function_name="find_order")
    with pytest.raises(Conflict):
        http_tool(None, function_name="find_order")


def test_it_gives_schemas_the_parts_that_vendors_want(alice: User) -> None:
    whole = {"type": "object", "properties": {}, "required": []}
    for sent in ({"type": "object"}, {}, whole):
        assert http_tool(alice, parameter_schema=sent).parameter_schema == whole


def test_defaults_may_be_a_part_of_the_arguments(alice: User) -> None:
    schema = {
        "type": "object",
        "properties": {"page": {"$ref": "#/$defs/n"}, "id": {"type": "string"}},
        "required": ["id"],
        "$defs": {"n": {"type": "integer"}},
    }
    tool = http_tool(alice, parameter_schema=schema, parameter_defaults={"page": 1, "more": "x"})
    assert tool.parameter_defaults == {"page": 1, "more": "x"}
    with pytest.raises(InvalidRequest) as caught:
        http_tool(alice, parameter_schema=schema, parameter_defaults={"page": "one"})
    assert caught.value.param == "parameter_defaults"
    closed = {**schema, "additionalProperties": False}
    with pytest.raises(InvalidRequest):
        http_tool(alice, parameter_schema=closed, parameter_defaults={"more": "x"})


def test_it_keeps_what_was_noted_of_a_test(alice: User) -> None:
    tool = http_tool(alice)
    Tool.objects.update(check_ok=True, check_message="works")
    updated = update_tool(tool, {"name": "New"})
    assert (updated.check_ok, updated.check_message) == (True, "works")


def test_it_does_not_bring_back_a_deleted_tool(alice: User) -> None:
    tool = http_tool(alice)
    Tool.objects.all().delete()
    with pytest.raises(NotFound):
        update_tool(tool, {"name": "New"})
    assert not Tool.objects.exists()


def test_built_in_tools_cannot_be_deleted_by_anybody(db: None) -> None:
    sync_builtin_tools()
    calculator = Tool.objects.get(pk="calculator")
    with pytest.raises(Forbidden):
        delete_tool(calculator)
    with pytest.raises(Forbidden):
        update_tool(calculator, {"is_enabled": False})
    assert not update_tool(calculator, {"is_enabled": False}, by_operator=True).is_enabled


# --- Secrets -----------------------------------------------------------------------------------


def test_a_refused_change_of_secrets_changes_nothing(alice: User) -> None:
    tool = http_tool(alice, secrets={"api_key": "sk-12345678"})
    with pytest.raises(InvalidRequest):
        set_secrets(tool, {"api_key": "sk-87654321", "a b": "x"})
    assert [row.value for row in tool.secrets.all()] == ["sk-12345678"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://API.Example.com/x", "api.example.com:443"),
        ("http://api.example.com", "api.example.com:80"),
        ("https://bücher.example/x", "xn--bcher-kva.example:443"),
        ("https://api.example.com:8443/{id}", "api.example.com:8443"),
    ],
)
def test_secrets_are_bound_to_the_host_of_the_address(alice: User, url: str, host: str) -> None:
    tool = http_tool(alice, http_url=url, secrets={"api_key": "sk-12345678"})
    assert [row.host for row in tool.secrets.all()] == [host]


def test_it_knows_which_placeholders_nothing_fills(alice: User) -> None:
    tool = http_tool(
        alice,
        http_method="POST",
        http_url="https://api.example.com/{region}/{order_id}",
        http_headers={"X-Api-Key": "{api_key}"},
        http_body='{"note": "{note}", "user": {user}}',
        parameter_schema={"type": "object", "properties": {"order_id": {"type": "string"}}},
        parameter_defaults={"region": "eu"},
        secrets={"api_key": "sk-12345678"},
    )
    assert missing_secrets(tool, tool.secrets.all()) == ["note", "user"]


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("Authorization", "Bearer {api_key}", False),
        ("Authorization", "Basic {name}:{password}", False),
        ("Authorization", "Bearer sk-12345678", True),
        ("Authorization", "Bearer {api_key}sk-12345678", True),
        ("Authorization", "Bearer", True),
        ("X-Api-Key", "{api_key}", False),
        ("X-Api-Key", "12345678", True),
        ("X-Api-Key", "", False),
        ("Accept", "application/json", False),
    ],
)
def test_it_tells_secrets_from_places_for_secrets(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret


# --- On assistants -----------------------------------------------------------------------------


def test_a_foreign_tool_cannot_be_given_to_an_assistant(
    alice_api: APIClient, bob_api: APIClient, alice: User
) -> None:
    tool = http_tool(alice)
    body = {"name": "Anna", "tools": [tool.pk]}
    refused = error_of(bob_api.post(ASSISTANTS, body, HTTP_ACCEPT_LANGUAGE="en"), 400)
    unknown = error_of(
        bob_api.post(ASSISTANTS, {**body, "tools": ["tool_0"]}, HTTP_ACCEPT_LANGUAGE="en"), 400
    )
    assert refused["details"] == {"tools": [f"Unknown tool: {tool.pk}."]}
    assert unknown["details"] == {"tools": ["Unknown tool: tool_0."]}
    bobs = data_of(bob_api.post(ASSISTANTS, {"name": "Bert"}), 201)
    error_of(bob_api.patch(f"{ASSISTANTS}/{bobs['id']}", {"tools": [tool.pk]}), 400)
    assert data_of(alice_api.post(ASSISTANTS, body), 201)["tools"] == [tool.pk]


def test_operators_give_nobody_the_tool_of_somebody_else(
    carol_api: APIClient, alice: User, bob: User
) -> None:
    tool = http_tool(alice)
    for owner, status in ((bob, 400), (alice, 200), (None, 200)):
        assistant = Assistant.objects.create(owner=owner, name="Anna")
        response = carol_api.patch(f"{ASSISTANTS}/{assistant.pk}", {"tools": [tool.pk]})
        assert response.status_code == status


def test_an_assistant_loses_tools_that_its_owner_no_longer_sees(alice: User, bob: User) -> None:
    tool, shared = http_tool(alice), http_tool(None)
    assistant = Assistant.objects.create(owner=alice, name="Anna")
    assistant.set_tools([tool.pk, shared.pk])
    assert len(load_runtime(assistant.pk).tools) == 2
    tool.owner = bob
    tool.save()
    assert [spec.id for spec in load_runtime(assistant.pk).tools] == [shared.pk]


def test_it_finds_tools_by_id_for_those_who_may_see_them(alice: User, bob: User) -> None:
    sync_builtin_tools()
    tool = http_tool(alice)
    alices, bobs = (principal_of(user) for user in (alice, bob))
    assert access_tool(alices, tool.pk) == tool
    assert access_tool(alices, "voice_message_prompt").pk == "voice_msg_prompt"
    for tool_id in (tool.pk, "unknown", "\0"):
        with pytest.raises(NotFound, match="Tool resource not found"):
            access_tool(bobs, tool_id)


# --- Two at once -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_tool_is_deleted_with_the_secret_that_is_being_stored(alice: User) -> None:
    tool = http_tool(alice)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            update_tool(tool, {"secrets": {"key": "of the service"}})
            deletion = pool.submit(_on_its_own_connection, lambda: delete_tool(tool))
            _await_waiting_lock_or(deletion)
        deletion.result(timeout=10)
    assert not Tool.objects.filter(pk=tool.pk).exists()
    assert not ToolSecret.objects.exists()


def _on_its_own_connection(action: Callable[[], None]) -> None:
    try:
        action()
    finally:
        connections.close_all()


def _await_waiting_lock_or(done: Future[None]) -> None:
    deadline = time.monotonic() + 10
    with connection.cursor() as cursor:
        while time.monotonic() < deadline and not done.done():
            cursor.execute("select count(*) from pg_locks where not granted")
            if cursor.fetchone()[0]:
                return
