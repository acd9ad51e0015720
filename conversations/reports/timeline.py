"""What happened in a turn, as the rows of a timeline. Pure: a run's events or messages in.

The log of a run knows when everything began and ended. Where there is none (a voice call, a run
that was deleted since), messages tell what they know: rows whose place nobody noted have none.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from conversations.types import MessageEntry

Kind = Literal[
    "user", "wait", "model", "thinking", "text", "tool", "search", "audio", "notice", "end"
]
Outcome = Literal["", "bad", "open"]

# Waiting that nobody notices is not told.
LEAST_WAIT_MS = 100
# Events that only go with others, or that are told by their beginning and end.
SILENT = frozenset(
    {"tool_preparing", "conversation_resolved", "file_tree_update", "text_chunk", "thinking_chunk"}
)

# Ends that nobody wrote who worked on the run: its process was gone.
LOST_CODES = frozenset({"worker_lost", "process_lost"})

_ENDS = {
    "task_complete": gettext_lazy("Done"),
    "task_stopped": gettext_lazy("Stopped"),
    "error": gettext_lazy("Failed"),
}
_NOTICES = {
    "conversation_changed": gettext_lazy("The conversation was named"),
    "todo_updated": gettext_lazy("To-do list changed"),
    "system_message": gettext_lazy("Notice"),
    "modify_payload": gettext_lazy("File written"),
    "append_payload": gettext_lazy("File added to"),
}
# Where the time of a spoken turn goes until the first sound, one after the other, with the name
# of each among the metrics of the answer.
_STAGES: tuple[tuple[str, Kind, Any], ...] = (
    ("eot_ms", "wait", gettext_lazy("Waited for the end of speech")),
    ("asr_ms", "audio", gettext_lazy("Recognised")),
    ("knowledge_ms", "search", gettext_lazy("Knowledge")),
    ("llm_ttft_ms", "model", gettext_lazy("Model until its first words")),
    ("tts_ttfb_ms", "audio", gettext_lazy("Voice until its first sound")),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """An event of a run's log, with those of its data that timelines show, shortened.

    `before` is when what stands before it was written, where it matters: of events that say that
    a process is gone. `status` is how a call went, or why the run failed.
    """

    type: str
    at: datetime.datetime
    before: datetime.datetime | None = None
    id: str = ""
    name: str = ""
    text: str = ""
    status: str = ""
    message: str = ""
    code: int | None = None
    attempt: int = 1
    max_attempts: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    sources: int = 0
    duration_ms: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that happened. Times in milliseconds, from the start of the turn.

    Without a duration it is a moment; without a start nobody knows when it was. `text` is what was
    said or asked, `note` are figures. An open row is still going on.
    """

    kind: Kind
    label: str
    start_ms: int | None = None
    duration_ms: int | None = None
    text: str = ""
    note: str = ""
    outcome: Outcome = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Timeline:
    """The rows in the order of their beginnings, and what the whole took."""

    rows: tuple[Row, ...]
    total_ms: int
    is_cut: bool = False

    @property
    def from_ms(self) -> int:
        """Where the line begins: with the turn, or with what is left of it."""
        starts = [row.start_ms for row in self.rows if row.start_ms is not None]
        return min(starts) if self.is_cut and starts else 0


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """A row with its place on the line, in percent of the whole; none where it has no start."""

    row: Row
    left: float | None
    width: float


def bars(timeline: Timeline) -> tuple[Bar, ...]:
    """The rows as they are drawn."""
    began = timeline.from_ms
    whole = max(1, timeline.total_ms - began)
    return tuple(_bar(row, began, whole) for row in timeline.rows)


def _bar(row: Row, began: int, whole: int) -> Bar:
    if row.start_ms is None:
        return Bar(row, None, 0.0)
    left = min(100.0, 100 * (row.start_ms - began) / whole)
    width = min(100.0 - left, 100 * (row.duration_ms or 0) / whole)
    return Bar(row, round(left, 2), round(width, 2))


# --- From the log of a run ---------------------------------------------------------------------


def of_log(
    events: Iterable[LoggedEvent],
    *,
    began_at: datetime.datetime,
    now: datetime.datetime | None = None,
    is_cut: bool = False,
) -> Timeline:
    """The timeline of a run that began then. `now` is given of one that still goes on."""
    log = _Log(began_at)
    for event in events:
        log.push(event)
    return log.timeline(now, is_cut=is_cut)


