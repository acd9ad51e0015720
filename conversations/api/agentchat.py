"""`/dialog`, `/history?dialog_id=`, `/message` and `/usage` of the agentchat family."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any, TypedDict

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from accounts.permissions import principal_of
from accounts.principals import Principal
from assistants.access import access_assistant, visible_assistants
from assistants.api.agentchat import AgentShape, agent_data
from assistants.runtime import AssistantRuntime, load_runtime
from conversations.api.platform import CallViewSet, HistoryQuery
from conversations.chats import dialogs
from conversations.chats.replay import shown_events
from conversations.encoders.agentchat import AgentChatEncoder
from conversations.lookup import SEARCH_TOOL, Lookup
from conversations.models import Conversation, Feedback, Message, Role
from conversations.reports import usage
from core.agentchat import (
    IN_QUERY,
    MAX_LISTED,
    PAGE,
    IdField,
    answer,
    naming,
    page_of,
    sent,
)
from core.errors import NotFound
from core.serializers import OptionalText, WireSerializer

MAX_FEEDBACK = 200_000
_MAX_DAYS = 36_500


# --- Dialogs -----------------------------------------------------------------------------------


class DialogShape(serializers.Serializer[Any]):
    """A dialog."""

    dialog_id = serializers.CharField()
    alias = serializers.CharField(help_text="The id that its client gave it; it works as well.")
    name = serializers.CharField()
    agent_id = serializers.CharField()
    agent_name = serializers.CharField()
    agent_type = serializers.ChoiceField(dialogs.AGENT_TYPES)
    user_id = serializers.CharField()
    summary = serializers.CharField()
    summary_last_time = serializers.DateTimeField(allow_null=True)
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


class ListedDialogShape(DialogShape):
    """A dialog with its agent, also among its own fields where no field of its own has the name."""

    agent = AgentShape(allow_null=True, help_text="Null: it is gone.")
    description = serializers.CharField(required=False)
    logo_url = serializers.CharField(required=False)


def dialog_data(row: Conversation) -> dict[str, Any]:
    """What `DialogShape` describes."""
    return {
        "dialog_id": row.pk,
        "alias": row.alias,
        "name": row.title,
        "agent_id": row.assistant_key,
        "agent_name": row.assistant_name,
        "agent_type": row.settings.get("agent_type", dialogs.AGENT_TYPES[0]),
        "user_id": str(row.owner_id),
        "summary": row.summary,
        "summary_last_time": row.updated_at.isoformat() if row.summary else None,
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


class DialogCreateBody(WireSerializer):
    name = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default="", help_text="Else the agent's."
    )
    agent_id = IdField()
    agent_type = serializers.ChoiceField(dialogs.AGENT_TYPES, default=dialogs.AGENT_TYPES[0])
    dialog_id = serializers.RegexField(
        r"^[\w.:\-]{1,64}\Z",
        required=False,
        default="",
        allow_blank=True,
        help_text=_("An id of your own, which then means this dialog beside the one given."),
    )


class DialogUpdateBody(WireSerializer):
    dialog_id = IdField()
    name = serializers.CharField(max_length=200)


class DialogIdBody(WireSerializer):
    dialog_id = IdField()


def _dialog(principal: Principal, dialog_id: str) -> Conversation:
    with naming("dialog_id"):
        return dialogs.access_dialog(principal, dialog_id)


class DialogView(APIView):
    """The caller's dialogs, one by one."""

    required_scope = Scope.CHAT
    serializer_class = DialogCreateBody

    @extend_schema(responses=DialogShape)
    def post(self, request: Request) -> Response:
        """A new dialog with an agent."""
        fields, principal = sent(request, DialogCreateBody), principal_of(request)
        with naming("agent_id"):
            agent = access_assistant(principal, fields["agent_id"])
        row = dialogs.create_dialog(
            principal,
            agent,
            name=fields["name"] or agent.name,
            agent_type=fields["agent_type"],
            alias=fields["dialog_id"],
        )
        return answer(dialog_data(row))

    @extend_schema(request=DialogUpdateBody, responses=DialogShape)
    def put(self, request: Request) -> Response:
        """Another name."""
        fields = sent(request, DialogUpdateBody)
        row = _dialog(principal_of(request), fields["dialog_id"])
        dialogs.rename_dialog(row, fields["name"])
        return answer(dialog_data(row))

    @extend_schema(
        parameters=[OpenApiParameter("dialog_id", str, required=True, description=IN_QUERY)],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        """Deletes a dialog with what was said and remembered; an answer in the making stops."""
        fields = sent(request, DialogIdBody)
        row = _dialog(principal_of(request), fields["dialog_id"])
        dialogs.delete_conversation(row, force=True)
        return answer()


class DialogListView(APIView):
    """The caller's dialogs with their agents, the one that changed last first."""

    required_scope = Scope.CHAT

    @extend_schema(
        parameters=PAGE,
        responses=ListedDialogShape(many=True),
    )
    def get(self, request: Request) -> Response:
        principal = principal_of(request)
        page, size = page_of(request)
        rows = list(dialogs.dialogs_of(principal)[(page - 1) * size : page * size])
        agents = visible_assistants(principal).filter(pk__in={row.assistant_id for row in rows})
        shown = {agent.pk: agent_data(request, agent) for agent in agents.for_display()}
        return answer([_with_agent(row, shown.get(row.assistant_id or "")) for row in rows])


def _with_agent(row: Conversation, agent: dict[str, Any] | None) -> dict[str, Any]:
    merged = {name: value for name, value in (agent or {}).items() if name != "id"}
    return {**merged, **dialog_data(row), "agent": agent}


# --- What was said -----------------------------------------------------------------------------


class EventShape(serializers.Serializer[Any]):
    """What a tool did, as the stream told it."""

    status = serializers.ChoiceField(["START", "END", "ERROR"])
    title = serializers.CharField()
    message = serializers.CharField()


class HistoryShape(serializers.Serializer[Any]):
    """A message of the user, or a whole answer with what happened in it."""

    id = serializers.CharField()
    content = serializers.CharField()
    dialog_id = serializers.CharField()
    role = serializers.ChoiceField(["user", "assistant", "system"])
    token_usage = serializers.IntegerField()
    events = EventShape(many=True)
    is_failed = serializers.BooleanField(
        help_text="Whether the answer failed; its content ends with the apology that was shown."
    )
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


class DialogHistory:
    """The messages of one dialog as clients see them."""

    def __init__(self, principal: Principal, dialog: Conversation) -> None:
        self._principal, self._dialog = principal, dialog
        self._runtime: AssistantRuntime | None = None
        self._search_id = SEARCH_TOOL
        self._is_agent_known = False

    def rows(self, *, page: int, size: int) -> list[dict[str, Any]]:
        """A page of so many turns, oldest first; the first page has the last ones."""
        messages = self._dialog.messages.order_by("seq")
        newest = messages.reverse().values_list("turn", flat=True).first() or 0
        last = newest - (page - 1) * size
        shown = messages.filter(turn__gt=last - size, turn__lte=last) if last > 0 else ()
        return [self._row(list(said)) for _key, said in groupby(shown, _place)]

    def _row(self, said: list[Message]) -> dict[str, Any]:
        spoken = [message for message in said if message.role != Role.TOOL] or said
        is_answer = spoken[-1].role == Role.ASSISTANT
        return {
            "id": str(spoken[-1].pk),
            "content": _shown(spoken),
            "is_failed": any(message.error for message in spoken),
            "dialog_id": self._dialog.pk,
            "role": spoken[-1].role,
            "token_usage": sum(each.input_tokens + each.output_tokens for each in spoken),
            "events": self._events(said) if is_answer else [],
            "create_time": said[0].created_at.isoformat(),
            "update_time": said[-1].created_at.isoformat(),
        }

    def _events(self, said: list[Message]) -> list[dict[str, Any]]:
        if not any(_has_events(message) for message in said):
            return []
        self._know_agent()
        tools = self._runtime.tools if self._runtime else ()
        encoder = AgentChatEncoder(tools, search_id=self._search_id, clock=lambda: 0.0)
        return shown_events(
            [message.entry() for message in said], encoder, search_id=self._search_id
        )

    def _know_agent(self) -> None:
        """Who answered says how its tools are called; one that is gone does not."""
        if self._is_agent_known:
            return
        self._is_agent_known = True
        try:
            agent = access_assistant(self._principal, self._dialog.assistant_id or "")
            self._runtime = load_runtime(agent.pk, caller_id=self._principal.user_id)
        except NotFound:
            return
        own = {spec.id: spec for spec in self._runtime.tools if spec.executor == "server"}
        search = Lookup(self._runtime).tool(own)
        self._search_id = search.id if search else SEARCH_TOOL


def _shown(spoken: list[Message]) -> str:
    """An answer as its stream showed it: what the model said, and the apology where it failed."""
    text = "".join(message.text for message in spoken)
    return "\n\n".join(part for part in (text, spoken[-1].apology) if part)


def _has_events(message: Message) -> bool:
    return bool(message.tool_calls or message.tool_result or message.citations or message.error)


def _place(message: Message) -> tuple[int, int]:
    """The same for all messages of one answer."""
    is_part = message.role in (Role.ASSISTANT, Role.TOOL)
    return message.turn, 0 if is_part else message.seq


class HistoryViewSet(CallViewSet):
    """`/history`: with a `dialog_id`, what was said in a dialog; else the platform's calls."""

    @property
    def required_scope(self) -> Scope:
        return Scope.CHAT if "dialog_id" in self.request.query_params else Scope.MANAGE

    @extend_schema(
        parameters=[
            HistoryQuery,
            OpenApiParameter(
                "dialog_id",
                str,
                description="With it, the answer is of the agentchat family: the messages of that"
                " dialog, oldest first, each answer with the events of its tools. A page has as"
                f" many questions as `limit` says, {MAX_LISTED} at most, the first page the last.",
            ),
        ]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if "dialog_id" not in request.query_params:
            return super().list(request, *args, **kwargs)
        fields, principal = sent(request, DialogIdBody), principal_of(request)
        page, size = page_of(request)
        history = DialogHistory(principal, _dialog(principal, fields["dialog_id"]))
        return answer(history.rows(page=page, size=size))


# --- What users think of it --------------------------------------------------------------------


class FeedbackBody(WireSerializer):
    user_input = serializers.CharField(max_length=MAX_FEEDBACK, allow_blank=True)
    agent_output = serializers.CharField(max_length=MAX_FEEDBACK, allow_blank=True)
    message_id = IdField(required=False, allow_null=True, help_text="As the history gives it.")
    history_id = IdField(required=False, allow_null=True, help_text="The same.")


class FeedbackView(APIView):
    """Keeps what the caller thinks of an answer."""

    required_scope = Scope.CHAT
    serializer_class = FeedbackBody
    is_positive: bool

    @extend_schema(responses={200: None})
    def post(self, request: Request) -> Response:
        fields, principal = sent(request, FeedbackBody), principal_of(request)
        message = None
        for field in ("message_id", "history_id"):
            if fields.get(field):
                with naming(field):
                    message = dialogs.access_message(principal, fields[field])
        Feedback.objects.create(
            owner_id=principal.user_id,
            message=message,
            is_positive=self.is_positive,
            user_input=fields["user_input"],
            agent_output=fields["agent_output"],
        )
        return answer()


class LikeView(FeedbackView):
    """Keeps that the caller liked an answer."""

    is_positive = True


class DownView(FeedbackView):
    """Keeps that the caller did not like an answer."""

    is_positive = False


# --- Usage -------------------------------------------------------------------------------------


class UsageBody(WireSerializer):
    agent = OptionalText(max_length=100, help_text="A name.")
    model = OptionalText(max_length=200, help_text="A name.")
    delta_days = serializers.IntegerField(
        min_value=0, max_value=_MAX_DAYS, default=10_000, help_text="How many days back."
    )


_NUMBER = {"type": "integer"}
_TOKENS = {
    "type": "object",
    "properties": dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), _NUMBER),
}


