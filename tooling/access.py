"""Which tools somebody may see and change."""

from __future__ import annotations

from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import Forbidden, NotFound
from core.models import OwnedQuerySet
from tooling.catalogue import normalise_tool_id
from tooling.models import Tool

TOOL_NOT_FOUND = "TOOL_NOT_FOUND"


def visible_tools(principal: Principal) -> OwnedQuerySet[Tool]:
    """Own tools and the system's; operators see all."""
    return Tool.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def tool_not_found() -> NotFound:
    return NotFound(_("Tool resource not found"), code=TOOL_NOT_FOUND)


def access_tool(principal: Principal, tool_id: str) -> Tool:
    """The tool, if it may be seen. Raises NotFound alike for unknown and foreign ids."""
    row = visible_tools(principal).with_id(normalise_tool_id(tool_id))
    if row is None:
        raise tool_not_found()
    return row


def read_only() -> Forbidden:
    return Forbidden(_("System tool is read-only"))


def may_edit(principal: Principal, tool: Tool) -> bool:
    """Whether somebody who sees the tool may also change it."""
    return principal.is_operator or tool.owner_id == principal.user_id


def require_editable(principal: Principal, tool: Tool) -> None:
    """Raises Forbidden where a visible tool may not be changed: the system's, by a user."""
    if not may_edit(principal, tool):
        raise read_only()