class _Log:
    """Rows as the events pass by; what has begun is kept open by a key."""

    def __init__(self, began_at: datetime.datetime) -> None:
        self._began_at = began_at
        self._rows: list[Row] = []
        self._open: dict[str, int] = {}
        self._last_ms = 0
        self._has_begun = False
        # What the next call of a tool is for, where the model said so.
        self._intent = ""

    def push(self, event: LoggedEvent) -> None:
        at = self._last_ms = max(self._last_ms, self._ms(event.at))
        match event.type:
            case kind if kind in SILENT:
                return
            case "user_message":
                self._add(Row(kind="user", label=_("Asked"), start_ms=at, text=event.text))
                self._wait(at)
            case "ai_message_start":
                self._has_begun = True
                self._end_wait(at)
                # What an earlier attempt left open ended with its process.
                self._end_all(at, outcome="bad")
            case "api_request_start":
                self._model_asked(event, at)
            case "token_update":
                self._model_answered(event, at)
            case "thinking_start":
                self._said_first(at)
                self._begin("thinking", Row(kind="thinking", label=_("Thinking")), at)
            case "text_start":
                self._said_first(at)
                self._begin("text", Row(kind="text", label=_("Answer")), at)
            case "thinking_end" | "text_end":
                self._end(event.type.removesuffix("_end"), at, text=event.text)
            case "stream_reset":
                self._broken_off(event, at)
            case "system_message" if self._has_begun:
                # Once a run has begun, notices are about its being begun anew.
                self._lost(event, at)
                row = Row(kind="notice", label=_("Restarted"), start_ms=at, text=event.message)
                self._add(row)
            case "tool_intent":
                self._intent = event.text
            case "tool_start":
                row = Row(kind="tool", label=event.name, text=event.text, note=self._intent)
                self._begin(f"tool:{event.id}", row, at)
                self._intent = ""
            case "update_action":
                self._tool_returned(event, at)
            case "sources":
                self._searched(event, at)
            case "task_complete" | "task_stopped" | "error":
                self._finished(event, at)
            case _:
                label = str(_NOTICES.get(event.type) or _("Something else"))
                note = "" if event.type in _NOTICES else event.type
                text = event.message or event.text
                self._add(Row(kind="notice", label=label, start_ms=at, text=text, note=note))

    def timeline(self, now: datetime.datetime | None, *, is_cut: bool) -> Timeline:
        if now is None:
            self._end_all(self._last_ms)
        else:
            self._last_ms = max(self._last_ms, self._ms(now))
            self._end_all(self._last_ms, outcome="open")
        return Timeline(tuple(self._rows), self._last_ms, is_cut)

    # --- Kinds of events ---------------------------------------------------------------------

    def _wait(self, at: int) -> None:
        self._begin("wait", Row(kind="wait", label=_("Waiting for a worker")), at)

    def _broken_off(self, event: LoggedEvent, at: int) -> None:
        """An answer is void: its model fell silent, or the process that read it is gone."""
        if event.attempt == 1:
            at = self._lost(event, at)
        for key in ("thinking", "text", "model"):
            self._end(key, at, outcome="bad")
        text = _("What was said until then is void.")
        row = Row(kind="notice", label=_("Broken off"), start_ms=at, text=text, outcome="bad")
        # It happened before the waiting that it began.
        self._insert_before_wait(row)

    def _lost(self, event: LoggedEvent, at: int) -> int:
        """Ends all with its process, from which on the run waits; when that was."""
        if "wait" in self._open:
            return at
        gone = at if event.before is None else min(at, self._ms(event.before))
        for key in list(self._open):
            start = self._rows[self._open[key]].start_ms or 0
            self._end(key, max(start, gone), outcome="bad")
        self._wait(gone)
        return gone

    def _model_asked(self, event: LoggedEvent, at: int) -> None:
        self._end_wait(at)
        self._end("model", at, outcome="bad")
        attempts = {"number": event.attempt, "most": event.max_attempts}
        note = _("attempt %(number)d of %(most)d") % attempts if event.attempt > 1 else ""
        self._begin("model", Row(kind="model", label=_("Model"), note=note), at)

    def _said_first(self, at: int) -> None:
        """Notes how long the model took to its first words."""
        index = self._open.get("model")
        if index is not None and not self._rows[index].text:
            row = self._rows[index]
            after = _("first words after %(ms)d ms") % {"ms": at - (row.start_ms or 0)}
            self._rows[index] = dataclasses.replace(row, text=after)

    def _model_answered(self, event: LoggedEvent, at: int) -> None:
        index = self._open.get("model")
        if index is None:
            return
        row = self._rows[index]
        figures = {"read": event.input_tokens, "written": event.output_tokens}
        tokens = _("%(read)d → %(written)d tokens") % figures
        note = " · ".join(part for part in (row.note, event.name, tokens) if part)
        self._rows[index] = dataclasses.replace(row, note=note)
        self._end("model", at)

    def _tool_returned(self, event: LoggedEvent, at: int) -> None:
        is_bad = event.status == "failed"
        took = event.duration_ms
        note = " ".join(part for part in (str(event.code or ""), event.message) if part)
        if event.status == "cancelled":
            note = _("cancelled")
        key = f"tool:{event.id}"
        if key in self._open:
            index = self._open[key]
            self._end(key, at, outcome="bad" if is_bad else "", note=note if note != "200" else "")
            self._measured(index, took)
            return
        # A call that was refused, and never ran.
        label = event.name or _("Tool")
        outcome: Outcome = "bad" if is_bad else ""
        self._add(Row(kind="tool", label=label, start_ms=at, note=note, outcome=outcome))

    def _measured(self, index: int, took: int | None) -> None:
        """Puts what was measured in the place of the time between two writings of the log."""
        row = self._rows[index]
        if took is not None:
            end = (row.start_ms or 0) + (row.duration_ms or 0)
            start = max(0, min(row.start_ms or 0, end - took))
            self._rows[index] = dataclasses.replace(row, start_ms=start, duration_ms=took)

    def _searched(self, event: LoggedEvent, at: int) -> None:
        took = event.duration_ms or 0
        note = _sources(event.sources)
        row = Row(
            kind="search",
            label=_("Knowledge"),
            start_ms=max(0, at - took),
            duration_ms=took,
            note=note,
        )
        self._add(row)

    def _finished(self, event: LoggedEvent, at: int) -> None:
        if event.status in LOST_CODES:
            self._lost(event, at)
        self._end_wait(at)
        self._end_all(at)
        label = str(_ENDS[event.type])
        outcome: Outcome = "bad" if event.type == "error" else ""
        text = event.message if event.type == "error" else ""
        self._add(Row(kind="end", label=label, start_ms=at, text=text, outcome=outcome))

    # --- Rows ----------------------------------------------------------------------------------

    def _ms(self, at: datetime.datetime) -> int:
        return max(0, round((at - self._began_at).total_seconds() * 1000))

    def _add(self, row: Row) -> None:
        self._rows.append(row)

    def _insert_before_wait(self, row: Row) -> None:
        index = self._open.get("wait")
        if index is None:
            self._add(row)
            return
        self._rows.insert(index, row)
        self._open["wait"] = index + 1

    def _begin(self, key: str, row: Row, at: int) -> None:
        self._end(key, at)
        self._open[key] = len(self._rows)
        self._add(dataclasses.replace(row, start_ms=at))

    def _end(
        self, key: str, at: int, *, outcome: Outcome = "", text: str = "", note: str = ""
    ) -> None:
        index = self._open.pop(key, None)
        if index is None:
            return
        row = self._rows[index]
        self._rows[index] = dataclasses.replace(
            row,
            duration_ms=at - (row.start_ms or 0),
            outcome=outcome or row.outcome,
            text=text or row.text,
            note=note or row.note,
        )

    def _end_wait(self, at: int) -> None:
        index = self._open.get("wait")
        self._end("wait", at)
        # Nothing else can have begun while the run waited for somebody to work on it.
        is_last = index is not None and index == len(self._rows) - 1
        if is_last and (self._rows[-1].duration_ms or 0) < LEAST_WAIT_MS:
            self._rows.pop()

    def _end_all(self, at: int, *, outcome: Outcome = "") -> None:
        for key in list(self._open):
            self._end(key, at, outcome=outcome)


