"""Routes of the tools family."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from tooling.api.tools import HealthView, ToolListView, ToolView

urlpatterns: list[URLPattern | URLResolver] = [
    path("tools/list", ToolListView.as_view()),
    path("tools/list/<str:tool_id>", ToolView.as_view()),
    path("tools/health", HealthView.as_view()),
]
