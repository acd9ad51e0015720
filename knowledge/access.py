"""Which knowledge bases somebody may see."""

from __future__ import annotations

from accounts.principals import Principal
from core.models import OwnedQuerySet
from knowledge.models import KnowledgeBase


def visible_knowledge_bases(principal: Principal) -> OwnedQuerySet[KnowledgeBase]:
    """Own knowledge bases and the system's; operators see all."""
    return KnowledgeBase.objects.visible_to(principal.user_id, is_operator=principal.is_operator)