def _by_day(figure: dict[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    """The schema of a figure by day, and there by the names of agents and of models."""
    by_name = {"type": "object", "additionalProperties": figure}
    day = {"type": "object", "properties": {"agent": by_name, "model": by_name}}
    return {(200, "application/json"): {"type": "object", "additionalProperties": day}}


class _Sums(TypedDict):
    answers: int
    tokens: dict[str, int]


def _figures(
    request: Request, figure_of: Callable[[_Sums], Any]
) -> dict[str, dict[str, dict[str, Any]]]:
    """What the body asks for, as `_by_day` describes it."""
    fields = sent(request, UsageBody)
    used = usage.usage_of(
        principal_of(request),
        days=fields["delta_days"],
        agent=fields.get("agent") or "",
        model=fields.get("model") or "",
    )
    days: dict[str, dict[str, dict[str, _Sums]]] = {}
    for each in used:
        day = days.setdefault(each.day.isoformat(), {"agent": {}, "model": {}})
        for kind, name in (("agent", each.agent), ("model", each.model)):
            _add(day[kind].setdefault(name, {"answers": 0, "tokens": {}}), each)
    return {
        day: {
            kind: {name: figure_of(sums) for name, sums in named.items()}
            for kind, named in kinds.items()
        }
        for day, kinds in days.items()
    }


def _add(sums: _Sums, used: usage.Used) -> None:
    sums["answers"] += used.answers
    for name, tokens in (
        ("input_tokens", used.input_tokens),
        ("output_tokens", used.output_tokens),
        ("total_tokens", used.input_tokens + used.output_tokens),
    ):
        sums["tokens"][name] = sums["tokens"].get(name, 0) + tokens


class UsageView(APIView):
    """The tokens of the caller's answers by day, and there by agent and by model."""

    serializer_class = UsageBody

    @extend_schema(responses=_by_day(_TOKENS))
    def post(self, request: Request) -> Response:
        return answer(_figures(request, lambda sums: sums["tokens"]))


class UsageCountView(APIView):
    """How many answers the caller got by day, and there by agent and by model."""

    serializer_class = UsageBody

    @extend_schema(responses=_by_day(_NUMBER))
    def post(self, request: Request) -> Response:
        return answer(_figures(request, lambda sums: sums["answers"]))


_NAMES: Any = serializers.ListSerializer(child=serializers.CharField())


class UsageModelsView(APIView):
    """The models that answered the caller."""

    @extend_schema(responses=_NAMES)
    def get(self, request: Request) -> Response:
        return answer(usage.used_models(principal_of(request)))


class UsageAgentsView(APIView):
    """The agents that answered the caller."""

    @extend_schema(responses=_NAMES)
    def get(self, request: Request) -> Response:
        return answer(usage.used_agents(principal_of(request)))
