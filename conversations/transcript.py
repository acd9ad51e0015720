"""The earlier turns of a conversation, as a model reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from conversations import history
from conversations.files.attachments import images_of
from conversations.models import Message
from conversations.types import MessageEntry
from providers.types import ChatMessage, UserMessage

# More than any model reads; what does not fit is cut between turns before it is sent.
MAX_MESSAGES = 400
# Of what users sent along in earlier turns: the latest.
MAX_IMAGES = 10


def load_history(conversation_id: str, *, before_turn: int) -> tuple[ChatMessage, ...]:
    """What was said before that turn, with what users sent along: a unit of database work."""
    rows = Message.objects.filter(conversation_id=conversation_id, turn__lt=before_turn)
    latest = list(rows.order_by("-seq")[:MAX_MESSAGES])
    entries = [row.entry() for row in reversed(latest)]
    owner_id = None
    if any(entry.attachments for entry in entries):
        # The conversation's owner is the one whose files they are.
        owner_id = latest[0].conversation.owner_id
    return tuple(_messages(entries, owner_id, _shown_images(entries)))


def _messages(
    entries: Sequence[MessageEntry], owner_id: int | None, shown: frozenset[int]
) -> Iterator[ChatMessage]:
    for at, entry in enumerate(entries):
        for message in history.chat_messages([entry]):
            if at in shown and entry.attachments and isinstance(message, UserMessage):
                images = images_of(entry.attachments, owner_id=owner_id)
                yield dataclasses.replace(message, images=images)
            else:
                yield message


def _shown_images(entries: Sequence[MessageEntry]) -> frozenset[int]:
    """The places of the latest messages whose images are few enough together."""
    shown: set[int] = set()
    left = MAX_IMAGES
    for at in range(len(entries) - 1, -1, -1):
        count = sum(row["kind"] == "image" for row in entries[at].attachments)
        if count > left:
            break
        left -= count
        shown.add(at)
    return frozenset(shown)
