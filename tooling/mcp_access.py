"""Which MCP servers somebody may see and change, and whose settings are theirs."""

from __future__ import annotations

from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import Forbidden, NotFound
from core.models import OwnedQuerySet
from tooling.models import McpServer, McpUserConfig

MCP_SERVER_NOT_FOUND = "MCP_SERVER_NOT_FOUND"
MCP_CONFIG_NOT_FOUND = "MCP_CONFIG_NOT_FOUND"


def visible_mcp_servers(principal: Principal) -> OwnedQuerySet[McpServer]:
    """Own servers and the system's; operators see all."""
    return McpServer.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def mcp_server_not_found() -> NotFound:
    return NotFound(_("MCP server not found."), code=MCP_SERVER_NOT_FOUND)


def access_mcp_server(principal: Principal, server_id: str) -> McpServer:
    """The server, if it may be seen. Raises NotFound alike for unknown and foreign ids."""
    row = visible_mcp_servers(principal).with_id(server_id)
    if row is None:
        raise mcp_server_not_found()
    return row


def may_edit(principal: Principal, server: McpServer) -> bool:
    return principal.is_operator or server.owner_id == principal.user_id


def access_own_mcp_server(principal: Principal, server_id: str) -> McpServer:
    """The server, if it may be changed. Raises NotFound, and Forbidden for the system's."""
    row = access_mcp_server(principal, server_id)
    if not may_edit(principal, row):
        raise Forbidden(_("System MCP servers can be changed by operators only."))
    return row


def access_mcp_config(principal: Principal, config_id: str) -> McpUserConfig:
    """The principal's own settings. Raises NotFound; operators see no one else's, either."""
    rows = McpUserConfig.objects.filter(owner_id=principal.user_id).select_related("server")
    row = None if "\0" in config_id else rows.filter(pk=config_id).first()
    if row is None:
        raise mcp_config_not_found()
    return row


def mcp_config_for(principal: Principal, server: McpServer) -> McpUserConfig | None:
    """What the principal set for the server, if anything."""
    return McpUserConfig.objects.filter(owner_id=principal.user_id, server=server).first()


def mcp_config_not_found() -> NotFound:
    return NotFound(_("MCP settings not found."), code=MCP_CONFIG_NOT_FOUND)
