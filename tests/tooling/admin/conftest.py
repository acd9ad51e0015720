"""An operator at the console, and what a browser would send of its forms."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from config import health
from tooling.catalogue import sync_builtin_tools

ORDER_SCHEMA = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string", "description": "Its number"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["order_id"],
}
SECRET = "sk-very-secret-4242"


@pytest.fixture
def operator(carol: User) -> Client:
    sync_builtin_tools()
    client = Client()
    client.force_login(carol)
    return client


@pytest.fixture(autouse=True)
def health_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The home page asks for it anew after a while, which counted queries would tell."""
    monkeypatch.setattr(health, "REMEMBERED_S", 3600.0)


def text_of(response: Any) -> str:
    """The page as people read it."""
    return html.unescape(response.content.decode())


def rows(name: str, values: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Rows of a form, as the browser sends them."""
    sent: dict[str, Any] = {f"{name}-row": [str(number) for number in range(len(values))]}
    for number, row in enumerate(values):
        sent |= {f"{name}-{number}-{column}": value for column, value in row.items()}
    return sent


def tool_form(**fields: Any) -> dict[str, Any]:
    """A tool that looks up orders, with these fields otherwise."""
    return {
        "name": "Order look-up",
        "function_name": "",
        "description": "Finds an order.",
        "category": "query",
        "is_enabled": "on",
        "http_method": "POST",
        "http_timeout_ms": "5000",
        "http_url": "https://shop.example/orders/{order_id}",
        "http_body": "",
        "result_pointer": "",
        "parameter_schema": json.dumps(ORDER_SCHEMA),
        "parameter_defaults": "{}",
        **rows("http_headers", [{"name": "Authorization", "value": "Bearer {api_key}"}]),
        **rows("secrets", [{"name": "api_key", "value": SECRET}]),
        **fields,
    }


def queries_of(client: Client, url: str) -> int:
    """How often a page asks the database."""
    client.get(url)  # the first page of a process fills its caches
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)
