"""Timelines and states as the pages show them, and as they are refreshed (console/live.js)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from conversations.models import Call, CallStatus, Channel, Message, Role, Run, RunStatus
from conversations.reports import timeline
from conversations.reports.timeline import Bar, Timeline
from conversations.runs.steps import Steps, ending, said_so_far, steps_of
from tooling.admin.charts import duration_text

MAX_KEYS = 100
# What a page shows of one run's course.
MAX_STEPS = 1_000
MAX_ANSWER_CHARS = 20_000
COLOURS: Mapping[str, str] = {
    RunStatus.PENDING: "default",
    RunStatus.RUNNING: "info",
    RunStatus.CANCEL_REQUESTED: "warning",
    RunStatus.SUCCEEDED: "success",
    RunStatus.FAILED: "danger",
    RunStatus.CANCELED: "warning",
}
CALL_COLOURS: Mapping[str, str] = {
    CallStatus.CONNECTED: "success",
    CallStatus.MISSED: "warning",
    CallStatus.FAILED: "danger",
}
ICONS: Mapping[timeline.Kind, str] = {
    "user": "person",
    "wait": "hourglass_empty",
    "model": "psychology",
    "thinking": "lightbulb",
    "text": "chat",
    "tool": "construction",
    "search": "menu_book",
    "audio": "graphic_eq",
    "notice": "info",
    "end": "flag",
}


# --- States --------------------------------------------------------------------------------------


def run_state(run: Run) -> SafeString:
    """Status and error of a run, in a line or two, with its time while it goes on."""
    took = took_of(run)
    return render_to_string(
        "conversations/run_state.html",
        {
            "run": run,
            "colour": COLOURS[run.status],
            "is_open": not run.is_over,
            "took": took if run.started_at and not run.is_over else "",
        },
    )


def call_words(call: Call) -> str:
    """How a call went; of a chat or task, how its last answer did."""
    is_spoken = call.channel == Channel.VOICE or call.status == CallStatus.FAILED
    return call.get_status_display() if is_spoken else _("Answered")


def call_state(call: Call) -> SafeString:
    """How it went, in colour, and what went wrong."""
    return format_html(
        '<div class="document-state"><div>{}</div>{}</div>',
        label(CALL_COLOURS[call.status], call_words(call)),
        format_html('<p class="state-bad">{}</p>', call.error_message)
        if call.error_message
        else "",
    )


def label(colour: str, text: str) -> SafeString:
    """A few words in a coloured box."""
    return render_to_string("unfold/helpers/label.html", {"type": colour, "text": text})


def took_of(run: Run) -> str:
    """How long somebody worked on it, up to now; a dash where nobody did."""
    if run.started_at is None:
        return "-"
    return duration_text(ms_between(run.started_at, run.finished_at or timezone.now()))


def ms_between(start: datetime.datetime, end: datetime.datetime) -> int:
    return max(0, round((end - start).total_seconds() * 1000))


# --- The course of a run -------------------------------------------------------------------------


def run_timeline(run: Run, steps: Steps) -> Timeline:
    """The timeline of a run from these steps of its log."""
    return timeline.of_log(
        steps.events,
        began_at=run.created_at,
        now=None if run.is_over else timezone.now(),
        is_cut=steps.is_cut,
    )


def drawn(course: Timeline, *, is_open: bool = False) -> SafeString:
    """A timeline as a waterfall."""
    context = {
        "rows": [_row(bar) for bar in timeline.bars(course)],
        "total": duration_text(course.total_ms),
        "first": duration_text(course.from_ms) if course.from_ms else "0",
        "half": duration_text(round((course.from_ms + course.total_ms) / 2)),
        "is_cut": course.is_cut,
        "is_open": is_open,
    }
    return render_to_string("conversations/timeline.html", context)


def _row(bar: Bar) -> dict[str, Any]:
    row = bar.row
    return {
        "row": row,
        "icon": ICONS[row.kind],
        # For style sheets, which know no decimal comma.
        "left": None if bar.left is None else f"{min(bar.left, 99.5):.2f}",
        "width": f"{bar.width:.2f}",
        "at": "" if row.start_ms is None else f"+{duration_text(row.start_ms)}",
        "took": "" if row.duration_ms is None else duration_text(row.duration_ms),
    }


def run_steps(run: Run) -> SafeString:
    """The course of a run so far."""
    steps = steps_of([run.pk], most=MAX_STEPS)[run.pk]
    return drawn(run_timeline(run, steps), is_open=not run.is_over)


def run_figures(run: Run) -> SafeString:
    """What the run has taken so far: time, tokens, events."""
    context = {"run": run, "took": took_of(run), "is_open": not run.is_over}
    return render_to_string("conversations/run_figures.html", context)


def run_words(run: Run) -> SafeString:
    """What the run answers: as far as it is written, or as it was kept."""
    text = answer_of(run) if run.is_over else said_so_far(run.pk)
    context = {"run": run, "text": text, "is_open": not run.is_over}
    return render_to_string("conversations/run_words.html", context)


def answer_of(run: Run) -> str:
    """The assistant's words of the run's turn, as much as a page shows."""
    rows = Message.objects.filter(
        conversation_id=run.conversation_id, turn=run.turn, role=Role.ASSISTANT
    ).exclude(text="")
    # Of an answer with many steps, the last words are the answer.
    texts = list(rows.order_by("-seq").values_list("text", flat=True)[:20])
    return ending("\n\n".join(reversed(texts)), MAX_ANSWER_CHARS)


# --- Refreshing ----------------------------------------------------------------------------------

DRAWINGS: Mapping[str, Any] = {
    "task": run_state,
    "figures": run_figures,
    "steps": run_steps,
    "words": run_words,
}


def live(request: HttpRequest) -> JsonResponse:
    """The present drawings for the keys that a page asks for; what is gone is missing."""
    wanted = [key for key in map(_key, request.GET.getlist("key")[:MAX_KEYS]) if key is not None]
    rows = Run.objects.in_bulk({run_id for _kind, run_id in wanted})
    return JsonResponse(
        {
            f"{kind}:{run_id}": DRAWINGS[kind](rows[run_id])
            for kind, run_id in wanted
            if run_id in rows
        }
    )


def _key(text: str) -> tuple[str, UUID] | None:
    kind, _colon, run_id = text.partition(":")
    try:
        return (kind, UUID(run_id)) if kind in DRAWINGS else None
    except ValueError:
        return None


def live_state(run: Run) -> SafeString:
    """The state of a run, marked to be refreshed."""
    return format_html('<div data-live="task:{}">{}</div>', run.pk, run_state(run))