# --- From messages -----------------------------------------------------------------------------


def of_messages(entries: Sequence[MessageEntry]) -> Timeline:
    """The timeline of a turn whose run is not there, or which had none."""
    starts = [entry.start_ms for entry in entries if entry.start_ms is not None]
    rows = list(_spoken(entries, min(starts)) if starts else _written(entries))
    rows += _unplaced(entries)
    ends = [row.start_ms + (row.duration_ms or 0) for row in rows if row.start_ms is not None]
    return Timeline(tuple(rows), max(ends, default=0))


def _spoken(entries: Sequence[MessageEntry], began_ms: int) -> Iterator[Row]:
    """A turn of a call: what was said, the way to the first sound, and the answer."""
    for entry in entries:
        if entry.role == "user" and entry.start_ms is not None:
            yield _said(entry, began_ms)
    heard = [entry.end_ms for entry in entries if entry.role == "user" and entry.end_ms is not None]
    answers = [entry for entry in entries if entry.role == "assistant"]
    metrics = _metrics(answers)
    asked = (max(heard) if heard else began_ms) - began_ms
    at = asked
    for name, kind, label in _STAGES:
        if name in metrics:
            took = metrics[name]
            yield Row(kind=kind, label=str(label), start_ms=at, duration_ms=took)
            at += took
    text = " ".join(entry.text for entry in answers if entry.text)
    ends = [entry.end_ms for entry in answers if entry.end_ms is not None]
    if text and ends:
        starts = [entry.start_ms for entry in answers if entry.start_ms is not None]
        first = asked + metrics["v2v_ms"] if "v2v_ms" in metrics else at
        start = max(first, min(starts) - began_ms if starts else 0)
        took = max(0, max(ends) - began_ms - start)
        is_cut_off = any(entry.is_interrupted for entry in answers)
        note = _("interrupted") if is_cut_off else ""
        label = _("Answer")
        yield Row(kind="text", label=label, start_ms=start, duration_ms=took, text=text, note=note)


