"""What a user's answers took, by day, agent and model, worked out by the database."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

from django.db.models import Count, Exists, OuterRef, QuerySet, Sum
from django.db.models.functions import Collate, TruncDate
from django.utils import timezone

from accounts.principals import Principal
from conversations.models import Conversation, Message, Role


@dataclasses.dataclass(frozen=True, slots=True)
class Used:
    """What one agent's answers took on one day with one model."""

    day: datetime.date
    agent: str
    model: str
    answers: int
    input_tokens: int
    output_tokens: int


def usage_of(
    principal: Principal, *, days: int, agent: str = "", model: str = ""
) -> Iterator[Used]:
    """The principal's usage of the last days, oldest first, on every channel; operators' too is
    only their own.
    """
    since = timezone.now() - datetime.timedelta(days=days)
    answers = _answers_of(principal).filter(created_at__gte=since)
    if agent:
        answers = answers.filter(conversation__assistant_name=agent)
    if model:
        answers = answers.filter(model_name=model)
    # Half a million names are sorted by their bytes in half the time that a language's order takes.
    rows = (
        answers.values(
            day=TruncDate("created_at"),
            agent=Collate("conversation__assistant_name", "C"),
            model=Collate("model_name", "C"),
        )
        # Not of a column: the index that has the others does not have the key.
        .annotate(answers=Count("*"), read=Sum("input_tokens"), written=Sum("output_tokens"))
        .order_by("day", "agent", "model")
    )
    for row in rows:
        yield Used(
            row["day"], row["agent"], row["model"], row["answers"], row["read"], row["written"]
        )


def used_models(principal: Principal) -> list[str]:
    """The names of the models that answered the principal."""
    names = _answers_of(principal).values_list("model_name", flat=True)
    return list(names.order_by("model_name").distinct())


def used_agents(principal: Principal) -> list[str]:
    """The names of the agents that answered the principal, as they were then."""
    answer = _ANSWERS.filter(conversation_id=OuterRef("pk"))
    names = Conversation.objects.filter(Exists(answer), owner_id=principal.user_id)
    return list(
        names.values_list("assistant_name", flat=True).order_by("assistant_name").distinct()
    )


# The last message of an answer names the model and what the whole answer took.
_ANSWERS: QuerySet[Message] = Message.objects.filter(role=Role.ASSISTANT).exclude(model_name="")


def _answers_of(principal: Principal) -> QuerySet[Message]:
    return _ANSWERS.filter(conversation__owner_id=principal.user_id).order_by()
