"""`/tools/list` and `/tools/health`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from tooling.catalogue import BUILTIN_TOOLS

pytestmark = pytest.mark.django_db

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))


def test_it_lists_the_published_tools_word_for_word(alice_api: APIClient) -> None:
    response = alice_api.get("/api/v1/tools/list")
    assert response.status_code == 200
    tools = response.json()["tools"]
    assert {name: tools[name] for name in PUBLISHED["tools"]} == PUBLISHED["tools"]
    assert list(tools) == list(BUILTIN_TOOLS)
    assert len(tools) == 15


def test_it_names_the_other_tools_as_the_published_table_does(alice_api: APIClient) -> None:
    tools = alice_api.get("/api/v1/tools/list").json()["tools"]
    for tool_id, (name, description) in PUBLISHED["table"].items():
        assert (tools[tool_id]["name"], tools[tool_id]["description"]) == (name, description)


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("en", "Calculator"),
        ("de, en;q=0.5", "Calculator"),
        ("zh-CN,zh;q=0.9", "计算器"),
        ("*", "计算器"),
    ],
)
def test_it_speaks_the_language_that_was_asked_for(
    alice_api: APIClient, language: str, name: str
) -> None:
    response = alice_api.get("/api/v1/tools/list/calculator", HTTP_ACCEPT_LANGUAGE=language)
    assert response.json()["name"] == name


def test_it_shows_one_tool(alice_api: APIClient) -> None:
    response = alice_api.get("/api/v1/tools/list/weather")
    assert response.json() == PUBLISHED["tools"]["weather"]


def test_it_finds_a_tool_by_its_earlier_name(alice_api: APIClient) -> None:
    old, new = (
        alice_api.get(f"/api/v1/tools/list/{tool_id}")
        for tool_id in ("voice_message_prompt", "voice_msg_prompt")
    )
    assert old.json() == new.json()


def test_it_gives_tools_without_arguments_an_empty_schema(alice_api: APIClient) -> None:
    tool: dict[str, Any] = alice_api.get("/api/v1/tools/list/turn_on_camera").json()
    assert tool["parameters"] == {"type": "object", "properties": {}, "required": []}


def test_it_does_not_know_other_tools(alice_api: APIClient) -> None:
    response = alice_api.get("/api/v1/tools/list/teleport", HTTP_ACCEPT_LANGUAGE="en")
    assert (response.status_code, response.json()) == (404, {"detail": "Tool not found"})


def test_it_needs_a_credential(anonymous_api: APIClient, alice_api: APIClient) -> None:
    refused = anonymous_api.get("/api/v1/tools/list")
    assert refused.status_code == 401
    assert set(refused.json()) == {"detail"}
    assert alice_api.get("/api/v1/tools/list").status_code == 200


def test_it_reports_its_health_to_anybody(anonymous_api: APIClient) -> None:
    health = anonymous_api.get("/api/v1/tools/health").json()
    assert health["status"] == "healthy"
    assert abs(health["timestamp"] - time.time()) < 60
    assert health["tools"] == list(BUILTIN_TOOLS)
