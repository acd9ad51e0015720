"""`/workspace` of the agentchat family: sessions with a model and tools chosen for each message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from accounts.permissions import principal_of
from conversations.api.chat import MAX_INPUT, STREAM, chat_standing, streamed
from conversations.chats import answering, workspace
from conversations.chats.dialogs import delete_conversation
from conversations.encoders import workspace as encoder
from conversations.events import TurnEvent
from conversations.models import Conversation
from core import sse
from core.agentchat import IN_QUERY, IdField, answer, naming, sent
from core.asynchronous import AsyncView
from core.serializers import OptionalText, WireSerializer
from tooling.api.agentchat import ToolShape, tool_data
from tooling.specs import prefetch_parts

MAX_LISTED = 1000
MAX_CHOSEN = 50


class SaidShape(serializers.Serializer[Any]):
    query = serializers.CharField()
    answer = serializers.CharField()


class SessionShape(serializers.Serializer[Any]):
    """A session. In lists without what was said in it."""

    session_id = serializers.CharField()
    title = serializers.CharField()
    agent = serializers.CharField()
    user_id = serializers.CharField()
    contexts = SaidShape(many=True)
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


def session_data(row: Conversation, *, said: list[workspace.Said]) -> dict[str, Any]:
    """What `SessionShape` describes."""
    return {
        "session_id": row.alias or row.pk,
        "title": row.title,
        "agent": "simple",
        "user_id": str(row.owner_id),
        "contexts": [{"query": each.query, "answer": each.answer} for each in said],
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


class PluginsView(APIView):
    """The tools that may be chosen for a message."""

    required_scope = Scope.CHAT

    @extend_schema(responses=ToolShape(many=True))
    def get(self, request: Request) -> Response:
        principal = principal_of(request)
        rows = list(workspace.usable_plugins(principal)[:MAX_LISTED])
        prefetch_parts(rows)
        return answer([tool_data(principal, row) for row in rows])


class SessionBody(WireSerializer):
    title = serializers.CharField(
        max_length=workspace.MAX_TITLE_CHARS, required=False, allow_blank=True, default=""
    )
    session_id = IdField(
        required=False, allow_blank=True, default="", help_text="An id of the client's own."
    )


class SessionIdBody(WireSerializer):
    session_id = IdField()


class SessionsView(APIView):
    """The caller's sessions."""

    required_scope = Scope.CHAT
    serializer_class = SessionBody

    @extend_schema(operation_id="workspace_sessions_list", responses=SessionShape(many=True))
    def get(self, request: Request) -> Response:
        rows = workspace.sessions_of(principal_of(request))[:MAX_LISTED]
        return answer([session_data(row, said=[]) for row in rows])

    @extend_schema(responses=SessionShape)
    def post(self, request: Request) -> Response:
        fields = sent(request, SessionBody)
        row = workspace.create_session(
            principal_of(request), title=fields["title"], alias=fields["session_id"]
        )
        return answer(session_data(row, said=[]))

    @extend_schema(
        parameters=[OpenApiParameter("session_id", str, required=True, description=IN_QUERY)],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        fields = sent(request, SessionIdBody)
        with naming("session_id"):
            row = workspace.access_session(principal_of(request), fields["session_id"])
        delete_conversation(row)
        return answer()


class SessionView(APIView):
    """A session with what was said in it."""

    required_scope = Scope.CHAT

    @extend_schema(operation_id="workspace_session_read", request=None, responses=SessionShape)
    def post(self, request: Request, session_id: str) -> Response:
        row = workspace.access_session(principal_of(request), session_id)
        return answer(session_data(row, said=workspace.said_in(row)))


class _IdsField(serializers.ListField):
    def __init__(self) -> None:
        super().__init__(child=IdField(), max_length=MAX_CHOSEN, required=False, default=list)


class SimpleChatBody(WireSerializer):
    query = serializers.CharField(max_length=MAX_INPUT)
    session_id = IdField(
        required=False,
        allow_blank=True,
        allow_null=True,
        help_text="Empty: a new session. An unknown id makes one of that id.",
    )
    model_id = OptionalText(max_length=200, help_text="An id or a name. Empty: the default model.")
    plugins = _IdsField()
    mcp_servers = _IdsField()


class SimpleChatView(AsyncView):
    """Answers in a session, as server-sent events."""

    required_scope = Scope.CHAT
    serializer_class = SimpleChatBody

    @extend_schema(responses=STREAM)
    async def post(self, request: Request) -> StreamingHttpResponse:
        def begin() -> answering.Exchange:
            fields, principal = sent(request, SimpleChatBody), principal_of(request)
            choice = workspace.Choice(
                fields.get("model_id") or "", fields["plugins"], fields["mcp_servers"]
            )
            runtime = workspace.compose(principal, choice)
            key, query = fields.get("session_id") or "", fields["query"]
            session = workspace.find_session(principal, key) if key else None
            session = session or workspace.create_session(principal, title=query, alias=key)
            workspace.keep_choice(session, choice)
            return answering.begin(session, runtime, text=query)

        begun = await answering.claimed(self.enter(request, begin))
        events = answering.exchange(begun)
        await anext(events)
        response = streamed(events, chat_standing(principal_of(request)), _encoded)
        response["X-Session-Id"] = begun.claim.conversation_id
        return response


def _encoded(event: TurnEvent) -> Iterator[bytes]:
    return map(sse.data, encoder.encode(event))