def _said(entry: MessageEntry, began_ms: int) -> Row:
    start = (entry.start_ms or 0) - began_ms
    took = max(0, (entry.end_ms or 0) - (entry.start_ms or 0))
    if not took:
        return Row(kind="user", label=_("Written"), start_ms=start, text=entry.text)
    note = "" if entry.confidence is None else f"{entry.confidence:.0%}"
    return Row(
        kind="audio",
        label=_("Spoken"),
        start_ms=start,
        duration_ms=took,
        text=entry.text,
        note=note,
    )


def _written(entries: Sequence[MessageEntry]) -> Iterator[Row]:
    """A turn of a chat or task, as far as its messages tell it."""
    asked = [entry.text for entry in entries if entry.role == "user"]
    if asked:
        yield Row(kind="user", label=_("Asked"), start_ms=0, text=asked[0])
    metrics = _metrics([entry for entry in entries if entry.role == "assistant"])
    total = metrics.get("total_ms")
    if total is None:
        return
    first = min(total, metrics.get("first_text_ms", total))
    yield Row(kind="model", label=_("Until the first words"), start_ms=0, duration_ms=first)
    if first < total:
        yield Row(kind="text", label=_("Answer"), start_ms=first, duration_ms=total - first)


def _unplaced(entries: Iterable[MessageEntry]) -> Iterator[Row]:
    """What happened at a time that nobody noted: tools, sources, errors."""
    for entry in entries:
        if (outcome := entry.outcome) is not None:
            yield Row(
                kind="tool",
                label=outcome.name,
                duration_ms=outcome.duration_ms,
                note=f"{outcome.code} {outcome.message}" if outcome.is_error else "",
                outcome="bad" if outcome.is_error else "",
            )
        if entry.citations:
            note = _sources(len(entry.citations))
            yield Row(kind="search", label=_("Sources"), note=note)
        if entry.error:
            yield Row(kind="end", label=_("Failed"), text=entry.error, outcome="bad")


def _metrics(answers: Sequence[MessageEntry]) -> dict[str, int]:
    """The times of the turn: those of the last of its messages that has any."""
    return next((entry.metrics for entry in reversed(answers) if entry.metrics), {})


def _sources(number: int) -> str:
    return ngettext("%(n)d source", "%(n)d sources", number) % {"n": number}
