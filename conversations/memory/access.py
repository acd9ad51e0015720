"""What assistants know about a user, for the user: to read, and to have forgotten.

Facts are their owner's alone: no operator sees another's through the API.
"""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts.principals import Principal
from assistants.access import access_assistant
from conversations.chats import dialogs
from conversations.models import Conversation, Memory
from core.errors import NotFound

NOT_FOUND_CODE = "MEMORY_NOT_FOUND"


def memories_of(principal: Principal) -> QuerySet[Memory]:
    """The facts about the principal, those heard last first."""
    rows = Memory.objects.filter(owner_id=principal.user_id).order_by("-updated_at", "pk")
    return rows.defer("embedding", "lexemes")


def access_memory(principal: Principal, memory_id: str) -> Memory:
    """A fact about the principal. Raises NotFound alike for unknown ids and for others' facts."""
    row = memories_of(principal).filter(pk=memory_id).first() if "\0" not in memory_id else None
    if row is None:
        raise NotFound(_("Memory not found."), code=NOT_FOUND_CODE)
    return row


def memories_in(principal: Principal, dialog_id: str) -> QuerySet[Memory]:
    """The facts that were learnt in a dialog, or any other conversation, of the principal.

    Raises NotFound alike for unknown and foreign ids.
    """
    row = dialogs.named(Conversation.objects.filter(owner_id=principal.user_id), dialog_id)
    return memories_of(principal).filter(conversation_id=row.pk)


def memories_with(principal: Principal, agent_id: str) -> QuerySet[Memory]:
    """The facts that an assistant knows about the principal, who may not use it any more.

    Raises NotFound where there are none and the assistant may not be seen either.
    """
    if "\0" in agent_id:
        raise NotFound(_("Assistant not found."), code="ASSISTANT_NOT_FOUND")
    found = memories_of(principal).filter(assistant_id=agent_id)
    if not found.exists():
        access_assistant(principal, agent_id)
    return found
