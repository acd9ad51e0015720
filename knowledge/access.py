"""Which knowledge bases somebody may see."""

from __future__ import annotations

from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import NotFound
from core.models import OwnedQuerySet
from knowledge.models import KnowledgeBase


def visible_knowledge_bases(principal: Principal) -> OwnedQuerySet[KnowledgeBase]:
    """Own knowledge bases and the system's; operators see all."""
    return KnowledgeBase.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def access_knowledge_base(principal: Principal, knowledge_base_id: str) -> KnowledgeBase:
    """The knowledge base, if it may be seen. Raises NotFound for all other ids."""
    row = visible_knowledge_bases(principal).with_id(knowledge_base_id)
    if row is None:
        raise NotFound(_("Knowledge base not found."), code="KNOWLEDGE_BASE_NOT_FOUND")
    return row
