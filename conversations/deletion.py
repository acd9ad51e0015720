"""Keeps the conversations of an account still while it is deleted with all that it owns."""

from __future__ import annotations

from accounts.models import User
from conversations.models import Conversation, Run


def hold_conversations_of(user: User) -> None:
    """Has whoever writes to them wait for the end of the transaction, and then find them gone.

    Rows that were added between the reading of what is to be deleted and its end would stop it.
    Conversations first, as those who begin or end a run take them in this order.
    """
    for rows in (Conversation.objects.filter(owner=user), Run.objects.filter(owner=user)):
        list(rows.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))
