"""The workspace: chats with no assistant, whose model and tools are chosen with each message."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from accounts.principals import Principal
from assistants.models import Assistant, Language
from assistants.runtime import AssistantRuntime, runtime_of
from conversations.models import Channel, Conversation, Message, Role
from conversations.types import SettingsRow
from core.agentchat import naming
from core.errors import Conflict, NotFound
from core.models import OwnedQuerySet
from providers.access import named_llm, require_usable
from tooling.access import access_tool, visible_tools
from tooling.mcp.listing import mcp_specs
from tooling.mcp_access import access_mcp_server
from tooling.models import Tool
from tooling.specs import named_apart, prefetch_parts, tool_spec

WORKSPACE = "workspace"
MAX_TITLE_CHARS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """One turn of a session."""

    query: str
    answer: str


# --- Sessions -------------------------------------------------------------------------------------


def sessions_of(principal: Principal) -> QuerySet[Conversation]:
    """The principal's sessions, the one with the latest words first."""
    own = Conversation.objects.filter(owner_id=principal.user_id, channel=Channel.CHAT)
    return own.filter(assistant_key=WORKSPACE).order_by("-updated_at", "pk")


def find_session(principal: Principal, session_id: str) -> Conversation | None:
    """The principal's session of that id, or which was given that id when it was made."""
    if "\0" in session_id:
        return None
    found = sessions_of(principal).filter(Q(pk=session_id) | Q(alias=session_id))
    return min(found, key=lambda each: each.pk != session_id, default=None)


def access_session(principal: Principal, session_id: str) -> Conversation:
    """As `find_session`; raises NotFound alike for unknown and foreign ids."""
    row = find_session(principal, session_id)
    if row is None:
        raise NotFound(_("Session not found."), code="SESSION_NOT_FOUND")
    return row


def create_session(principal: Principal, *, title: str, alias: str = "") -> Conversation:
    """A new session. Raises Conflict where another chat of the principal has the alias."""
    row = Conversation(
        id=uuid.uuid4().hex,
        owner_id=principal.user_id,
        assistant_key=WORKSPACE,
        assistant_name=_("Workspace"),
        channel=Channel.CHAT,
        title=" ".join(title.split())[:MAX_TITLE_CHARS],
        alias=alias,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise Conflict(_("Another chat has this id."), param="session_id") from None
    return row


def said_in(session: Conversation) -> list[Said]:
    """What was asked and answered, turn by turn."""
    rows = Message.objects.filter(
        conversation=session, role__in=(Role.USER, Role.ASSISTANT)
    ).order_by("seq")
    turns: dict[int, Said] = {}
    for turn, role, text in rows.values_list("turn", "role", "text"):
        said = turns.get(turn, Said("", ""))
        if role == Role.USER:
            turns[turn] = dataclasses.replace(said, query=said.query + text)
        else:
            turns[turn] = dataclasses.replace(said, answer=said.answer + text)
    return list(turns.values())


# --- Who answers ----------------------------------------------------------------------------------


def usable_plugins(principal: Principal) -> OwnedQuerySet[Tool]:
    """The tools that may be chosen."""
    return visible_tools(principal).filter(is_enabled=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What a message is answered with; ids that the principal sent. No model: the default one."""

    model_id: str = ""
    tool_ids: Sequence[str] = ()
    server_ids: Sequence[str] = ()


def compose(principal: Principal, choice: Choice) -> AssistantRuntime:
    """An assistant for one message, stored nowhere. Raises NotFound for what may not be used."""
    llm = None
    if choice.model_id:
        with naming("model_id"):
            llm = named_llm(principal, choice.model_id)
            require_usable(principal, llm)
    with naming("plugins"):
        tools = [access_tool(principal, tool_id) for tool_id in dict.fromkeys(choice.tool_ids)]
    with naming("mcp_servers"):
        servers = [access_mcp_server(principal, key) for key in dict.fromkeys(choice.server_ids)]
    is_chinese = (get_language() or "").startswith("zh")
    row = Assistant(
        owner_id=principal.user_id,
        name=_("Workspace"),
        llm=llm,
        language=Language.ZH if is_chinese else Language.EN,
    )
    runtime = runtime_of(row, caller_id=principal.user_id, speaks=False)
    enabled = [tool for tool in tools if tool.is_enabled]
    prefetch_parts(enabled)
    own = [tool_spec(tool, runtime.language) for tool in enabled]
    specs = named_apart([*own, *mcp_specs(servers, principal.user_id)])
    return dataclasses.replace(runtime, id=WORKSPACE, tools=specs)


def keep_choice(session: Conversation, choice: Choice) -> None:
    """Notes on the session what its latest message was answered with."""
    settings: SettingsRow = {
        "model_key": choice.model_id or None,
        "tool_ids": list(choice.tool_ids),
        "mcp_server_ids": list(choice.server_ids),
    }
    if session.settings != settings:
        Conversation.objects.filter(pk=session.pk).update(settings=settings)
