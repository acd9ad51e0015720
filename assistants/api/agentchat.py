"""`/agent` of the agentchat family: the same assistants under that family's names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db.models import F
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import principal_of
from accounts.principals import Principal
from assistants import actions
from assistants.access import access_assistant, require_editable, visible_assistants
from assistants.api.serializers import MAX_DESCRIPTION, MAX_PROMPT, IdsField
from assistants.models import Assistant, AssistantQuerySet
from core.agentchat import IN_QUERY, PAGE, IdField, answer, naming, owner_word, page_of, sent
from core.errors import InvalidRequest, NotFound
from core.serializers import WireSerializer
from providers.access import named_llm

LOGO = "assistants/agent.svg"
# What an agent refers to: an id that is not visible is not found.
_REFERENCES = {
    "tool_ids": "tool_ids",
    "mcp_server_ids": "mcp_ids",
    "knowledge_base_ids": "knowledge_ids",
    "llm_id": "llm_id",
}
_FIELDS = {
    "name": "name",
    "description": "description",
    "logo_url": "logo_url",
    "system_prompt": "prompt",
    "enable_memory": "enable_memory",
    "tool_ids": "tool_ids",
    "mcp_ids": "mcp_server_ids",
    "knowledge_ids": "knowledge_base_ids",
}


# --- What is shown -----------------------------------------------------------------------------


class AgentShape(serializers.Serializer[Any]):
    """An agent."""

    id = serializers.CharField()
    agent_id = serializers.CharField(help_text="The same as `id`.")
    name = serializers.CharField()
    description = serializers.CharField()
    logo_url = serializers.CharField()
    user_id = serializers.CharField(help_text="0: the system.")
    is_custom = serializers.BooleanField()
    system_prompt = serializers.CharField()
    llm_id = serializers.CharField(allow_null=True, help_text="Null: the default model.")
    enable_memory = serializers.BooleanField()
    tool_ids = serializers.ListField(child=serializers.CharField())
    mcp_ids = serializers.ListField(child=serializers.CharField())
    knowledge_ids = serializers.ListField(child=serializers.CharField())
    agent_skill_ids = serializers.ListField(child=serializers.CharField(), help_text="Always [].")
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


def logo_of(request: Request, row: Assistant) -> str:
    """The address of the agent's picture, or of the one of agents that have none."""
    return row.logo_url or _common_logo(request)


def _common_logo(request: Request) -> str:
    return request.build_absolute_uri(static(LOGO))


