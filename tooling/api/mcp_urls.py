"""Routes of MCP servers."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from tooling.api import mcp

urlpatterns: list[URLPattern | URLResolver] = [
    path("mcp_server", mcp.McpServerView.as_view()),
    path("mcp_server/logo", mcp.McpLogoView.as_view()),
    path("mcp_tools", mcp.McpToolsView.as_view()),
    path("mcp_tools/refresh", mcp.McpRefreshView.as_view()),
    path("mcp_tools/approve", mcp.McpApproveView.as_view()),
    path("mcp_user_config", mcp.McpConfigView.as_view()),
    path("mcp_user_config/create", mcp.McpConfigCreateView.as_view()),
    path("mcp_user_config/update", mcp.McpConfigUpdateView.as_view()),
    path("mcp_user_config/delete", mcp.McpConfigDeleteView.as_view()),
    path("mcp_user_config/<str:config_id>", mcp.McpConfigDetailView.as_view()),
]
