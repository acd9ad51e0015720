"""What is entered over the API is what a service gets to see."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from core.db import in_db
from tests.tooling.api.test_resources import PATH
from tests.tooling.runner.service import Asked, Reply, as_json, serving
from tooling.models import Tool
from tooling.runner import try_tool
from tooling.specs import tool_spec
from tooling.types import ToolContext, ToolResult

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.0",
    "paths": {
        "/orders/{order-id}": {
            "put": {
                "operationId": "change_order",
                "parameters": [
                    {"name": "order-id", "in": "path", "required": True},
                    {"name": "dry-run", "in": "query", "schema": {"type": "boolean"}},
                ],
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {"note": {"type": "string"}},
                                "required": ["note"],
                            }
                        }
                    }
                },
            }
        }
    },
}


@pytest.fixture(autouse=True)
def _reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    settings.OUTBOUND_RULES_SOURCE = ""


async def ran(tool_id: str, arguments: dict[str, Any]) -> ToolResult:
    spec = await in_db(lambda: tool_spec(Tool.objects.get(pk=tool_id), "en"))
    context = ToolContext(owner_id=None, assistant_id="", language="en", time_zone="UTC")
    return await try_tool(spec, arguments, context)


def shop(asked: Asked) -> Reply:
    if asked.headers.get("authorization") != "Bearer sk-secret-4567":
        return as_json({"error": "who are you?"}, 401)
    order = asked.json["order_id"]
    return as_json({"data": {"order": order, "state": "sent", "key": "sk-secret-4567"}})


async def test_a_tool_asks_its_service_with_its_secret(alice_api: APIClient) -> None:
    async with serving() as service, serving() as other:
        service.answer = other.answer = shop
        body = {
            "name": "订单查询",
            "category": "query",
            "http_method": "POST",
            "http_url": f"{service.url}/orders",
            "http_headers": {"Authorization": "Bearer {api_key}"},
            "result_pointer": "/data",
            "parameter_schema": {
                "type": "object",
                "properties": {"order_id": {"type": "string"}},
                "required": ["order_id"],
            },
            "secrets": {"api_key": "sk-secret-4567"},
        }
        made = await in_db(lambda: alice_api.post(PATH, body).json())
        result = await ran(made["id"], {"order_id": "A-1"})
        assert result.code == 200
        assert json.loads(result.output) == {"order": "A-1", "state": "sent", "key": "••••"}
        # To another host it does not go, until it was entered for that one.
        url = f"{PATH}/{made['id']}"
        await in_db(lambda: alice_api.put(url, {"http_url": f"{other.url}/orders"}))
        result = await ran(made["id"], {"order_id": "A-1"})
        assert result.code == 400
        assert other.asked == []
        await in_db(lambda: alice_api.put(url, {"secrets": {"api_key": "sk-secret-4567"}}))
        assert (await ran(made["id"], {"order_id": "A-1"})).code == 200


async def test_an_imported_operation_asks_as_its_document_says(alice_api: APIClient) -> None:
    async with serving() as service:
        body = {
            "zh_name": "修改订单",
            "en_name": "change_order",
            "openapi_schema": {**DOCUMENT, "servers": [{"url": f"{service.url}/v1"}]},
            "auth_config": {"auth_type": "Basic", "data": "anna:password"},
        }
        made = await in_db(lambda: alice_api.post("/api/v1/tool/create", body).json())
        tool_id = made["data"]["tool_id"]
        sent = {"order_id": "A/1", "dry_run": True, "note": "now"}
        assert (await ran(tool_id, sent)).code == 200
        asked = service.last
        assert (asked.method, asked.target) == ("PUT", "/v1/orders/A%2F1?dry-run=true")
        assert asked.json == {"note": "now"}
        assert asked.headers["authorization"] == "Basic YW5uYTpwYXNzd29yZA=="
        assert (await ran(tool_id, {"order_id": "1", "note": "now"})).code == 200
        assert service.last.target == "/v1/orders/1"
