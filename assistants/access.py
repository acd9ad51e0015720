"""Which assistants somebody may see and change."""

from __future__ import annotations

import dataclasses

from django.db.models import F, Q
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.principals import Principal
from assistants.models import Assistant, AssistantQuerySet
from core.errors import Forbidden, NotFound
from core.models import OwnedQuerySet
from knowledge.models import KnowledgeBase
from tooling.models import McpServer, Tool

NOT_FOUND_CODE = "ASSISTANT_NOT_FOUND"


def visible_assistants(principal: Principal) -> AssistantQuerySet:
    """Own assistants and the system's; operators see all."""
    return Assistant.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def not_found() -> NotFound:
    return NotFound(_("Assistant not found."), code=NOT_FOUND_CODE)


def access_assistant(principal: Principal, assistant_id: str) -> Assistant:
    """The assistant, if it may be seen. Raises NotFound alike for unknown and foreign ids."""
    row = visible_assistants(principal).with_id(assistant_id)
    if row is None:
        raise not_found()
    return row


def require_editable(principal: Principal, row: Assistant) -> None:
    """Raises Forbidden where a visible assistant may not be changed: the system's, by a user."""
    if not principal.is_operator and row.owner_id != principal.user_id:
        raise Forbidden(_("System assistants can be changed by operators only."))


def access_assistant_to_talk(principal: Principal | None, assistant_id: str) -> Assistant:
    """The assistant, if the caller may talk to it; a public one needs no credential."""
    row = Assistant.objects.filter(is_public=True).with_id(assistant_id)
    if row is not None:
        return row
    if principal is None:
        raise not_found()
    return access_assistant(principal, assistant_id)


@dataclasses.dataclass(frozen=True, slots=True)
class SearchedBase:
    """A knowledge base that an assistant may search now."""

    id: str
    name: str


def searched_bases(assistant_id: str) -> tuple[SearchedBase, ...]:
    """The assistant's knowledge bases, in the order in which they were chosen.

    Without those that its owner may not see (any more). A system assistant is set up by operators,
    who see all.
    """
    links = Assistant.knowledge_bases.through.objects.filter(
        _owner_sees("knowledgebase"), assistant_id=assistant_id
    )
    rows = links.order_by("pk").values_list("knowledgebase_id", "knowledgebase__name")
    return tuple(SearchedBase(base_id, name) for base_id, name in rows)


def bases_for(owner: User | None) -> OwnedQuerySet[KnowledgeBase]:
    """What an assistant of this owner can be given; without an owner, it is the system's."""
    if owner is None or owner.is_operator:
        return KnowledgeBase.objects.all()
    return KnowledgeBase.objects.visible_to(owner.pk, is_operator=False)


def _owner_sees(linked: str) -> Q:
    """Of links: those to rows that the assistant's owner may see; for a system one, all."""
    return (
        Q(assistant__owner=None)
        | Q(assistant__owner__is_staff=True)
        | Q(**{f"{linked}__owner": None})
        | Q(**{f"{linked}__owner": F("assistant__owner")})
    )


def usable_tools(assistant_id: str) -> list[Tool]:
    """The assistant's enabled tools, in the order in which they were chosen, with their services.

    As of knowledge bases: without those that its owner may not see (any more).
    """
    links = Assistant.tools.through.objects.filter(
        _owner_sees("tool"), assistant_id=assistant_id, tool__is_enabled=True
    )
    return [link.tool for link in links.select_related("tool__backend").order_by("pk")]


def tools_for(owner: User | None) -> OwnedQuerySet[Tool]:
    """What an assistant of this owner can be given; without an owner, it is the system's."""
    if owner is None or owner.is_operator:
        return Tool.objects.all()
    return Tool.objects.visible_to(owner.pk, is_operator=False)


def usable_mcp_servers(assistant_id: str) -> list[McpServer]:
    """The assistant's enabled MCP servers, in the order in which they were chosen.

    As of knowledge bases: without those that its owner may not see (any more).
    """
    links = Assistant.mcp_servers.through.objects.filter(
        _owner_sees("mcpserver"), assistant_id=assistant_id, mcpserver__is_enabled=True
    )
    return [link.mcpserver for link in links.select_related("mcpserver").order_by("pk")]


def mcp_servers_for(owner: User | None) -> OwnedQuerySet[McpServer]:
    """What an assistant of this owner can be given; without an owner, it is the system's."""
    if owner is None or owner.is_operator:
        return McpServer.objects.all()
    return McpServer.objects.visible_to(owner.pk, is_operator=False)
