"""Tools of alice, and the built-in ones."""

from __future__ import annotations

from typing import Any, cast

import pytest

from accounts.models import User
from tooling.actions import ToolValues, create_tool
from tooling.catalogue import sync_builtin_tools
from tooling.models import Tool


@pytest.fixture
def builtin_tools(db: None) -> None:
    sync_builtin_tools()


@pytest.fixture
def orders(alice: User) -> Tool:
    """Alice's look-up of orders, with a key in a secret and a token in a header."""
    return create_tool(
        alice.pk,
        {
            "name": "Orders",
            "category": "query",
            "http_method": "POST",
            "http_url": "https://api.example.com/orders",
            "http_headers": {
                "Authorization": "Bearer {api_key}",
                "X-Token": "literal-token-0123",
                "X-Trace": "on",
            },
            "parameter_schema": {
                "type": "object",
                "properties": {"order_id": {"type": "string"}},
                "required": ["order_id"],
            },
            "secrets": {"api_key": "sk-secret-4567"},
        },
    )


def client_tool(owner: User | None, **values: Any) -> Tool:
    given = {"name": "Lamp", "category": "system", **values}
    return create_tool(owner.pk if owner else None, cast(ToolValues, given))
