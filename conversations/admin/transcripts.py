"""A conversation as it is read: turn by turn, with what happened in each."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Max, QuerySet
from django.db.models.functions import Left, Length
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from conversations.admin import drawing
from conversations.admin.links import TURNS_PER_PAGE
from conversations.models import Conversation, Message, Role, Run
from conversations.reports import timeline
from conversations.runs.steps import Steps, steps_of
from conversations.types import CitationRow
from tooling.admin.charts import duration_text

# Of one text, of one page, and of the course of one turn.
MAX_CHARS = 12_000
MAX_MESSAGES = 600
MAX_STEPS = 80


@dataclasses.dataclass(frozen=True, slots=True)
class ShownCall:
    """A call of a tool with what came back, if anything did."""

    name: str
    arguments: str
    result: Message | None

    @property
    def outcome(self) -> dict[str, Any]:
        return (self.result and self.result.tool_result) or {}

    @property
    def output(self) -> str:
        """What came back; a failure that says no more than its message says it once."""
        text = self.result.text if self.result else ""
        return "" if self.is_error and text == self.outcome.get("message") else neat(text)

    @property
    def took(self) -> str:
        return duration_text(int(self.outcome.get("duration_ms") or 0))

    @property
    def is_error(self) -> bool:
        return int(self.outcome.get("code") or 0) >= 400


@dataclasses.dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message of the user or the assistant, with the calls that it made."""

    message: Message
    calls: tuple[ShownCall, ...]

    @property
    def sources(self) -> list[tuple[int, str, str]]:
        return [(row["index"], source_name(row), row["text"]) for row in self.message.citations]

    @property
    def not_heard(self) -> str:
        message = self.message
        return message.generated_text[len(message.text) :] if message.is_interrupted else ""

    @property
    def is_cut(self) -> bool:
        return bool(getattr(self.message, "chars", 0) > MAX_CHARS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShownTurn:
    """A turn: its messages, its run where there is one, and its course."""

    number: int
    at: datetime.datetime
    messages: tuple[ShownMessage, ...]
    run: Run | None
    state: SafeString | str
    course: SafeString
    steps: int
    took: str
    model: str
    tokens: int
    is_bad: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Transcript:
    """One page of the turns of a conversation."""

    turns: tuple[ShownTurn, ...]
    page: int
    pages: int
    is_cut: bool


def transcript_of(conversation: Conversation, page: int) -> Transcript:
    """The page of that number, counted from 1; one that there is not is the nearest."""
    last = conversation.messages.aggregate(last=Max("turn"))["last"] or 0
    pages = last // TURNS_PER_PAGE + 1
    page = min(max(1, page), pages)
    first = (page - 1) * TURNS_PER_PAGE
    rows = conversation.messages.filter(turn__gte=first, turn__lt=first + TURNS_PER_PAGE)
    messages = _loaded(rows)
    runs = {
        run.turn: run
        for run in conversation.runs.filter(turn__gte=first, turn__lt=first + TURNS_PER_PAGE)
        .defer("request")
        .order_by("created_at")
    }
    steps = steps_of([run.pk for run in runs.values()], most=MAX_STEPS)
    turns: dict[int, list[Message]] = {number: [] for number in runs}
    for message in messages[:MAX_MESSAGES]:
        turns.setdefault(message.turn, []).append(message)
    shown = tuple(_turn(number, turns[number], runs.get(number), steps) for number in sorted(turns))
    return Transcript(shown, page, pages, is_cut=len(messages) > MAX_MESSAGES)


def _loaded(rows: QuerySet[Message]) -> list[Message]:
    """The messages, with as much of their texts as is shown: a tool may return megabytes."""
    cut = rows.defer("text", "generated_text").annotate(
        shown=Left("text", MAX_CHARS),
        generated=Left("generated_text", MAX_CHARS),
        chars=Length("text"),
    )
    messages: list[Any] = list(cut.order_by("seq")[: MAX_MESSAGES + 1])
    for message in messages:
        message.text, message.generated_text = message.shown, message.generated
    return messages


def _turn(
    number: int, messages: Sequence[Message], run: Run | None, steps: dict[Any, Steps]
) -> ShownTurn:
    if run is not None and steps[run.pk].events:
        course = drawing.run_timeline(run, steps[run.pk])
    else:
        course = timeline.of_messages([message.entry() for message in messages])
    answers = [message for message in messages if message.role == Role.ASSISTANT]
    is_bad = any(message.error for message in messages) or bool(run and run.error_code)
    return ShownTurn(
        number=number,
        at=messages[0].created_at if messages else run.created_at if run else _NEVER,
        messages=_shown(messages),
        run=run,
        state=drawing.live_state(run) if run else "",
        course=drawing.drawn(course),
        steps=len(course.rows),
        took=duration_text(course.total_ms) if course.total_ms else "",
        model=next((row.model_name for row in reversed(answers) if row.model_name), ""),
        tokens=sum(row.input_tokens + row.output_tokens for row in answers),
        is_bad=is_bad,
    )


_NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)


def _shown(messages: Iterable[Message]) -> tuple[ShownMessage, ...]:
    """Messages with the calls in them; a result whose call is not there stands by itself."""
    results: dict[str, list[Message]] = {}
    spoken: list[Message] = []
    for message in messages:
        if message.role == Role.TOOL:
            results.setdefault((message.tool_result or {}).get("call_id", ""), []).append(message)
        else:
            spoken.append(message)
    shown = []
    for message in spoken:
        calls = [
            ShownCall(call["name"], neat(call["arguments"]), _next(results, call["id"]))
            for call in message.tool_calls
        ]
        shown.append(ShownMessage(message, tuple(calls)))
    shown += [
        ShownMessage(row, (ShownCall((row.tool_result or {}).get("name", ""), "", row),))
        for left in results.values()
        for row in left
    ]
    return tuple(shown)


def _next(results: dict[str, list[Message]], call_id: str) -> Message | None:
    """The result of the call; some models number the calls of each answer from the start."""
    waiting = results.get(call_id)
    return waiting.pop(0) if waiting else None


def source_name(row: CitationRow) -> str:
    """A source as it is named: document, page, score."""
    parts = [row["document"]]
    if row["page"] is not None:
        parts.append(_("page %(number)d") % {"number": row["page"]})
    if row["score"] is not None:
        parts.append(f"{row['score']:.2f}")
    return " · ".join(parts)


def neat(text: str) -> str:
    """JSON over several lines; any other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
