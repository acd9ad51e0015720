"""Routes of assistants."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, URLResolver, path

from assistants.api.agentchat import AgentSearchView, AgentView
from assistants.api.platform import AssistantViewSet

_LIST: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {
    "get": "retrieve",
    "put": "update",
    "patch": "partial_update",
    "delete": "destroy",
}

urlpatterns: list[URLPattern | URLResolver] = [
    path("assistants", AssistantViewSet.as_view(_LIST)),
    path("assistants/<str:pk>", AssistantViewSet.as_view(_DETAIL)),
    path("assistants/<str:pk>/config", AssistantViewSet.as_view({"get": "config"})),
    path("assistants/<str:pk>/opener-audio", AssistantViewSet.as_view({"get": "opener_audio"})),
    path(
        "assistants/<str:pk>/opener-audio/generate",
        AssistantViewSet.as_view({"post": "generate_opener_audio"}),
    ),
    path("agent", AgentView.as_view()),
    path("agent/search", AgentSearchView.as_view()),
]
