"""What a model is told of earlier turns. Pure: entries in, messages out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence

from conversations.encoding import Turn
from conversations.events import ToolCalled, ToolReturned
from conversations.tool_calls import returnable
from conversations.types import AttachmentRow, MessageEntry, ToolOutcome
from providers.attached import with_files
from providers.tokens import estimate_tokens
from providers.types import (
    AssistantMessage,
    ChatMessage,
    ChatRequest,
    LlmSpec,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)

DEFAULT_CONTEXT_TOKENS = 16_000
MESSAGE_OVERHEAD_TOKENS = 4
# Vendors count by size and detail, from a hundred to a few thousand.
IMAGE_TOKENS = 1_000
NO_RESULT = "No result: the call was cut off before it answered."
INTERRUPTED_NOTE = "[interrupted by the user here]"
LEFT_OUT = "[left out: there was no more room; call the tool again if you need it]"


def context_tokens(spec: LlmSpec | None) -> int:
    """How many tokens the model takes at once, its answer included."""
    return (spec and spec.context_length) or DEFAULT_CONTEXT_TOKENS


def chat_messages(entries: Iterable[MessageEntry]) -> tuple[ChatMessage, ...]:
    """Stored messages as a model sees them; an interrupted answer holds only what was heard."""
    return tuple(message for entry in entries if (message := _chat_message(entry)))


def entries(turn: Turn) -> tuple[MessageEntry, ...]:
    """A turn's answer as messages to store: what was said, each round of tools, what was said next.

    The last of the assistant's messages carries the turn's usage, sources and error. What of an
    answer was heard is known to the surface that speaks it.
    """
    stored: list[MessageEntry] = []
    for step in turn.steps:
        stored.append(
            MessageEntry(
                turn=turn.turn,
                role="assistant",
                text=step.text,
                tool_calls=(*map(stored_call, step.calls), *map(refused_call, step.refusals)),
            )
        )
        outcomes = (*step.results, *step.refusals)
        stored.extend(stored_result(turn.turn, outcome) for outcome in outcomes)
    last = max(at for at, entry in enumerate(stored) if entry.role == "assistant")
    stored[last] = dataclasses.replace(
        stored[last],
        is_interrupted=turn.reason == "interrupted",
        model_name=turn.model_name,
        usage=turn.usage,
        error=turn.error.message if turn.error else "",
        citations=turn.citations,
        knowledge_note=turn.knowledge_note,
    )
    return tuple(stored)


def prepare(messages: Sequence[ChatMessage], *, budget_tokens: int) -> tuple[ChatMessage, ...]:
    """A history that every vendor accepts, of at most so many tokens, cut between turns."""
    return trim(merge(repair(messages)), budget_tokens=budget_tokens)


def repair(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Every call followed by exactly one result, in the order of the calls; no other results."""
    results = _results_by_call(messages)
    repaired: list[ChatMessage] = []
    for position, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            continue
        if not isinstance(message, AssistantMessage) or not message.tool_calls:
            repaired.append(message)
            continue
        calls = tuple({call.id: call for call in reversed(message.tool_calls)}.values())[::-1]
        repaired.append(dataclasses.replace(message, tool_calls=calls))
        for call in calls:
            missing = ToolMessage(call.id, call.name, NO_RESULT, is_error=True)
            repaired.append(results.get((position, call.id), missing))
    return tuple(repaired)


