"""Answers and requests passed on within the dialect: other model names, else byte for byte."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.dialects import sse
from gateway.dialects.failures import broken_off, unreadable, without_secrets
from gateway.dialects.messages.encode import error_event
from gateway.dialects.messages.events import AnswerTold, StreamEvent, Tally, Unreadable, read_event
from gateway.dialects.messages.schema import Asked
from gateway.dialects.splice import Piece, Text, with_members, with_value
from gateway.neutral import Failed, Usage

_ANSWER = msgspec.json.Decoder(AnswerTold, strict=False)
_CHARS_PER_TOKEN = 4


class StreamRelay:
    """A stream passed on as it comes; no more than an unfinished event is held back.

    `usage` is what the vendor told so far. `is_complete`: the last event was passed on. `failed`:
    there will be none. `seen_chars` counts what was told, for an estimate.
    """

    def __init__(self, *, public_model: str, wants_usage: bool = True) -> None:
        """`wants_usage` is for dialects whose clients may do without."""
        self.usage: Usage | None = None
        self.is_complete = False
        self.failed: Failed | None = None
        self.seen_chars = 0
        self._model = msgspec.json.encode(public_model)
        self._splitter = sse.EventSplitter()
        self._tally = Tally()

    def push(self, piece: bytes) -> bytes:
        """What the client is sent. Raises TooLong for an event without end; `close` tells it."""
        if self.failed:
            return b""
        return b"".join([self._passed(event) for event in self._splitter.push(piece)])

    def close(self) -> bytes:
        """The last bytes, once the upstream has closed: an error where the end is missing."""
        if self.failed:
            return b""
        rest = self._splitter.rest()
        last = self._passed(rest) if rest else b""
        if self.is_complete or self.failed:
            return last
        # Half an event would spoil the one that tells what happened.
        is_too_long = len(rest) > sse.MAX_EVENT_BYTES
        self.failed = unreadable() if is_too_long else broken_off()
        self._estimate()
        return _error(self.failed)

    def _passed(self, raw: bytes) -> bytes:
        data = sse.data_of(raw)
        if self.is_complete or not data:
            return raw
        try:
            event = read_event(data)
        except Unreadable:
            return raw
        if event is None:
            return raw
        self._note(event)
        if event.type == "message_start":
            return self._renamed(raw, data)
        if event.error is not None:
            return self._told_failure(raw, event)
        return raw

    def _note(self, event: StreamEvent) -> None:
        self.seen_chars += event.chars()
        told = event.usage or (event.message and event.message.usage)
        if told:
            self._tally.add(told)
            self.usage = self._tally.usage()
        if event.type == "message_stop":
            self.is_complete = True

    def _renamed(self, raw: bytes, data: bytes) -> bytes:
        renamed = b"".join(with_value(data, ("message", "model"), self._model))
        at = raw.find(data)
        if at < 0:  # the data came in several lines
            return sse.event("message_start", renamed)
        return b"%b%b%b" % (raw[:at], renamed, raw[at + len(data) :])

    def _told_failure(self, raw: bytes, event: StreamEvent) -> bytes:
        """An upstream's error in its own words, unless these are about our account with it."""
        assert event.error is not None
        self.failed = event.error.failed()
        self._estimate()
        kind, words = event.error.type, event.error.message or ""
        is_theirs = event.type == "error" and kind in (self.failed.type, "api_error")
        return raw if is_theirs and without_secrets(words) == words else _error(self.failed)

    def _estimate(self) -> None:
        """Of what broke off the vendor has told at most what it read."""
        if self.usage:
            written = max(self.usage.output_tokens, -(-self.seen_chars // _CHARS_PER_TOKEN))
            self.usage = msgspec.structs.replace(self.usage, output_tokens=written)


def _error(failed: Failed) -> bytes:
    return error_event(failed.type, failed.message, param=None, code=None, request_id="")


def relay_answer(body: bytes, *, public_model: str) -> tuple[bytes, Usage | None]:
    """A whole answer under the public name of its model, and what it took.

    What is no answer is passed on as it is, without usage.
    """
    try:
        told = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body, None
    tally = Tally()
    tally.add(told.usage)
    names = {} if told.model is None else {"model": msgspec.json.encode(public_model)}
    return b"".join(with_members(body, names)), tally.usage()


def relay_request(
    body: Text, asked: Asked, *, model: str, limit: Mapping[str, int] | None = None
) -> list[Piece]:
    """The request in pieces, with the upstream's name of the model. The pieces look into `body`.

    `limit` is for dialects whose clients may leave it out.
    """
    return with_members(body, {"model": msgspec.json.encode(model)})
