"""Chat completions passed on between a client and an upstream that both speak them.

Bytes stay as they are, apart from the model's name and the chunk with the usage, which is asked for
in every stream and shown to those who wanted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from gateway.dialects import failures
from gateway.dialects.chat_completions.chunks import (
    DONE,
    Choice,
    Chunk,
    Delta,
    Unreadable,
    read_chunk,
)
from gateway.dialects.chat_completions.encode import error_event
from gateway.dialects.chat_completions.schema import Asked
from gateway.dialects.splice import Text, known_spans, known_value, value_spans, with_members
from gateway.dialects.sse import EventSplitter, TooLong, data_of
from gateway.neutral import Failed, Usage

_DATA = b"data: "
_NONE: Mapping[str, int] = MappingProxyType({})
_WITH_USAGE = b'{"include_usage":true}'


def relay_request(
    body: bytes | memoryview, asked: Asked, *, model: str, limit: Mapping[str, int] = _NONE
) -> list[bytes | memoryview]:
    """The body in pieces, for the upstream's model; a stream is asked for its usage, too.

    `limit` is what to call the longest answer, and its tokens, for a client that named none.
    """
    name = msgspec.json.encode(model)
    limits = {word: b"%d" % tokens for word, tokens in limit.items()}
    if not asked.stream:
        return with_members(body, {"model": name}, limits)
    if asked.stream_options is msgspec.UNSET:
        # Right behind the model's name: to look for a member that is not there takes longer.
        named = b'%b,"stream_options":%b' % (name, _WITH_USAGE)
        return with_members(body, {"model": named}, limits)
    return with_members(body, {"model": name, "stream_options": _with_usage(body)}, limits)


def _with_usage(body: Text) -> bytes:
    """The client's options of the stream, all of them, and that the usage be told."""
    options = known_value(body, "stream_options")
    if not options.startswith(b"{"):
        return _WITH_USAGE
    return b"".join(with_members(options, {}, {"include_usage": b"true"}))


def relay_answer(body: bytes, *, public_model: str) -> tuple[bytes, Usage | None]:
    """A whole answer under the public name, and its usage where it tells it."""
    try:
        answer = read_chunk(body)
    except Unreadable:
        return body, None
    if answer.has_model:
        body = b"".join(with_members(body, {"model": msgspec.json.encode(public_model)}))
    return body, answer.counted()


class StreamRelay:
    """A stream, passed on as it comes; only an event whose end is not there yet is held back.

    `is_complete`: the answer came to its end, and nothing of its usage can follow. `failed`: it did
    not, and the client has been told so, by the upstream's error in our words or by `close`.
    `seen_chars`: how much text was passed on, for an estimate where no usage came.
    """

    def __init__(self, *, public_model: str, wants_usage: bool) -> None:
        self.usage: Usage | None = None
        self.is_complete = False
        self.failed: Failed | None = None
        self.seen_chars = 0
        self._model = msgspec.json.encode(public_model)
        self._wants_usage = wants_usage
        self._splitter = EventSplitter()
        self._has_finished = False
        # How the last event began, up to the model's name, and how it was passed on.
        self._old_head = self._new_head = b""

    def push(self, piece: bytes) -> bytes:
        """What goes to the client for this piece of the upstream's."""
        if self.failed is not None:
            return b""
        try:
            events = self._splitter.push(piece)
        except TooLong:
            return self._fail(failures.unreadable())
        if len(events) == 1:
            return self._passed(events[0])
        return b"".join([self._passed(event) for event in events])

    def close(self) -> bytes:
        """What is left for the client: an error, unless the answer came to its end."""
        if self.failed is not None:
            return b""
        rest = self._splitter.rest()
        passed = self._passed(rest) if _is_whole(rest) else b""
        if self.is_complete or self._has_finished:
            self.is_complete = True
            # Beside an event, the other half of a last "\r\n".
            return passed or (b"" if data_of(rest) else rest)
        if self.failed is None:
            passed += (b"\n\n" if passed else b"") + self._fail(failures.broken_off())
        return passed

    def _passed(self, event: bytes) -> bytes:
        if self.failed is not None:
            return b""
        data = event[6:] if event[:6] == _DATA and event.find(b"\n", 6, -2) < 0 else data_of(event)
        if not data:
            return event
        if data[:6] == DONE:
            self.is_complete = True
            return event
        try:
            chunk = read_chunk(data)
        except Unreadable:
            return self._renamed(event, value_spans(event, "model"))
        return self._chunk(event, chunk)

    def _chunk(self, event: bytes, chunk: Chunk) -> bytes:
        if failed := chunk.failure():
            return self._fail(failed)
        if counted := chunk.counted():
            self.usage = counted
            if not chunk.choices and not self._wants_usage:
                return b""
        for choice in chunk.choices or ():
            self._note(choice)
        if not chunk.has_model:
            return event
        # Most chunks of a stream begin alike.
        old = self._old_head
        if old and event.startswith(old) and event.find(b'"model"', len(old)) < 0:
            return self._new_head + event[len(old) :]
        return self._renamed(event, known_spans(event, "model"))

    def _note(self, choice: Choice) -> None:
        if choice.finish_reason:
            self._has_finished = True
        if choice.delta is not None:
            self.seen_chars += _chars(choice.delta)

    def _renamed(self, event: bytes, spans: list[tuple[int, int]]) -> bytes:
        for start, end in reversed(spans):
            old_head, new_head = event[:end], event[:start] + self._model
            event = new_head + event[end:]
            self._old_head, self._new_head = old_head, new_head
        return event

    def _fail(self, failed: Failed) -> bytes:
        self.failed = failed
        return error_event(failed.type, failed.message)


def _chars(delta: Delta) -> int:
    """How much the model wrote in this chunk."""
    chars = 0
    for text in (delta.content, delta.reasoning_content or delta.reasoning, delta.refusal):
        if isinstance(text, str):
            chars += len(text)
    for call in delta.tool_calls or ():
        if call.function is not None and isinstance(call.function.arguments, str):
            chars += len(call.function.arguments)
    return chars


def _is_whole(rest: bytes) -> bool:
    """Whether an event that nothing ended is complete nevertheless, and not cut in the middle."""
    data = data_of(rest)
    if not data or data.startswith(DONE):
        return bool(data)
    try:
        read_chunk(data)
    except Unreadable:
        return False
    return True
