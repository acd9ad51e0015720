"""Which tools somebody may see."""

from __future__ import annotations

from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import NotFound
from core.models import OwnedQuerySet
from tooling.models import Tool


def visible_tools(principal: Principal) -> OwnedQuerySet[Tool]:
    """Own tools and the system's; operators see all."""
    return Tool.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def access_tool(principal: Principal, tool_id: str) -> Tool:
    """The tool, if it may be seen. Raises NotFound for all other ids."""
    row = visible_tools(principal).with_id(tool_id)
    if row is None:
        raise NotFound(_("Tool not found"), code="TOOL_NOT_FOUND")
    return row
