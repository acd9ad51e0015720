"""A turn as the tasks family tells it (contract: tasks, §3). Pure.

Everything but the last event comes from the encoder; that one is part of the run's outcome, as it
is written together with the final status. The log numbers events and pieces of text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Literal, assert_never

from django.utils.translation import gettext as _

from conversations.encoding import Turn
from conversations.events import (
    Citation,
    Cited,
    Linked,
    ModelAnswered,
    ModelAsked,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from conversations.models import RunStatus
from conversations.runs.types import NewEvent, Outcome, stopped
from providers.types import Usage

_Block = Literal["text", "thinking"]


class TaskEncoder:
    """Encodes one run. `before` are the tokens that the conversation had taken until then.

    `mark` makes ids of tool calls different from those of an earlier attempt at the run.
    """

    def __init__(self, *, before: Usage = Usage(), mark: str = "") -> None:  # noqa: B008 - frozen
        self._tokens = before
        self._counted = Usage()
        self._mark = mark
        self._iteration = 0
        self._calls = 0
        self._block: _Block | None = None
        self._content: list[str] = []
        # Whether the present call of the model has brought anything yet.
        self._has_said = False
        self._open: dict[str, str] = {}

    def encode(self, event: TurnEvent) -> Iterable[NewEvent]:
        """The events to append for this one, in order."""
        match event:
            case TurnStarted():
                return [NewEvent("ai_message_start")]
            case ModelAsked():
                return self._asked(event)
            case ModelAnswered():
                return [*self._close_block(), self._count(event)]
            case TextDelta():
                return self._delta("text", event.text)
            case ThinkingDelta():
                return self._delta("thinking", event.text)
            case ToolCalled():
                return self._called(event)
            case ToolReturned():
                return self._returned(event)
            case Cited():
                return [_cited(event)] if event.citations else []
            case Linked():
                return []
            case TurnFinished() | TurnFailed():
                return self._ended(event)
            case _:
                assert_never(event)

    def close(self) -> Iterable[NewEvent]:
        """Ends what is open when a turn breaks off: a text, calls of tools."""
        yield from self._close_block()
        for call_id, action_id in self._open.items():
            yield NewEvent(
                "update_action",
                {"id": action_id, "status": "cancelled", "result": "", "preparing_id": call_id},
            )
        self._open.clear()

    def _asked(self, event: ModelAsked) -> Iterator[NewEvent]:
        self._iteration = event.number
        attempts = {"attempt": event.attempt, "max_attempts": event.max_attempts}
        if event.attempt > 1 and self._has_said:
            # What was open is not ended: it is void.
            self._block, self._content = None, []
            yield NewEvent("stream_reset", attempts)
        self._has_said = False
        # What it reads, as far as can be told before it has: nobody tells it of a call that is cut.
        asked = {"model": event.model_name, "prompt_tokens": event.prompt_tokens}
        yield NewEvent("api_request_start", {**attempts, **asked})

    def _delta(self, block: _Block, text: str) -> Iterator[NewEvent]:
        if self._block != block:
            yield from self._close_block()
            self._block = block
            yield NewEvent(f"{block}_start")
        self._has_said = True
        self._content.append(text)
        yield NewEvent(f"{block}_chunk", {"content": text})

    def _close_block(self) -> Iterator[NewEvent]:
        if self._block is not None:
            yield NewEvent(f"{self._block}_end", {"full_content": "".join(self._content)})
        self._block, self._content = None, []

    def _count(self, answered: ModelAnswered) -> NewEvent:
        """What the conversation has taken by now, and what this call did."""
        self._tokens += answered.usage
        self._counted += answered.usage
        taken, given = self._tokens.input_tokens, self._tokens.output_tokens
        return NewEvent(
            "token_update",
            {
                "cumulative_input_tokens": taken,
                "cumulative_output_tokens": given,
                "cumulative_total_tokens": taken + given,
                "current_context_tokens": answered.context_tokens,
                "input_tokens": answered.usage.input_tokens,
                "output_tokens": answered.usage.output_tokens,
                "model": answered.model_name,
            },
        )

    def _called(self, event: ToolCalled) -> Iterator[NewEvent]:
        yield from self._close_block()
        self._calls += 1
        action_id = "_".join(
            part
            for part in ("tool", str(self._iteration), event.name, self._mark, str(self._calls))
            if part
        )
        self._open[event.call_id] = action_id
        yield _preparing(event.call_id, event.name, intent=event.intent)
        if event.intent:
            told = {"id": event.call_id, "name": event.name, "intent": event.intent}
            yield NewEvent("tool_intent", told)
        yield NewEvent(
            "tool_start",
            {
                "id": action_id,
                "name": event.name,
                "arguments": event.arguments,
                "preparing_id": event.call_id,
            },
        )

    def _returned(self, event: ToolReturned) -> Iterator[NewEvent]:
        yield from self._close_block()
        action_id = self._open.pop(event.call_id, "")
        if not action_id:
            # Refused, and never run: it has no start.
            action_id = event.call_id
            yield _preparing(event.call_id, event.name, written=event.refused_arguments)
        is_error = event.code >= 400
        yield NewEvent(
            "update_action",
            {
                "id": action_id,
                "name": event.name,
                "status": "failed" if is_error else "completed",
                "result": event.output or (event.message if is_error else ""),
                "preparing_id": event.call_id,
                "code": event.code,
                "duration_ms": event.duration_ms,
                **({"message": event.message} if is_error else {}),
            },
        )

    def _ended(self, event: TurnFinished | TurnFailed) -> Iterator[NewEvent]:
        yield from self.close()
        # Calls that broke off, or a service that counts by itself, are known at the end only.
        more = Usage(
            max(0, event.usage.input_tokens - self._counted.input_tokens),
            max(0, event.usage.output_tokens - self._counted.output_tokens),
        )
        if more != Usage():
            context = more.input_tokens + more.output_tokens
            yield self._count(ModelAnswered(self._iteration, "", more, context))


def outcome_of(turn: Turn, *, before: Iterable[NewEvent] = ()) -> Outcome:
    """How a run with this turn ends. `before` are events that have to be written first."""
    waiting = tuple(before)
    if turn.error is not None:
        return failed(turn.error.message, code=turn.error.code, turn=turn, before=waiting)
    if turn.reason == "interrupted":
        return Outcome(status=RunStatus.CANCELED, last=stopped(), turn=turn, events_before=waiting)
    data: dict[str, Any] = {
        "total_iterations": len(turn.steps),
        "total_tool_calls": len(turn.tool_calls) + len(turn.refusals),
        "auto_fix_attempts": 0,
        "reason": turn.reason,
    }
    last = NewEvent("task_complete", data)
    return Outcome(status=RunStatus.SUCCEEDED, last=last, turn=turn, events_before=waiting)


def failed(
    message: str, *, code: str, turn: Turn | None, before: Iterable[NewEvent] = ()
) -> Outcome:
    """The end of a run that went wrong; users read the message."""
    return Outcome(
        status=RunStatus.FAILED,
        last=NewEvent("error", {"message": message, "code": code}),
        turn=turn,
        error_code=code,
        error_message=message,
        events_before=tuple(before),
    )


def _preparing(
    call_id: str, name: str, *, intent: str = "", written: str | None = None
) -> NewEvent:
    """`written` is what the model wrote of a call that was refused."""
    message = _("Preparing to call %(name)s…") % {"name": name}
    data = {"id": call_id, "name": name, "message": message}
    data |= {"intent": intent} if intent else {}
    data |= {} if written is None else {"written": written}
    return NewEvent("tool_preparing", data)


def _cited(event: Cited) -> NewEvent:
    rows = [_source(citation) for citation in event.citations]
    return NewEvent("sources", {"sources": rows, "duration_ms": event.duration_ms})


def _source(citation: Citation) -> dict[str, Any]:
    return dataclasses.asdict(citation)
