"""When each thing was said, counted from the start of its conversation. Pure.

A call keeps that with its messages. Of chats and tasks the messages say when they were stored: the
user's when it was sent, the answer's when it was complete; the first word came as long before that
as the times of the answer say. When the pieces between two calls of tools came, nobody noted.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Sequence

from conversations.models import Message, Role

_MILLISECOND = datetime.timedelta(milliseconds=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """From when to when, in milliseconds; None where nobody noted it."""

    start_ms: int | None
    end_ms: int | None

    @property
    def duration_ms(self) -> int | None:
        if self.start_ms is None or self.end_ms is None:
            return None
        return self.end_ms - self.start_ms


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """A message that somebody spoke or wrote, and when."""

    message: Message
    span: Span


def said_in_call(messages: Iterable[Message]) -> list[Said]:
    """What both sides said in a call, in order."""
    return [Said(each, Span(each.start_ms, each.end_ms)) for each in messages if _is_said(each)]


def said_in_writing(messages: Sequence[Message], *, since: datetime.datetime) -> list[Said]:
    """What both sides wrote in a chat or task that began then, in order."""
    answers: dict[int, list[Message]] = {}
    for each in messages:
        if each.role == Role.ASSISTANT:
            answers.setdefault(each.turn, []).append(each)
    spans = {turn: _spans(answer, since) for turn, answer in answers.items()}
    return [
        Said(each, spans[each.turn][each.seq] if each.role == Role.ASSISTANT else _at(each, since))
        for each in messages
        if _is_said(each)
    ]


def _is_said(message: Message) -> bool:
    is_by_somebody = message.role in (Role.USER, Role.ASSISTANT)
    return is_by_somebody and bool(message.shown_text or message.generated_text)


def _at(message: Message, since: datetime.datetime) -> Span:
    at_ms = _ms_after(since, message.created_at)
    return Span(at_ms, at_ms)


def _spans(answer: Sequence[Message], since: datetime.datetime) -> dict[int, Span]:
    """Of each piece of an answer, by its place in the conversation."""
    said = [each.seq for each in answer if _is_said(each)]
    last = answer[-1]
    end_ms = _ms_after(since, last.created_at)
    first_text_ms, total_ms = last.metrics.get("first_text_ms"), last.metrics.get("total_ms")
    start_ms = None
    if first_text_ms is not None and total_ms is not None:
        start_ms = max(0, end_ms - total_ms + first_text_ms)
    return {
        seq: Span(
            start_ms if seq == said[0] else None,
            end_ms if seq == said[-1] else None,
        )
        for seq in said
    }


def _ms_after(since: datetime.datetime, at: datetime.datetime) -> int:
    return max(0, round((at - since) / _MILLISECOND))
