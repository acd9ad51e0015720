"""Conversations of tasks as their lists and pages show them, in a fixed number of queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import cast

from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from conversations.background import guidance
from conversations.models import Conversation, Message, Personalization, Role, Run, RunStatus
from conversations.types import PersonalizationRow, RunModeName, SettingsRow
from providers.specs import default_llm


@dataclasses.dataclass(frozen=True, slots=True)
class Manner:
    """How the conversation is carried on, where the next message does not say otherwise."""

    run_mode: RunModeName
    model_key: str | None
    prompt_name: str | None
    personalization_name: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Overview:
    """A conversation in a list."""

    row: Conversation
    manner: Manner
    messages_count: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Figures over a conversation's messages."""

    messages: int
    tools: int
    input_tokens: int
    output_tokens: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """A conversation by itself; `active_task_id` is that of the task that works on it now."""

    row: Conversation
    manner: Manner
    totals: Totals
    active_task_id: str | None
    messages: tuple[Message, ...] | None


def overviews(rows: QuerySet[Conversation], *, first: int, count: int) -> list[Overview]:
    """A part of the conversations of one user."""
    counted = (
        Message.objects.filter(conversation=OuterRef("pk"))
        .order_by()
        .values("conversation")
        .values(total=Count("*"))
    )
    page = list(
        rows.select_related("assistant").annotate(messages_count=Coalesce(Subquery(counted), 0))[
            first : first + count
        ]
    )
    manners = _manners(page)
    return [
        Overview(row, manner, row.messages_count) for row, manner in zip(page, manners, strict=True)
    ]


def details(row: Conversation, *, is_full: bool) -> Details:
    """The conversation with its figures; `is_full` adds all that was said."""
    (manner,) = _manners([row])
    active = Run.objects.filter(conversation_id=row.pk, status__in=RunStatus.active())
    active_id = active.values_list("pk", flat=True).first()
    return Details(
        row=row,
        manner=manner,
        totals=_totals(row),
        active_task_id=str(active_id) if active_id else None,
        messages=tuple(row.messages.order_by("seq")) if is_full else None,
    )


def _totals(row: Conversation) -> Totals:
    found = row.messages.aggregate(
        messages=Count("*"),
        tools=Count("pk", filter=Q(role=Role.TOOL)),
        input_tokens=Coalesce(Sum(F("input_tokens")), 0),
        output_tokens=Coalesce(Sum(F("output_tokens")), 0),
    )
    return Totals(**found)


def _manners(rows: Sequence[Conversation]) -> list[Manner]:
    """How each of one user's conversations is carried on."""
    if not rows:
        return []
    owner_id = rows[0].owner_id
    liked = _personalizations(owner_id, (_settings(row) for row in rows))
    manners = [_manner(row, liked) for row in rows]
    if all(manner.model_key for manner in manners):
        return manners
    usual = default_llm(owner_id)
    usual_key = usual.pk if usual else None
    return [
        manner if manner.model_key else dataclasses.replace(manner, model_key=usual_key)
        for manner in manners
    ]


def _manner(row: Conversation, liked: dict[str, PersonalizationRow]) -> Manner:
    kept = _settings(row)
    name = kept.get("personalization_name") or None
    personalization = liked.get(name or "")
    chosen = kept.get("model_key") or guidance.in_force(personalization).get("default_model")
    return Manner(
        run_mode=guidance.run_mode(
            None, thinks=None, kept=kept.get("run_mode"), personalization=personalization
        ),
        model_key=chosen or (row.assistant.llm_id if row.assistant else None),
        prompt_name=kept.get("prompt_name") or None,
        personalization_name=name,
    )


def _personalizations(
    owner_id: int | None, settings: Iterable[SettingsRow]
) -> dict[str, PersonalizationRow]:
    names = {name for kept in settings if (name := kept.get("personalization_name"))}
    if not names or owner_id is None:
        return {}
    found = Personalization.objects.filter(owner_id=owner_id, name__in=names)
    return dict(found.values_list("name", "content"))


def _settings(row: Conversation) -> SettingsRow:
    return cast(SettingsRow, row.settings)
