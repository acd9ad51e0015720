"""`/memory` of the agentchat family: what agents know about the caller."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from accounts.permissions import principal_of
from accounts.principals import Principal
from conversations.memory.access import access_memory, memories_in, memories_of, memories_with
from conversations.models import Memory
from core.agentchat import IN_QUERY, PAGE, IdField, answer, naming, page_of, sent
from core.serializers import WireSerializer

_ONE_NEEDED = _("Name a memory or a dialog.")


class MemoryShape(serializers.Serializer[Any]):
    """A fact about the caller."""

    memory_id = serializers.CharField()
    content = serializers.CharField()
    agent_id = serializers.CharField()
    dialog_id = serializers.CharField(allow_null=True, help_text="Where it was heard last.")
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


def memory_data(row: Memory) -> dict[str, Any]:
    """What `MemoryShape` describes."""
    return {
        "memory_id": row.pk,
        "content": row.text,
        "agent_id": row.assistant_id,
        "dialog_id": row.conversation_id,
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


class MemoryQuery(WireSerializer):
    dialog_id = IdField(required=False)
    agent_id = IdField(required=False)


class MemoryDeleteBody(WireSerializer):
    memory_id = IdField(required=False)
    dialog_id = IdField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not {"memory_id", "dialog_id"} & attrs.keys():
            raise serializers.ValidationError({"memory_id": [_ONE_NEEDED]})
        return attrs


def _in_dialog(principal: Principal, dialog_id: str) -> QuerySet[Memory]:
    with naming("dialog_id"):
        return memories_in(principal, dialog_id)


class MemoryView(APIView):
    """What agents know about the caller; nobody else sees it here, operators neither."""

    required_scope = Scope.CHAT
    serializer_class = MemoryDeleteBody

    @extend_schema(
        parameters=[
            OpenApiParameter("dialog_id", str, description="Only what was learnt in it."),
            OpenApiParameter("agent_id", str, description="Only what this agent knows."),
            *PAGE,
        ],
        responses=MemoryShape(many=True),
    )
    def get(self, request: Request) -> Response:
        fields, principal = sent(request, MemoryQuery), principal_of(request)
        rows = memories_of(principal)
        if "agent_id" in fields:
            with naming("agent_id"):
                rows = memories_with(principal, fields["agent_id"])
        if "dialog_id" in fields:
            rows &= _in_dialog(principal, fields["dialog_id"])
        page, size = page_of(request)
        return answer([memory_data(row) for row in rows[(page - 1) * size : page * size]])

    @extend_schema(
        parameters=[
            OpenApiParameter(name, str, description=IN_QUERY) for name in ("memory_id", "dialog_id")
        ],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        """Has one fact forgotten, or all that were learnt in a dialog."""
        fields, principal = sent(request, MemoryDeleteBody), principal_of(request)
        if "memory_id" in fields:
            with naming("memory_id"):
                access_memory(principal, fields["memory_id"]).delete()
        else:
            _in_dialog(principal, fields["dialog_id"]).delete()
        return answer()