def agent_data(request: Request, row: Any) -> dict[str, Any]:
    """What `AgentShape` describes; the row is one of `AssistantQuerySet.for_display`."""
    return {
        "id": row.pk,
        "agent_id": row.pk,
        "name": row.name,
        "description": row.description,
        "logo_url": logo_of(request, row),
        "user_id": owner_word(row),
        "is_custom": not row.is_system,
        "system_prompt": row.prompt,
        "llm_id": row.llm_id,
        "enable_memory": row.enable_memory,
        "tool_ids": row.tool_ids,
        "mcp_ids": row.mcp_server_ids,
        "knowledge_ids": row.knowledge_base_ids,
        "agent_skill_ids": [],
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


def _shown(request: Request, row: Assistant) -> dict[str, Any]:
    rows = visible_assistants(principal_of(request)).for_display()
    return agent_data(request, rows.get(pk=row.pk))


# --- What is sent ------------------------------------------------------------------------------


class AgentFields(WireSerializer):
    """What may be said of every agent."""

    llm_id = serializers.CharField(
        max_length=100,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text=_("A model's id or name. Empty: the default model."),
    )
    enable_memory = serializers.BooleanField(required=False)
    tool_ids = IdsField()
    mcp_ids = IdsField()
    knowledge_ids = IdsField()


class AgentCreateBody(AgentFields):
    name = serializers.CharField(max_length=100)
    description = serializers.CharField(max_length=MAX_DESCRIPTION, allow_blank=True)
    system_prompt = serializers.CharField(
        max_length=MAX_PROMPT, allow_blank=True, trim_whitespace=False
    )
    logo_url = serializers.CharField(max_length=500, allow_blank=True)
    enable_memory = serializers.BooleanField(default=True)


class AgentUpdateBody(AgentFields):
    agent_id = IdField()
    name = serializers.CharField(max_length=100, required=False)
    description = serializers.CharField(
        max_length=MAX_DESCRIPTION, required=False, allow_blank=True
    )
    system_prompt = serializers.CharField(
        max_length=MAX_PROMPT, required=False, allow_blank=True, trim_whitespace=False
    )
    logo_url = serializers.CharField(max_length=500, required=False, allow_blank=True)


class AgentIdBody(WireSerializer):
    agent_id = IdField()


class AgentSearchBody(WireSerializer):
    name = serializers.CharField(
        max_length=100, required=False, default="", allow_blank=True, help_text="Empty: all."
    )


def values_of(
    request: Request, principal: Principal, fields: dict[str, Any]
) -> actions.AssistantValues:
    """What was sent, as an assistant's values. Raises NotFound naming the field."""
    values: Any = {ours: fields[name] for name, ours in _FIELDS.items() if name in fields}
    # Forms send back what they were shown; the address of our own picture does not last.
    if values.get("logo_url") == _common_logo(request):
        values["logo_url"] = ""
    if "llm_id" in fields:
        with naming("llm_id"):
            key = fields["llm_id"]
            values["llm_id"] = named_llm(principal, key).pk if key else None
    checked: actions.AssistantValues = values
    return checked


@contextmanager
def _references_named() -> Iterator[None]:
    """Ids that may not be seen are not found, in this family's envelope, and named as sent."""
    try:
        yield
    except InvalidRequest as error:
        field = _REFERENCES.get(error.param or "")
        if field is None:
            raise
        raise NotFound(f"{field}: {error.message}", param=field) from None


# --- Views -------------------------------------------------------------------------------------


def _listed(request: Request, rows: AssistantQuerySet) -> Response:
    """The system's first, then the newest."""
    page, size = page_of(request)
    system_first = F("owner").asc(nulls_first=True)
    ordered = rows.for_display().order_by(system_first, "-created_at", "pk")
    shown = ordered[(page - 1) * size : page * size]
    return answer([agent_data(request, row) for row in shown])


def _own_agent(principal: Principal, agent_id: str) -> Assistant:
    """The agent that the principal may change. Raises NotFound, Forbidden."""
    with naming("agent_id"):
        row = access_assistant(principal, agent_id)
    require_editable(principal, row)
    return row


class AgentView(APIView):
    """Agents: own ones and the system's."""

    serializer_class = AgentCreateBody

    @extend_schema(operation_id="agent_list", parameters=PAGE, responses=AgentShape(many=True))
    def get(self, request: Request) -> Response:
        return _listed(request, visible_assistants(principal_of(request)))

    @extend_schema(request=AgentCreateBody, responses=AgentShape)
    def post(self, request: Request) -> Response:
        """A new agent; names are unique per user in this family."""
        fields, principal = sent(request, AgentCreateBody), principal_of(request)
        values = values_of(request, principal, fields)
        with actions.reserved_name(principal.user_id, fields["name"]), _references_named():
            saved = actions.create_assistant(principal, values)
        return answer(_shown(request, saved.row))

    @extend_schema(request=AgentUpdateBody, responses=AgentShape)
    def put(self, request: Request) -> Response:
        """Changes what is sent."""
        fields, principal = sent(request, AgentUpdateBody), principal_of(request)
        row = _own_agent(principal, fields["agent_id"])
        values = values_of(request, principal, fields)
        name = fields.get("name", row.name)
        # Others may have the present name too: the other family of the API does not mind.
        is_new = name != row.name
        reserved = actions.reserved_name(row.owner_id, name, by=row) if is_new else nullcontext()
        with reserved, _references_named():
            actions.save_assistant(principal, row, values)
        return answer(_shown(request, row))

    @extend_schema(
        parameters=[OpenApiParameter("agent_id", str, required=True, description=IN_QUERY)],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        """Deletes an agent with the dialogs that its owner had with it."""
        fields = sent(request, AgentIdBody)
        actions.delete_with_dialogs(_own_agent(principal_of(request), fields["agent_id"]))
        return answer()


class AgentSearchView(APIView):
    """Agents with these characters in their name, in any case."""

    serializer_class = AgentSearchBody

    @extend_schema(parameters=PAGE, responses=AgentShape(many=True))
    def post(self, request: Request) -> Response:
        name = sent(request, AgentSearchBody)["name"]
        rows = visible_assistants(principal_of(request))
        return _listed(request, rows.filter(name__icontains=name) if name else rows)
