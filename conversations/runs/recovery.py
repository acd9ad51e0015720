"""What is left of a run whose process is gone: an answer as far as its log tells it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.utils.translation import gettext as _

from conversations.encoding import Collector, Turn
from conversations.events import (
    ModelAnswered,
    ModelAsked,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnStarted,
)
from conversations.runs.types import NewEvent, StoredEvent
from providers.types import Usage


def turn_so_far(events: Iterable[StoredEvent], *, turn: int) -> Turn:
    """The answer of the last attempt, as far as it was written down."""
    collector = Collector()
    for event in events:
        if event.type == "ai_message_start":
            collector = Collector()
            collector.push(TurnStarted(turn))
        for each in _told(event.type, event.data):
            collector.push(each)
    return collector.turn


def restarted(*, has_said: bool) -> tuple[NewEvent, ...]:
    """What a run says that begins anew; `has_said`: readers have seen parts of an answer.

    Parts are words, thoughts and calls of tools; none of them is ended any more.
    """
    notice = NewEvent("system_message", {"message": _("The task was restarted.")})
    if not has_said:
        return (notice,)
    return (NewEvent("stream_reset", {"attempt": 1, "max_attempts": 1}), notice)


def _told(kind: str, data: dict[str, Any]) -> Iterator[TurnEvent]:
    """The events of a turn that an event of its log stands for, as far as they matter here."""
    match kind:
        case "api_request_start":
            yield ModelAsked(
                0,
                data["attempt"],
                data["max_attempts"],
                is_thinking=False,
                prompt_tokens=data.get("prompt_tokens", 0),
                model_name=data.get("model", ""),
            )
        case "text_chunk":
            yield TextDelta(data["content"])
        case "thinking_chunk":
            yield ThinkingDelta(data["content"])
        case "token_update":
            usage = Usage(data["input_tokens"], data["output_tokens"])
            yield ModelAnswered(0, data["model"], usage, data["current_context_tokens"])
        case "tool_start":
            yield ToolCalled(
                call_id=data["preparing_id"],
                name=data["name"],
                arguments=data["arguments"],
                executor="server",
                wait_for_response=True,
                timeout_ms=0,
            )
        case "update_action" if data["status"] in {"completed", "failed"} and _has_run(data):
            yield ToolReturned(
                call_id=data["preparing_id"],
                name=data["name"],
                output=data["result"],
                executor="server",
                code=data["code"],
                message=data.get("message", "ok"),
                duration_ms=data["duration_ms"],
            )
        case _:
            return


def _has_run(data: dict[str, Any]) -> bool:
    """Whether the call had a start: one that was refused has none."""
    return bool(data["id"] != data["preparing_id"])
