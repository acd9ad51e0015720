"""Routes of the tasks family, but for its files."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from conversations.api.tasks_conversations import (
    ConversationsView,
    ConversationView,
    MessagesView,
)
from conversations.api.tasks_guidance import (
    PersonalizationsView,
    PersonalizationView,
    PromptsView,
    PromptView,
)
from conversations.api.tasks_models import ModelsView
from conversations.api.tasks_runs import (
    TaskCancelView,
    TaskEventsView,
    TasksListView,
    TaskView,
)

urlpatterns: list[URLPattern | URLResolver] = [
    # The one that is polled comes first of all.
    path("tasks/<str:task_id>", TaskView.as_view()),
    path("conversations", ConversationsView.as_view()),
    path("conversations/<str:conversation_id>", ConversationView.as_view()),
    path("messages", MessagesView.as_view()),
    path("tasks", TasksListView.as_view()),
    path("tasks/<str:task_id>/events", TaskEventsView.as_view()),
    path("tasks/<str:task_id>/cancel", TaskCancelView.as_view()),
    path("prompts", PromptsView.as_view()),
    path("prompts/<str:name>", PromptView.as_view()),
    path("personalizations", PersonalizationsView.as_view()),
    path("personalizations/<str:name>", PersonalizationView.as_view()),
    path("models", ModelsView.as_view()),
]
