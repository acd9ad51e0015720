"""Routes of the history. `stats` is no call's id."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from conversations.api import files
from conversations.api import agentchat
from conversations.api.platform import CallViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path("history", agentchat.HistoryViewSet.as_view({"get": "list"})),
    path("history/stats", CallViewSet.as_view({"get": "stats"})),
    path("history/<str:id>", CallViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    # Tasks: files
    path("files", files.FilesView.as_view()),
    path("files/upload", files.UploadView.as_view()),
    path("files/download", files.DownloadView.as_view()),
]
