"""`/conversations` and `/messages` of the tasks family."""

from __future__ import annotations

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import principal_of
from conversations.access import access_conversation, own_conversations
from conversations.api.tasks_base import PAGE_PARAMETERS, TasksView, answer, page_of
from conversations.api.tasks_serializers import (
    ChoicesBody,
    ConversationCreatedShape,
    ConversationShape,
    ConversationsShape,
    DeletedShape,
    MessageBody,
    TaskStartedShape,
    details_row,
    overview_row,
    started_row,
)
from conversations.background import actions
from conversations.background.overviews import details, overviews
from conversations.chats.dialogs import delete_conversation
from conversations.models import Channel
from core.filters import TRUE_WORDS


class ConversationsView(TasksView):
    """The caller's conversations, the one with the latest words first; and new ones."""

    serializer_class = ChoicesBody

    @extend_schema(
        operation_id="tasks_conversations_list",
        parameters=PAGE_PARAMETERS,
        responses=ConversationsShape,
    )
    def get(self, request: Request) -> Response:
        rows = own_conversations(principal_of(request), Channel.TASK)
        first, count = page_of(request)
        shown = overviews(rows, first=first, count=count)
        return answer({"data": [overview_row(each) for each in shown], "total": rows.count()})

    @extend_schema(
        operation_id="tasks_conversations_create", responses={200: ConversationCreatedShape}
    )
    def post(self, request: Request) -> Response:
        body = ChoicesBody(data=request.data)
        body.is_valid(raise_exception=True)
        row = actions.create_conversation(principal_of(request), body.choices())
        return answer({"conversation_id": row.pk})


class ConversationView(TasksView):
    """One conversation."""

    @extend_schema(
        operation_id="tasks_conversations_read",
        parameters=[OpenApiParameter("full", str, description="1: with all messages.")],
        responses=ConversationShape,
    )
    def get(self, request: Request, conversation_id: str) -> Response:
        row = access_conversation(principal_of(request), conversation_id, Channel.TASK)
        is_full = request.query_params.get("full", "").lower() in TRUE_WORDS
        return answer({"data": details_row(details(row, is_full=is_full))})

    @extend_schema(operation_id="tasks_conversations_delete", responses={200: DeletedShape})
    def delete(self, request: Request, conversation_id: str) -> Response:
        row = access_conversation(principal_of(request), conversation_id, Channel.TASK)
        delete_conversation(row)
        return answer({"message": _("The conversation was deleted.")})


class MessagesView(TasksView):
    """A message, answered in the background; `/tasks/{task_id}` tells how far it is."""

    serializer_class = MessageBody

    @extend_schema(operation_id="tasks_messages_create", responses={202: TaskStartedShape})
    def post(self, request: Request) -> Response:
        body = MessageBody(data=request.data)
        body.is_valid(raise_exception=True)
        run = actions.send(principal_of(request), body.sent())
        return answer(started_row(run), status=202)
