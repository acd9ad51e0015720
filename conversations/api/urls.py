"""Routes of the history. `stats` is no call's id."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from conversations.api.platform import CallViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path("history", CallViewSet.as_view({"get": "list"})),
    path("history/stats", CallViewSet.as_view({"get": "stats"})),
    path("history/<str:id>", CallViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
]
