"""What a stream told of an answer, told again from the messages that are kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from conversations.encoders.agentchat import AgentChatEncoder
from conversations.events import Cited, ToolCalled, ToolReturned, TurnEvent, TurnFailed
from conversations.tool_calls import parsed
from conversations.types import MessageEntry
from providers.types import ToolCall, Usage


def shown_events(
    entries: Sequence[MessageEntry], encoder: AgentChatEncoder, *, search_id: str
) -> list[dict[str, Any]]:
    """The `data` of the events of one answer, in the words of the stream's own encoder.

    `entries` are the assistant's and the tools' messages of one turn; the encoder is a fresh one.
    """
    lines = (line for event in _events(entries, search_id) for line in encoder.encode(event))
    sent = (json.loads(line.removeprefix(b"data: ")) for line in lines)
    return [each["data"] for each in sent if each["type"] == "event"]


def _events(entries: Sequence[MessageEntry], search_id: str) -> Iterator[TurnEvent]:
    """What happened, as far as messages tell it: text is left out, which clients get as a whole."""
    cited = [Cited(entry.citations) for entry in entries if entry.citations]
    is_by_tool = any(entry.outcome and entry.outcome.name == search_id for entry in entries)
    if not is_by_tool:
        yield from cited
    # As in the stream, a call that was refused has an end only, before those that ran.
    refused = {e.outcome.call_id: e for e in entries if e.outcome and e.outcome.is_refused}
    for entry in entries:
        yield from (_called(call) for call in entry.tool_calls if call.id not in refused)
        yield from (_returned(refused[call.id]) for call in entry.tool_calls if call.id in refused)
        if entry.outcome is not None and not entry.outcome.is_refused:
            yield _returned(entry)
            if entry.outcome.name == search_id:
                yield from cited
                cited = []
    for entry in entries:
        if entry.error:
            yield TurnFailed("", entry.error, is_retryable=False, usage=Usage())


def _called(call: ToolCall) -> ToolCalled:
    return ToolCalled(
        call_id=call.id,
        name=call.name,
        arguments=_arguments(call),
        executor="server",
        wait_for_response=True,
        timeout_ms=0,
    )


def _arguments(call: ToolCall) -> dict[str, Any]:
    """What a refused call was asked with may be text of any kind."""
    try:
        return parsed(call.arguments)
    except ValueError:
        return {}


def _returned(entry: MessageEntry) -> ToolReturned:
    assert entry.outcome is not None
    return ToolReturned(
        call_id=entry.outcome.call_id,
        name=entry.outcome.name,
        output=entry.text,
        executor="server",
        code=entry.outcome.code,
        message=entry.outcome.message,
        duration_ms=entry.outcome.duration_ms,
    )
