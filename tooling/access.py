"""Which tools somebody may see."""

from __future__ import annotations

from accounts.principals import Principal
from core.models import OwnedQuerySet
from tooling.models import Tool


def visible_tools(principal: Principal) -> OwnedQuerySet[Tool]:
    """Own tools and the system's; operators see all."""
    return Tool.objects.visible_to(principal.user_id, is_operator=principal.is_operator)
