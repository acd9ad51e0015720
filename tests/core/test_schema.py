"""What the OpenAPI schema says is what the API answers."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from assistants.models import Assistant
from tests.rest import data_of


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/v1/api-keys", "integer"), ("/api/v1/assistants", "string")]
)
def test_it_shows_a_deletion_with_the_kind_of_id_that_is_answered(
    alice_api: APIClient, path: str, kind: str
) -> None:
    paths: dict[str, Any] = alice_api.get("/api/schema?format=json").json()["paths"]
    (operation,) = [
        methods["delete"]
        for name, methods in paths.items()
        if name.startswith(f"{path}/") and "delete" in methods
    ]
    content = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert content["properties"]["data"]["properties"]["id"] == {"type": kind}
    made = data_of(alice_api.post(path, {"name": "a"}), 201)
    gone = data_of(alice_api.delete(f"{path}/{made['id']}"))
    assert isinstance(gone["id"], int if kind == "integer" else str)
    assert not Assistant.objects.exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [("knowledge", "knowledge_id"), ("knowledge_file", "knowledge_file_id")],
)
def test_it_names_what_an_agentchat_deletion_needs(
    alice_api: APIClient, path: str, name: str
) -> None:
    paths: dict[str, Any] = alice_api.get("/api/schema?format=json").json()["paths"]
    (operation,) = [
        methods["delete"] for url, methods in paths.items() if url.endswith(f"/{path}/delete")
    ]
    (parameter,) = operation["parameters"]
    assert (parameter["in"], parameter["name"], parameter["required"]) == ("query", name, True)


def test_it_shows_what_the_tasks_family_puts_around_its_answers(alice_api: APIClient) -> None:
    schema: dict[str, Any] = alice_api.get("/api/schema?format=json").json()
    operation = schema["paths"]["/api/v1/conversations"]["get"]
    envelope, body = operation["responses"]["200"]["content"]["application/json"]["schema"]["allOf"]
    assert envelope["properties"]["success"]["enum"] == [True]
    shape = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    answered = alice_api.get("/api/v1/conversations").json()
    assert {"success", *shape["required"]} == set(answered)


def test_it_promises_every_field_of_a_row_to_readers_and_asks_writers_for_few(
    alice_api: APIClient,
) -> None:
    components = alice_api.get("/api/schema?format=json").json()["components"]["schemas"]
    made = data_of(alice_api.post("/api/v1/assistants", {"name": "a"}), 201)
    listed = data_of(alice_api.get(f"/api/v1/assistants/{made['id']}"))
    assert set(components["Assistant"]["required"]) == set(listed)
    assert components["AssistantRequest"]["required"] == ["name"]


def test_it_shows_flags_of_a_query_as_flags(alice_api: APIClient) -> None:
    paths = alice_api.get("/api/schema?format=json").json()["paths"]
    (flag,) = [
        parameter["schema"]
        for parameter in paths["/api/v1/assistants"]["get"]["parameters"]
        if parameter["name"] == "is_system"
    ]
    assert flag == {"type": "boolean"}
