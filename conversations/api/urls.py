"""Routes of conversations, by family, but for tasks_urls. `stats` is no call's id."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from conversations.api import agentchat, chat, files, memory, workspace
from conversations.api.platform import CallViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path("history", agentchat.HistoryViewSet.as_view({"get": "list"})),
    path("history/stats", CallViewSet.as_view({"get": "stats"})),
    path(
        "history/<str:id>",
        CallViewSet.as_view(
            {
                "get": "retrieve",
                "put": "update",
                "patch": "partial_update",
                "delete": "destroy",
            }
        ),
    ),
    # Agentchat: dialogs, feedback, usage
    path("dialog", agentchat.DialogView.as_view()),
    path("dialog/list", agentchat.DialogListView.as_view()),
    path("message/like", agentchat.LikeView.as_view()),
    path("message/down", agentchat.DownView.as_view()),
    path("usage", agentchat.UsageView.as_view()),
    path("usage_count", agentchat.UsageCountView.as_view()),
    path("usage/models_list", agentchat.UsageModelsView.as_view()),
    path("usage/agents_list", agentchat.UsageAgentsView.as_view()),
    path("memory", memory.MemoryView.as_view()),
    # Agentchat: chat, workspace
    path("chat", chat.ChatView.as_view()),
    path("completion", chat.ChatView.as_view()),
    path("chat/stop", chat.ChatStopView.as_view()),
    path("workspace/plugins", workspace.PluginsView.as_view()),
    path("workspace/session", workspace.SessionsView.as_view()),
    path("workspace/session/<str:session_id>", workspace.SessionView.as_view()),
    path("workspace/simple/chat", workspace.SimpleChatView.as_view()),
    # Tasks: files
    path("files", files.FilesView.as_view()),
    path("files/upload", files.FileUploadView.as_view()),
    path("files/download", files.FileDownloadView.as_view()),
]
