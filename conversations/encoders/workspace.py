"""The stream of the workspace: the answer piece by piece, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conversations.events import TextDelta, TurnEvent, TurnFailed


def encode(event: TurnEvent) -> Iterator[dict[str, Any]]:
    """What is sent for an event of the turn, if anything."""
    match event:
        case TextDelta():
            yield {"event": "task_result", "data": {"message": event.text}}
        case TurnFailed():
            yield {"event": "error", "data": {"message": event.message}}
        case _:
            pass
