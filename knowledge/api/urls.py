"""Routes of knowledge, in both families."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, URLResolver, path

from knowledge.api import agentchat
from knowledge.api.platform import DocumentViewSet, KnowledgeBaseViewSet

_LIST: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {
    "get": "retrieve",
    "put": "update",
    "patch": "partial_update",
    "delete": "destroy",
}
_DOCUMENTS = "knowledge-bases/<str:base_id>/documents"

urlpatterns: list[URLPattern | URLResolver] = [
    path("knowledge-bases", KnowledgeBaseViewSet.as_view(_LIST)),
    path("knowledge-bases/<str:pk>", KnowledgeBaseViewSet.as_view(_DETAIL)),
    path("knowledge-bases/<str:pk>/search", KnowledgeBaseViewSet.as_view({"post": "search"})),
    path(_DOCUMENTS, DocumentViewSet.as_view(_LIST)),
    path(
        f"{_DOCUMENTS}/<str:pk>",
        DocumentViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    path(f"{_DOCUMENTS}/<str:pk>/reindex", DocumentViewSet.as_view({"post": "reindex"})),
    path(f"{_DOCUMENTS}/<str:pk>/cancel", DocumentViewSet.as_view({"post": "cancel"})),
    path("knowledge/create", agentchat.KnowledgeCreateView.as_view()),
    path("knowledge/select", agentchat.KnowledgeSelectView.as_view()),
    path("knowledge/update", agentchat.KnowledgeUpdateView.as_view()),
    path("knowledge/delete", agentchat.KnowledgeDeleteView.as_view()),
    path("knowledge/retrieval", agentchat.RetrievalView.as_view()),
    path("knowledge_file/create", agentchat.FileCreateView.as_view()),
    path("knowledge_file/select", agentchat.FileSelectView.as_view()),
    path("knowledge_file/status", agentchat.FileStatusView.as_view()),
    path("knowledge_file/delete", agentchat.FileDeleteView.as_view()),
    path("upload", agentchat.UploadView.as_view()),
]
