"""The earlier turns of a conversation, as a model reads them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from conversations import history
from conversations.files.attachments import images_of
from conversations.models import Conversation
from conversations.types import MessageEntry, Role, ToolOutcome
from core.statements import prepared_cursor
from providers.types import ChatMessage, ToolCall, UserMessage

# More than any model reads; what does not fit is cut between turns before it is sent.
MAX_MESSAGES = 400
MAX_CHARS = 2**31
# As `providers.tokens` counts; what is beyond is cut anyway, by whole turns.
MAX_CHARS_PER_TOKEN = 4
# Of what users sent along in earlier turns: the latest.
MAX_IMAGES = 10


# The columns that models are told of; with each message, how much newer ones hold together.
_LATEST = """
select turn, role, text, is_interrupted, tool_calls, tool_result, attachments
from (
  select *, sum(length(text)) over (order by seq desc) - length(text) as newer_chars
  from (
    select seq, turn, role, text, is_interrupted, tool_calls, tool_result, attachments
    from conversations_message where conversation_id = %(id)s and turn < %(turn)s
    order by seq desc limit %(most)s
  ) latest
) measured
where newer_chars <= %(chars)s order by seq
"""


def load_history(
    conversation_id: str, *, before_turn: int, context_tokens: int | None = None
) -> tuple[ChatMessage, ...]:
    """What was said before that turn, with what users sent along: a unit of database work.

    No more of it than surely fills a model that takes so many tokens.
    """
    values: dict[str, str | int] = {
        "id": conversation_id,
        "turn": before_turn,
        "most": MAX_MESSAGES,
        "chars": MAX_CHARS if context_tokens is None else context_tokens * MAX_CHARS_PER_TOKEN,
    }
    with prepared_cursor() as cursor:
        cursor.execute(_LATEST, values)
        entries = [_entry(*row) for row in cursor.fetchall()]
    owner_id = None
    if any(entry.attachments for entry in entries):
        # The conversation's owner is the one whose files they are.
        owner_id = Conversation.objects.values_list("owner_id", flat=True).get(pk=conversation_id)
    return tuple(_messages(entries, owner_id, _shown_images(entries)))


def _entry(
    turn: int,
    role: Role,
    text: str,
    is_interrupted: bool,
    tool_calls: str,
    tool_result: str | None,
    attachments: str,
) -> MessageEntry:
    """Without a row of the model in between: that took longer than all the rest."""
    return MessageEntry(
        turn=turn,
        role=role,
        text=text,
        is_interrupted=is_interrupted,
        tool_calls=tuple(ToolCall(**call) for call in _list(tool_calls)),
        outcome=ToolOutcome.of(json.loads(tool_result)) if tool_result else None,
        attachments=tuple(_list(attachments)),
    )


def _list(written: str) -> list[Any]:
    """A list out of JSON; most are empty."""
    return [] if written == "[]" else json.loads(written)


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
