"""MCP servers, their tools and users' settings as the agentchat family shows them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext as _
from rest_framework import serializers

from accounts.principals import Principal
from core.agentchat import owner_word
from core.crypto import MASK, mask
from tooling.mcp.endpoints import config_fields
from tooling.mcp.listing import is_approved, rows_of, withheld
from tooling.mcp.types import ToolRow
from tooling.mcp_access import may_edit
from tooling.models import McpServer, McpUserConfig


class FieldShape(serializers.Serializer[Any]):
    """Something that each user may set."""

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a name of the wire
    target = serializers.ChoiceField(["header", "parameter"])
    required = serializers.BooleanField()  # type: ignore[assignment]  # a name of the wire
    value = serializers.CharField(help_text="The caller's own, masked.")


class McpServerShape(serializers.Serializer[Any]):
    """An MCP server. Headers and values are masked."""

    mcp_server_id = serializers.CharField()
    server_name = serializers.CharField()
    user_id = serializers.CharField(help_text="0: the system.")
    user_name = serializers.CharField()
    description = serializers.CharField(help_text="The names of its tools.")
    mcp_as_tool_name = serializers.CharField(help_text="Models call prefix__tool.")
    url = serializers.CharField()
    type = serializers.CharField()
    logo_url = serializers.CharField()
    config = FieldShape(many=True)
    tools = serializers.ListField(child=serializers.CharField())
    params = serializers.ListField(
        child=serializers.JSONField(), help_text="Of each tool: name, description, input_schema."
    )
    imported_config = serializers.JSONField()
    config_enabled = serializers.BooleanField(help_text="Whether the caller lacks no setting.")
    is_enabled = serializers.BooleanField()
    timeout_ms = serializers.IntegerField()
    withheld_tools = serializers.ListField(
        child=serializers.CharField(), help_text="New or changed; models do not see them."
    )
    check_ok = serializers.BooleanField(allow_null=True)
    check_message = serializers.CharField()
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


class ParameterShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    description = serializers.CharField()
    type = serializers.CharField()
    required = serializers.BooleanField()  # type: ignore[assignment]  # a name of the wire


class McpToolShape(serializers.Serializer[Any]):
    """A tool of an MCP server."""

    tool_name = serializers.CharField()
    tool_description = serializers.CharField()
    tool_schema = ParameterShape(many=True)
    digest = serializers.CharField(help_text="Changes with anything that a model reads of it.")
    is_approved = serializers.BooleanField()


class ConfigShape(serializers.Serializer[Any]):
    """What one user set for a server."""

    config_id = serializers.CharField(allow_null=True)
    mcp_server_id = serializers.CharField()
    user_id = serializers.CharField()
    config = FieldShape(many=True)
    create_time = serializers.DateTimeField(allow_null=True)
    update_time = serializers.DateTimeField(allow_null=True)


def server_data(
    principal: Principal, row: McpServer, config: McpUserConfig | None
) -> dict[str, Any]:
    """What `McpServerShape` describes, for somebody who may see the row."""
    fields = _fields(row, config)
    tools = rows_of(row)
    entry = {
        "type": row.transport,
        "url": _url(principal, row),
        "headers": {name: _masked(principal, row, row.headers[name]) for name in row.headers},
    }
    return {
        "mcp_server_id": row.pk,
        "server_name": row.name,
        "user_id": owner_word(row),
        "user_name": row.owner.username if row.owner else _("System"),
        "description": ", ".join(tool["name"] for tool in tools),
        "mcp_as_tool_name": row.prefix,
        "url": entry["url"],
        "type": row.transport,
        "logo_url": row.logo_url,
        "config": fields,
        "tools": [tool["name"] for tool in tools],
        "params": [
            {name: tool[name] for name in ("name", "description", "input_schema")} for tool in tools
        ],
        "imported_config": {"mcpServers": {row.name: entry}},
        "config_enabled": all(field["value"] or not field["required"] for field in fields),
        "is_enabled": row.is_enabled,
        "timeout_ms": row.timeout_ms,
        "withheld_tools": [tool["name"] for tool in withheld(row)],
        "check_ok": row.check_ok,
        "check_message": row.check_message,
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


def tool_data(row: McpServer, tool: ToolRow) -> dict[str, Any]:
    """What `McpToolShape` describes."""
    schema = tool["input_schema"]
    required = schema.get("required")
    names = set(required) if isinstance(required, list) else set()
    properties = schema.get("properties")
    return {
        "tool_name": tool["name"],
        "tool_description": tool["description"],
        "tool_schema": [
            {
                "name": name,
                "description": str(inner.get("description") or ""),
                "type": _type(inner),
                "required": name in names,
            }
            for name, inner in (properties if isinstance(properties, dict) else {}).items()
            if isinstance(inner, dict)
        ],
        "digest": tool["digest"],
        "is_approved": is_approved(row, tool),
    }


def config_data(
    principal: Principal, server: McpServer, config: McpUserConfig | None
) -> dict[str, Any]:
    """What `ConfigShape` describes."""
    return {
        "config_id": config.pk if config else None,
        "mcp_server_id": server.pk,
        "user_id": str(principal.user_id),
        "config": _fields(server, config),
        "create_time": config.created_at.isoformat() if config else None,
        "update_time": config.updated_at.isoformat() if config else None,
    }


def _fields(server: McpServer, config: McpUserConfig | None) -> list[dict[str, Any]]:
    values = config.values if config else {}
    return [
        {**field, "value": mask(values.get(field["key"], ""))} for field in config_fields(server)
    ]


def _type(schema: dict[str, Any]) -> str:
    """The type of a parameter in a word: `string`, `string|null`, `any`."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if isinstance(kind, list):
        return "|".join(map(str, kind))
    choices = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(choices, list):
        return "|".join(_type(inner) for inner in choices if isinstance(inner, dict))
    return "any"


def _url(principal: Principal, row: McpServer) -> str:
    """The address; of a system row, others than operators see no query, where keys may be."""
    if may_edit(principal, row):
        return row.url
    return urlsplit(row.url)._replace(query="").geturl()


def _masked(principal: Principal, row: McpServer, value: str) -> str:
    if not value:
        return ""
    return mask(value) if may_edit(principal, row) else MASK
