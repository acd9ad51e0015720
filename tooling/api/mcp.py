"""`/mcp_server`, `/mcp_tools` and `/mcp_user_config` of the agentchat family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.db import transaction
from django.templatetags.static import static
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import principal_of
from accounts.principals import Principal
from core.agentchat import IN_QUERY, IdField, answer, naming, sent
from core.errors import InvalidRequest
from core.serializers import WireSerializer, wire_names
from tooling import mcp_actions
from tooling.api.mcp_rendering import (
    ConfigShape,
    McpServerShape,
    McpToolShape,
    config_data,
    server_data,
    tool_data,
)
from tooling.mcp import listing
from tooling.mcp_access import (
    access_mcp_config,
    access_mcp_server,
    access_own_mcp_server,
    mcp_config_for,
    visible_mcp_servers,
)
from tooling.models import McpServer, McpUserConfig

LOGO = "tooling/mcp.svg"
# As other programs write them in the files that people copy from.
_TRANSPORTS = {
    "": "streamable_http",
    "http": "streamable_http",
    "streamable-http": "streamable_http",
    "streamablehttp": "streamable_http",
}
# Those that actions take as they are sent.
_FIELDS = (
    "name", "transport", "prefix", "url", "headers", "logo_url", "timeout_ms", "is_enabled",
)  # fmt: skip


class McpServerFields(WireSerializer):
    """What can be said of a server; either one by one, or as programs for desktops write it."""

    server_name = serializers.CharField(source="name", max_length=100, required=False)
    url = serializers.CharField(max_length=2000, required=False)
    type = serializers.CharField(
        source="transport", max_length=32, required=False, help_text="streamable_http or sse."
    )
    headers = serializers.DictField(
        child=serializers.CharField(allow_blank=True), required=False, help_text="Write-only."
    )
    config = serializers.JSONField(
        source="config_fields",
        required=False,
        allow_null=True,
        help_text="What each user may set: [{key, label, target: header|parameter, required}]; "
        "a value among it is the sender's own.",
    )
    logo_url = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    mcp_as_tool_name = serializers.CharField(
        source="prefix", max_length=32, required=False, help_text="Before the names of its tools."
    )
    timeout_ms = serializers.IntegerField(required=False)
    is_enabled = serializers.BooleanField(required=False)
    imported_config = serializers.JSONField(
        required=False,
        allow_null=True,
        help_text='{"mcpServers": {name: {type, url, headers}}} with one server.',
    )


class McpServerBody(McpServerFields):
    pass


class McpServerUpdateBody(McpServerFields):
    server_id = IdField()


class ServerIdBody(WireSerializer):
    server_id = IdField()


class ApproveBody(ServerIdBody):
    digests = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=1000,
        required=False,
        help_text="Of the tools that were looked at; all that are listed now if not given.",
    )


class ConfigCreateBody(WireSerializer):
    mcp_server_id = IdField()
    config = serializers.JSONField(help_text="{key: value} or [{key, value}].")


class ConfigUpdateBody(WireSerializer):
    server_id = IdField()
    config = serializers.JSONField(help_text="{key: value} or [{key, value}].")


class ConfigIdBody(WireSerializer):
    config_id = IdField()


# --- What was sent -----------------------------------------------------------------------------


def _values(fields: dict[str, Any]) -> mcp_actions.McpServerValues:
    """The fields as actions take them; those of `imported_config` hold where none is given."""
    values: dict[str, Any] = {name: fields[name] for name in _FIELDS if name in fields}
    if fields.get("imported_config") is not None:
        values = {**_imported(fields["imported_config"]), **values}
    if "transport" in values:
        wanted = str(values["transport"]).strip().lower()
        values["transport"] = _TRANSPORTS.get(wanted, wanted)
    if fields.get("config_fields") is not None:
        values["config_fields"] = _rows(fields["config_fields"])
    return cast(mcp_actions.McpServerValues, values)


def _imported(config: Any) -> dict[str, Any]:
    servers = config.get("mcpServers") if isinstance(config, Mapping) else None
    if not isinstance(servers, Mapping) or len(servers) != 1:
        raise _wrong_import(_("Expected {“mcpServers”: {name: {…}}} with exactly one server."))
    name, entry = next(iter(servers.items()))
    if not isinstance(entry, Mapping):
        raise _wrong_import(_("Expected type, url and headers of the server."))
    if "command" in entry:
        # Nothing that comes from outside may name a program to run.
        raise _wrong_import(
            _("Possible are streamable_http and sse; stdio only from the operator's file.")
        )
    headers = entry.get("headers") or {}
    if not isinstance(headers, Mapping) or not all(isinstance(v, str) for v in headers.values()):
        raise _wrong_import(_("Expected headers as texts by name."))
    return {
        "name": str(name)[:100],
        "transport": str(entry.get("type") or entry.get("transport") or ""),
        "url": str(entry.get("url") or ""),
        "headers": dict(headers),
    }


def _wrong_import(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="imported_config")


def _rows(config: Any) -> list[dict[str, Any]]:
    """Settings as rows; `{key: value}` stands for a setting of that name with a value."""
    if isinstance(config, Mapping):
        return [
            {**inner, "key": key} if isinstance(inner, Mapping) else {"key": key, "value": inner}
            for key, inner in config.items()
        ]
    if isinstance(config, list) and all(isinstance(row, Mapping) for row in config):
        return [dict(row) for row in config]
    raise InvalidRequest(_("Expected an object, or a list of objects with a key."), param="config")


def _own_values(config: Any) -> dict[str, str]:
    """What of it is a value: a setting of whoever sends it."""
    rows = _rows(config)
    if not all(isinstance(row.get("value", ""), str) for row in rows):
        raise InvalidRequest(_("Expected texts as values."), param="config")
    return {str(row.get("key") or ""): row["value"] for row in rows if "value" in row}


# --- Servers -----------------------------------------------------------------------------------


def _save_own_values(principal: Principal, server: McpServer, fields: dict[str, Any]) -> None:
    own = _own_values(fields.get("config_fields") or [])
    if any(own.values()):
        mcp_actions.save_user_config(principal.user_id, server, own)


def _listed(principal: Principal, server: McpServer) -> dict[str, Any]:
    """The server with its tools as they are now."""
    return _shown(principal, listing.refresh(server, user_id=principal.user_id))


def _shown(principal: Principal, server: McpServer) -> dict[str, Any]:
    return server_data(principal, server, mcp_config_for(principal, server))


class McpServerView(APIView):
    serializer_class = McpServerBody

    @extend_schema(operation_id="mcp_server_list", responses=McpServerShape(many=True))
    def get(self, request: Request) -> Response:
        """Own servers and the system's."""
        principal = principal_of(request)
        rows = list(visible_mcp_servers(principal).select_related("owner").order_by("created_at"))
        own = McpUserConfig.objects.filter(owner_id=principal.user_id, server__in=rows)
        configs = {config.server_id: config for config in own}
        return answer([server_data(principal, row, configs.get(row.pk)) for row in rows])

    @extend_schema(responses=McpServerShape)
    def post(self, request: Request) -> Response:
        """A new server; its tools are listed at once. One that cannot be reached is kept, too."""
        principal, fields = principal_of(request), sent(request, McpServerBody)
        with wire_names(McpServerBody()), transaction.atomic():
            server = mcp_actions.create_server(principal.user_id, _values(fields))
            _save_own_values(principal, server, fields)
        return answer(_listed(principal, server))

    @extend_schema(request=McpServerUpdateBody, responses=McpServerShape)
    def put(self, request: Request) -> Response:
        """Changes what is sent. Another address or other headers have the tools listed anew."""
        principal, fields = principal_of(request), sent(request, McpServerUpdateBody)
        with naming("server_id"):
            server = access_own_mcp_server(principal, fields["server_id"])
        values = _values(fields)
        with wire_names(McpServerBody()), transaction.atomic():
            server = mcp_actions.update_server(server, values)
            _save_own_values(principal, server, fields)
        is_reached_anew = {"url", "transport", "headers", "config_fields"} & values.keys()
        return answer((_listed if is_reached_anew else _shown)(principal, server))

    @extend_schema(
        parameters=[OpenApiParameter("server_id", str, required=True, description=IN_QUERY)],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        """Deletes a server; assistants lose its tools."""
        fields = sent(request, ServerIdBody)
        with naming("server_id"):
            server = access_own_mcp_server(principal_of(request), fields["server_id"])
        mcp_actions.delete_server(server)
        return answer()


class McpLogoView(APIView):
    @extend_schema(operation_id="mcp_server_logo", responses=str)
    def get(self, request: Request) -> Response:
        """The address of the picture of servers that have none of their own."""
        return answer(request.build_absolute_uri(static(LOGO)))


# --- Tools -------------------------------------------------------------------------------------


class McpToolsView(APIView):
    @extend_schema(
        operation_id="mcp_tools_list",
        parameters=[OpenApiParameter("server_id", str, required=True)],
        responses=McpToolShape(many=True),
    )
    def get(self, request: Request) -> Response:
        """What the server can do, as it was listed last."""
        fields = sent(request, ServerIdBody)
        with naming("server_id"):
            server = access_mcp_server(principal_of(request), fields["server_id"])
        return answer([tool_data(server, tool) for tool in listing.rows_of(server)])


class McpRefreshView(APIView):
    serializer_class = ServerIdBody

    @extend_schema(responses=McpServerShape)
    def post(self, request: Request) -> Response:
        """Lists the tools now. New and changed ones wait for approval."""
        principal, fields = principal_of(request), sent(request, ServerIdBody)
        with naming("server_id"):
            server = access_own_mcp_server(principal, fields["server_id"])
        return answer(_listed(principal, server))


class McpApproveView(APIView):
    serializer_class = ApproveBody

    @extend_schema(responses=McpServerShape)
    def post(self, request: Request) -> Response:
        """Lets models see the tools as they are listed now."""
        principal, fields = principal_of(request), sent(request, ApproveBody)
        with naming("server_id"):
            server = access_own_mcp_server(principal, fields["server_id"])
        server = listing.approve(server, fields.get("digests"))
        return answer(_shown(principal, server))


# --- Settings of users -------------------------------------------------------------------------


class McpConfigView(APIView):
    @extend_schema(
        operation_id="mcp_user_config_of_server",
        parameters=[OpenApiParameter("server_id", str, required=True)],
        responses=ConfigShape,
    )
    def get(self, request: Request) -> Response:
        """What the caller set for a server, masked."""
        principal, fields = principal_of(request), sent(request, ServerIdBody)
        with naming("server_id"):
            server = access_mcp_server(principal, fields["server_id"])
        return answer(config_data(principal, server, mcp_config_for(principal, server)))


class McpConfigDetailView(APIView):
    @extend_schema(operation_id="mcp_user_config_retrieve", responses=ConfigShape)
    def get(self, request: Request, config_id: str) -> Response:
        """The caller's own settings for a server, masked."""
        principal = principal_of(request)
        with naming("config_id"):
            config = access_mcp_config(principal, config_id)
        return answer(config_data(principal, config.server, config))


class McpConfigCreateView(APIView):
    serializer_class = ConfigCreateBody

    @extend_schema(responses=ConfigShape)
    def post(self, request: Request) -> Response:
        """Sets the caller's values for a server."""
        fields = sent(request, ConfigCreateBody)
        return _save_config(request, "mcp_server_id", fields)


class McpConfigUpdateView(APIView):
    serializer_class = ConfigUpdateBody

    @extend_schema(responses=ConfigShape)
    def put(self, request: Request) -> Response:
        """Changes what is sent; an empty value deletes, a masked one keeps."""
        return _save_config(request, "server_id", sent(request, ConfigUpdateBody))


def _save_config(request: Request, name: str, fields: dict[str, Any]) -> Response:
    principal = principal_of(request)
    with naming(name):
        server = access_mcp_server(principal, fields[name])
    values = _own_values(fields["config"])
    config = mcp_actions.save_user_config(principal.user_id, server, values)
    return answer(config_data(principal, server, config))


class McpConfigDeleteView(APIView):
    serializer_class = ConfigIdBody

    @extend_schema(
        parameters=[OpenApiParameter("config_id", str, required=True, description=IN_QUERY)],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        """Forgets what the caller set."""
        fields = sent(request, ConfigIdBody)
        with naming("config_id"):
            config = access_mcp_config(principal_of(request), fields["config_id"])
        mcp_actions.delete_user_config(config)
        return answer()
