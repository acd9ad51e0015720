"""Secrets of tools: written, never read, and bound to the host that they were entered for."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from tests.tooling.api.test_resources import CREATE, PATH, detail_of
from tooling.actions import create_tool
from tooling.models import Tool

ENGLISH: dict[str, Any] = {"HTTP_ACCEPT_LANGUAGE": "en"}
ELSEWHERE = "https://evil.example.net/orders"


def stored_secrets(tool: Tool) -> dict[str, tuple[str, str]]:
    return {row.name: (row.value, row.host) for row in tool.secrets.all()}


def test_it_shows_secrets_masked(alice_api: APIClient, orders: Tool) -> None:
    url = f"{PATH}/{orders.pk}"
    for response in (alice_api.get(url), alice_api.get(PATH), alice_api.put(url, {"name": "New"})):
        assert response.status_code == 200
        text = response.content.decode()
        assert "sk-secret" not in text
        assert "literal-token" not in text
    row = alice_api.get(url).json()
    assert row["secrets"] == {"api_key": "************4567"}
    assert row["missing_secrets"] == []
    assert row["http_headers"] == {
        "Authorization": "Bearer {api_key}",
        "X-Token": "************0123",
        "X-Trace": "on",
    }


def test_it_encrypts_secrets_in_the_database(orders: Tool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM tooling_toolsecret")
        values = [value for (value,) in cursor.fetchall()]
        cursor.execute("SELECT http_headers FROM tooling_tool WHERE id = %s", [orders.pk])
        values += [value for (value,) in cursor.fetchall()]
    assert len(values) == 2
    assert not any("secret" in value or "literal" in value for value in values)


def test_it_tells_users_only_that_a_tool_of_the_system_has_secrets(
    alice_api: APIClient, carol_api: APIClient
) -> None:
    tool = create_tool(
        None,
        {
            "name": "Orders",
            "category": "query",
            "http_url": "https://api.example.com/{api_key}",
            "http_headers": {"X-Api-Key": "literal-key-0123"},
            "secrets": {"api_key": "sk-secret-4567"},
        },
    )
    seen = [client.get(f"{PATH}/{tool.pk}").json() for client in (alice_api, carol_api)]
    assert [row["secrets"]["api_key"] for row in seen] == ["************", "************4567"]
    assert [row["http_headers"]["X-Api-Key"] for row in seen] == [
        "************",
        "************0123",
    ]


def test_it_sets_keeps_and_deletes_secrets(alice_api: APIClient, orders: Tool) -> None:
    url, host = f"{PATH}/{orders.pk}", "api.example.com:443"
    alice_api.put(url, {"secrets": {"other": "second-value"}})
    assert stored_secrets(orders) == {
        "api_key": ("sk-secret-4567", host),
        "other": ("second-value", host),
    }
    alice_api.put(url, {"secrets": {"api_key": "************4567", "other": None}})
    assert stored_secrets(orders) == {"api_key": ("sk-secret-4567", host)}
    alice_api.put(url, {"secrets": {"api_key": "sk-new-value"}})
    assert stored_secrets(orders) == {"api_key": ("sk-new-value", host)}
    row = alice_api.put(url, {"secrets": {"api_key": ""}}).json()
    assert (row["secrets"], row["missing_secrets"]) == ({}, ["api_key"])


def test_it_leaves_secrets_bound_to_the_host_that_they_were_entered_for(
    alice_api: APIClient, orders: Tool
) -> None:
    url = f"{PATH}/{orders.pk}"
    headers = {"Authorization": "Bearer {api_key}"}
    moved = alice_api.put(url, {"http_url": ELSEWHERE, "http_headers": headers}).json()
    assert moved["missing_secrets"] == ["api_key"]
    # Neither the mask nor silence takes the secret along.
    alice_api.put(url, {"secrets": {"api_key": "************4567"}})
    assert stored_secrets(orders) == {"api_key": ("sk-secret-4567", "api.example.com:443")}
    entered = alice_api.put(url, {"secrets": {"api_key": "sk-secret-4567"}}).json()
    assert entered["missing_secrets"] == []
    assert stored_secrets(orders) == {"api_key": ("sk-secret-4567", "evil.example.net:443")}


@pytest.mark.parametrize(
    "address",
    [
        ELSEWHERE,
        "https://api.example.com:8443/orders",
        "http://api.example.com/orders",
        "https://api.example.com.evil.example.net/orders",
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"X-Token": "************0123"},
        {"x-token": "************0123", "X-Trace": "on"},
    ],
)
def test_it_asks_for_secret_headers_again_where_the_host_changes(
    carol_api: APIClient, orders: Tool, address: str, headers: dict[str, str] | None
) -> None:
    url = f"{PATH}/{orders.pk}"
    body: dict[str, Any] = {"http_url": address}
    if headers is not None:
        body["http_headers"] = headers
    refused = carol_api.put(url, body, **ENGLISH)
    assert detail_of(refused, 400).startswith("http_headers: The address leads to another host")
    orders.refresh_from_db()
    assert orders.http_url == "https://api.example.com/orders"
    sent_again = {**body, "http_headers": {"X-Token": "a-token-of-the-other"}}
    assert carol_api.put(url, sent_again).status_code == 200


@pytest.mark.parametrize("address", ["https://API.example.com:443/v2", "https://api.example.com"])
def test_it_keeps_secret_headers_on_the_same_host(
    alice_api: APIClient, orders: Tool, address: str
) -> None:
    assert alice_api.put(f"{PATH}/{orders.pk}", {"http_url": address}).status_code == 200
    orders.refresh_from_db()
    assert orders.http_headers["X-Token"] == "literal-token-0123"


def test_it_puts_no_stored_value_under_another_name(alice_api: APIClient, orders: Tool) -> None:
    url = f"{PATH}/{orders.pk}"
    body = {"http_headers": {"X-Echo": "************0123"}}
    assert detail_of(alice_api.put(url, body, **ENGLISH), 400).startswith("http_headers: ")
    kept = {"http_headers": {"x-token": "************0123"}}
    assert alice_api.put(url, kept).status_code == 200
    orders.refresh_from_db()
    assert orders.http_headers == {"x-token": "literal-token-0123"}


def test_it_does_not_let_an_argument_take_the_name_of_a_secret(
    alice_api: APIClient, orders: Tool
) -> None:
    url = f"{PATH}/{orders.pk}"
    schema = {"type": "object", "properties": {"api_key": {"type": "string"}}}
    refused = alice_api.put(url, {"parameter_schema": schema}, **ENGLISH)
    assert detail_of(refused, 400) == "secrets: api_key cannot be both an argument and a secret."
    both = {"parameter_schema": schema, "secrets": {"api_key": None}}
    assert alice_api.put(url, both).status_code == 200


def test_it_takes_secrets_only_with_an_address(alice_api: APIClient) -> None:
    body = {"name": "Lamp", "category": "system", "secrets": {"api_key": "sk-12345678"}}
    assert detail_of(alice_api.post(PATH, body, **ENGLISH), 400).startswith("secrets: ")
    assert alice_api.post(PATH, {**CREATE, "secrets": {"api_key": "sk-12345678"}}).json()[
        "secrets"
    ] == {"api_key": "************"}


def test_nothing_is_stored_of_a_tool_whose_secrets_are_refused(alice_api: APIClient) -> None:
    body = {**CREATE, "id": "order_lookup"}
    detail_of(alice_api.post(PATH, {**body, "secrets": {"a b": "sk-12345678"}}), 400)
    assert alice_api.post(PATH, body).status_code == 200