def merge(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Neighbours of one speaker as one message; empty ones and system messages left out."""
    merged: list[ChatMessage] = []
    for message in messages:
        if isinstance(message, SystemMessage) or _is_empty(message):
            continue
        previous = merged[-1] if merged else None
        if isinstance(previous, UserMessage) and isinstance(message, UserMessage):
            text = _joined(previous.text, message.text)
            merged[-1] = UserMessage(text, previous.images + message.images)
        elif (
            isinstance(previous, AssistantMessage)
            and isinstance(message, AssistantMessage)
            and not previous.tool_calls
        ):
            text = _joined(previous.text, message.text)
            merged[-1] = AssistantMessage(text, message.tool_calls)
        else:
            merged.append(message)
    return tuple(merged)


def trim(messages: Sequence[ChatMessage], *, budget_tokens: int) -> tuple[ChatMessage, ...]:
    """The newest whole turns that fit. A turn begins with what the user says."""
    starts = [at for at, message in enumerate(messages) if isinstance(message, UserMessage)]
    if messages and (not starts or starts[0] != 0):
        starts.insert(0, 0)
    kept, spent, end = len(messages), 0, len(messages)
    for start in reversed(starts):
        spent += sum(message_tokens(message) for message in messages[start:end])
        if spent > budget_tokens:
            break
        kept = end = start
    return tuple(messages[kept:])


def shorten(
    steps: Sequence[ChatMessage], *, budget_tokens: int
) -> tuple[tuple[ChatMessage, ...], int]:
    """The steps of a turn in about so many tokens, and how many of them were dropped.

    The oldest give way first: their results, then all of them. The newest step stays as it is.
    """
    starts = [at for at, message in enumerate(steps) if isinstance(message, AssistantMessage)]
    newest = starts[-1] if starts else 0
    kept = list(steps)
    tokens = sum(map(message_tokens, kept))
    for at, message in enumerate(kept[:newest]):
        if tokens <= budget_tokens:
            break
        if isinstance(message, ToolMessage):
            kept[at] = dataclasses.replace(message, text=LEFT_OUT)
            tokens -= max(0, message_tokens(message) - message_tokens(kept[at]))
    dropped = 0
    while tokens > budget_tokens and dropped < len(starts) - 1:
        step = kept[starts[dropped] : starts[dropped + 1]]
        tokens -= sum(map(message_tokens, step))
        dropped += 1
    return tuple(kept[starts[dropped] :] if starts else kept), dropped


def message_tokens(message: ChatMessage) -> int:
    """About how many tokens a message takes: calls, thoughts and images included."""
    tokens = MESSAGE_OVERHEAD_TOKENS + estimate_tokens(message.text)
    if isinstance(message, AssistantMessage):
        for call in message.tool_calls:
            tokens += MESSAGE_OVERHEAD_TOKENS + estimate_tokens(call.name + call.arguments)
        tokens += sum(estimate_tokens(thought.text) for thought in message.thoughts)
    elif isinstance(message, UserMessage):
        tokens += IMAGE_TOKENS * len(message.images)
    return tokens


def schema_tokens(tool: ToolSchema) -> int:
    """About how many tokens the model's knowledge of a tool takes."""
    return estimate_tokens(tool.name + tool.description + json.dumps(tool.parameters))


def request_tokens(request: ChatRequest) -> int:
    """About how many tokens the model reads before it answers."""
    messages = sum(map(message_tokens, request.messages))
    return messages + sum(map(schema_tokens, request.tools))


def _chat_message(entry: MessageEntry) -> ChatMessage | None:
    match entry.role:
        case "user":
            return UserMessage(with_attachments(entry.text, entry.attachments))
        case "assistant":
            text = entry.text
            if entry.is_interrupted:
                text = f"{text.rstrip()} {INTERRUPTED_NOTE}".lstrip()
            return AssistantMessage(text, tuple(map(returnable, entry.tool_calls)))
        case "tool" if entry.outcome is not None:
            outcome = entry.outcome
            return ToolMessage(outcome.call_id, outcome.name, entry.text, outcome.is_error)
        case _:
            return None


def with_attachments(text: str, attachments: Iterable[AttachmentRow]) -> str:
    """What a user said with the texts that came along, as a model sees it also in later turns."""
    texts = [(row["name"], row["text"]) for row in attachments if row["kind"] == "text"]
    return with_files(text, texts) if texts else text


def stored_call(called: ToolCalled) -> ToolCall:
    """The call as it is kept."""
    arguments = json.dumps(called.arguments, ensure_ascii=False)
    return ToolCall(called.call_id, called.name, arguments)


def refused_call(refusal: ToolReturned) -> ToolCall:
    """A call that was refused, as it is kept: with what the model wrote."""
    return ToolCall(refusal.call_id, refusal.name, refusal.refused_arguments or "")


def stored_result(turn: int, result: ToolReturned) -> MessageEntry:
    """A tool's result as it is kept."""
    return MessageEntry(
        turn=turn,
        role="tool",
        text=result.output or result.message,
        outcome=ToolOutcome(
            call_id=result.call_id,
            name=result.name,
            code=result.code,
            message=result.message,
            duration_ms=result.duration_ms,
            is_refused=result.refused_arguments is not None,
        ),
    )


def _results_by_call(messages: Sequence[ChatMessage]) -> dict[tuple[int, str], ToolMessage]:
    """Which result answers which call: of calls with one id, the latest before the result."""
    asked: dict[str, int] = {}
    results: dict[tuple[int, str], ToolMessage] = {}
    for position, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            asked.update({call.id: position for call in message.tool_calls})
        elif isinstance(message, ToolMessage) and message.call_id in asked:
            results.setdefault((asked[message.call_id], message.call_id), message)
    return results


def _is_empty(message: ChatMessage) -> bool:
    calls: tuple[ToolCall, ...] = getattr(message, "tool_calls", ())
    images = isinstance(message, UserMessage) and message.images
    is_result = isinstance(message, ToolMessage)
    return not is_result and not message.text.strip() and not calls and not images


def _joined(first: str, second: str) -> str:
    return "\n".join(text for text in (first, second) if text)
