"""The dialects of chat, as one table: what the gateway needs of each, under the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.dialects.chat_completions import decode as chat_decode
from gateway.dialects.chat_completions import encode as chat_encode
from gateway.dialects.chat_completions import relay as chat_relay
from gateway.dialects.chat_completions import schema as chat_schema
from gateway.dialects.messages import decode as messages_decode
from gateway.dialects.messages import encode as messages_encode
from gateway.dialects.messages import relay as messages_relay
from gateway.dialects.messages import schema as messages_schema
from gateway.neutral import Answer, Event, Failed, Feature, Request, Usage
from gateway.types import Dialect

Body = bytes | bytearray | memoryview
Pieces = list[bytes | memoryview]


class Decoder(Protocol):
    """An upstream's stream, read."""

    def push(self, piece: bytes) -> list[Event]: ...
    def close(self) -> list[Event]: ...


class Encoder(Protocol):
    """A stream for a client, written."""

    def encode(self, event: Event) -> bytes: ...
    def ping(self) -> bytes: ...


class Relay(Protocol):
    """A stream of the client's own dialect, passed on."""

    usage: Usage | None
    is_complete: bool
    failed: Failed | None
    seen_chars: int

    def push(self, piece: bytes) -> bytes: ...
    def close(self) -> bytes: ...


@dataclasses.dataclass(frozen=True, slots=True)
class ChatDialect:
    """One dialect. `asked` is what its `parse` made of a request's body."""

    name: Dialect
    # Below an upstream's base URL.
    path: str
    # What the numbers of an answer's id are preceded by.
    id_prefix: str
    params: Mapping[Feature, str]
    parse: Callable[[Body], Any]
    decode_request: Callable[[Any], Request]
    decoder: Callable[[], Decoder]
    decode_answer: Callable[[bytes], list[Event]]
    decode_error: Callable[[int, bytes], Failed]
    encode_request: Callable[..., bytes]
    encoder: Callable[..., Encoder]
    encode_answer: Callable[..., bytes]
    relay: Callable[..., Relay]
    relay_answer: Callable[..., tuple[bytes, Usage | None]]
    relay_request: Callable[..., Pieces]
