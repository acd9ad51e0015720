"""Routes of tools, in both families."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, URLResolver, path

from tooling.api import agentchat, autotest_urls
from tooling.api.resources import ToolResourceViewSet
from tooling.api.tools import HealthView, ToolListView, ToolView

_LIST: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {
    "get": "retrieve",
    "put": "update",
    "patch": "partial_update",
    "delete": "destroy",
}

urlpatterns: list[URLPattern | URLResolver] = [
    path("tools/list", ToolListView.as_view()),
    path("tools/list/<str:tool_id>", ToolView.as_view()),
    path("tools/health", HealthView.as_view()),
    path("tools/resources", ToolResourceViewSet.as_view(_LIST)),
    path("tools/resources/<str:pk>", ToolResourceViewSet.as_view(_DETAIL)),
    path("tool/create", agentchat.ToolCreateView.as_view()),
    path("tool/all", agentchat.ToolAllView.as_view()),
    path("tool/own", agentchat.ToolOwnView.as_view()),
    path("tool/visible", agentchat.ToolVisibleView.as_view()),
    path("tool/update", agentchat.ToolUpdateView.as_view()),
    path("tool/delete", agentchat.ToolDeleteView.as_view()),
    *autotest_urls.urlpatterns,
]
