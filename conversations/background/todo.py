"""The list of what is to be done that an agent keeps in a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from conversations.models import Conversation
from conversations.types import TodoRow


def store_todo(conversation_id: str, rows: Sequence[TodoRow]) -> None:
    """Replaces the list. Nothing happens where the conversation is gone."""
    Conversation.objects.filter(pk=conversation_id).update(todo=list(rows))
