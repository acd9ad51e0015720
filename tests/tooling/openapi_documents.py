"""OpenAPI documents that tests import."""

from __future__ import annotations

from typing import Any

ORDERS: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "version": "1"},
    "servers": [{"url": "https://api.example.com/v1/"}],
    "paths": {
        "/orders/{order_id}": {
            "get": {
                "operationId": "find_order",
                "summary": "Finds an order",
                "parameters": [
                    {
                        "name": "order_id",
                        "in": "path",
                        "required": True,
                        "description": "Its number",
                        "schema": {"type": "string", "example": "A-1"},
                    },
                    {"name": "lang", "in": "query", "schema": {"$ref": "#/components/schemas/L"}},
                ],
            }
        }
    },
    "components": {
        "schemas": {"L": {"type": "string", "nullable": True, "enum": ["zh", "en"]}},
        "securitySchemes": {"shop": {"type": "apiKey", "in": "header", "name": "X-Shop-Key"}},
    },
}
