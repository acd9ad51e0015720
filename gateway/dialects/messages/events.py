"""What an upstream of this dialect sends, as far as anybody here reads it.

Vendors that imitate the dialect leave things out, so nearly everything may be missing.
"""

from __future__ import annotations

import dataclasses

import msgspec

from gateway.dialects.failures import failure
from gateway.neutral import Failed, Reason, Usage, token_count

# The kinds of an error object, by the status that the vendor gives whole answers with them.
_STATUS_OF_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
REASONS: dict[str, Reason] = {
    "end_turn": "end",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "paused",
    "model_context_window_exceeded": "context_window",
}
KNOWN_EVENTS = frozenset(
    {
        "message_start", "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop", "error",
    }
)  # fmt: skip


class OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class UsageTold(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class ErrorTold(msgspec.Struct):
    type: str | None = None
    message: str | None = None

    def failed(self, status: int | None = None) -> Failed:
        """The failure as the client is to see it; without a status its type decides."""
        known = _STATUS_OF_ERROR.get(self.type or "", 502)
        return failure(known if status is None else status, self.message or "")


class StopDetails(msgspec.Struct):
    explanation: str | None = None


class BlockTold(msgspec.Struct):
    """A block as it begins in a stream, or stands in a whole answer."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"")


class DeltaTold(msgspec.Struct):
    """A piece of a block, or (of the message) why it ended."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class HeadTold(msgspec.Struct):
    usage: UsageTold | None = None


class StreamEvent(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: HeadTold | None = None
    content_block: BlockTold | None = None
    delta: DeltaTold | None = None
    usage: UsageTold | None = None
    error: ErrorTold | None = None

    def chars(self) -> int:
        """How much of the answer it tells."""
        delta = self.delta
        if delta is None:
            return 0
        return len(delta.text or delta.thinking or delta.partial_json or "")


class AnswerTold(msgspec.Struct):
    content: list[BlockTold]
    model: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: UsageTold | None = None


class ErrorAnswer(msgspec.Struct):
    error: ErrorTold


class _Kind(msgspec.Struct):
    type: str = ""


# Not strict: some vendors write their numbers as strings.
_EVENT = msgspec.json.Decoder(StreamEvent, strict=False)
_KIND = msgspec.json.Decoder(_Kind)


class Unreadable(Exception):
    """An event of a known kind, or of none, that is not formed as the dialect has it."""


def read_event(data: bytes) -> StreamEvent | None:
    """What an event's data says; None for kinds that nobody here knows. Raises Unreadable."""
    if data == b"[DONE]":  # of those who imitate both dialects at once
        return None
    try:
        return _EVENT.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        kind = _KIND.decode(data).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable from None
    if not kind or kind in KNOWN_EVENTS:
        raise Unreadable
    return None


@dataclasses.dataclass(slots=True)
class Tally:
    """Usage, told in parts: each part replaces what was told before.

    Nothing of what was read is taken back by a zero: some vendors write one at the end where they
    mean to say no more about it.
    """

    told: UsageTold | None = None

    def add(self, usage: UsageTold | None) -> None:
        if usage is None:
            return
        old = self.told or UsageTold()
        details = usage.output_tokens_details or old.output_tokens_details
        self.told = UsageTold(
            usage.input_tokens or old.input_tokens,
            old.output_tokens if usage.output_tokens is None else usage.output_tokens,
            usage.cache_read_input_tokens or old.cache_read_input_tokens,
            usage.cache_creation_input_tokens or old.cache_creation_input_tokens,
            details,
        )

    def usage(self) -> Usage | None:
        """All of it; None when nothing was told."""
        told = self.told
        if told is None:
            return None
        read = token_count(told.cache_read_input_tokens)
        written = token_count(told.cache_creation_input_tokens)
        details = told.output_tokens_details
        return Usage(
            input_tokens=token_count(told.input_tokens) + read + written,
            output_tokens=token_count(told.output_tokens),
            cache_read_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=token_count(details.thinking_tokens) if details else 0,
        )
