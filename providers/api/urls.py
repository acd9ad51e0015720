"""Routes of the model catalogue. Words of the agentchat family are no ids of models."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, URLResolver, path, register_converter
from django.urls.converters import StringConverter

from core.families import AGENTCHAT_LLM_WORDS
from providers.api import agentchat
from providers.api.platform import AsrViewSet, LlmViewSet, VoiceViewSet


class LlmIdConverter(StringConverter):
    """Any segment but the words that mean something else under /llm."""

    regex = rf"(?!(?:{'|'.join(sorted(AGENTCHAT_LLM_WORDS))})(?:/|\Z))[^/]+"


register_converter(LlmIdConverter, "llm_id")

_LIST: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {
    "get": "retrieve",
    "put": "update",
    "patch": "partial_update",
    "delete": "destroy",
}

urlpatterns: list[URLPattern | URLResolver] = [
    path("llm", LlmViewSet.as_view(_LIST)),
    path("llm/<llm_id:pk>", LlmViewSet.as_view(_DETAIL)),
    path("llm/<llm_id:pk>/test", LlmViewSet.as_view({"post": "test"})),
    path("llm/<llm_id:pk>/chat", LlmViewSet.as_view({"post": "chat"})),
    path("llm/<llm_id:pk>/preview", LlmViewSet.as_view({"post": "preview"})),
    path("llm/create", agentchat.LlmCreateView.as_view()),
    path("llm/update", agentchat.LlmUpdateView.as_view()),
    path("llm/delete", agentchat.LlmDeleteView.as_view()),
    path("llm/all", agentchat.LlmAllView.as_view()),
    path("llm/personal", agentchat.LlmPersonalView.as_view()),
    path("llm/visible", agentchat.LlmVisibleView.as_view()),
    path("llm/search", agentchat.LlmSearchView.as_view()),
    path("llm/schema", agentchat.LlmSchemaView.as_view()),
    path("llm/agent/models", agentchat.AgentModelsView.as_view()),
    path("agent/models", agentchat.AgentModelsView.as_view()),
    path("asr", AsrViewSet.as_view(_LIST)),
    path("asr/<str:pk>", AsrViewSet.as_view(_DETAIL)),
    path("asr/<str:pk>/test", AsrViewSet.as_view({"post": "test"})),
    path("asr/<str:pk>/transcribe", AsrViewSet.as_view({"post": "transcribe"})),
    path("asr/<str:pk>/preview", AsrViewSet.as_view({"post": "transcribe"})),
    path("voices", VoiceViewSet.as_view(_LIST)),
    path("voices/<str:pk>", VoiceViewSet.as_view(_DETAIL)),
    path("voices/<str:pk>/test", VoiceViewSet.as_view({"post": "test"})),
    path("voices/<str:pk>/preview", VoiceViewSet.as_view({"post": "preview"})),
]
