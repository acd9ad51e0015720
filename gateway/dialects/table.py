"""The dialects of chat, as one table: what the gateway needs of each, under the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.dialects.chat_completions import decode as chat_decode
from gateway.dialects.chat_completions import encode as chat_encode
from gateway.dialects.chat_completions import relay as chat_relay
from gateway.dialects.chat_completions import schema as chat_schema
from gateway.dialects.messages import asking as messages_asking
from gateway.dialects.messages import decode as messages_decode
from gateway.dialects.messages import encode as messages_encode
from gateway.dialects.messages import relay as messages_relay
from gateway.dialects.messages import schema as messages_schema
from gateway.neutral import Event, Failed, Feature, Request, Usage
from gateway.types import Dialect

Body = bytes | bytearray
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
    # What the ids of answers begin with.
    id_prefix: str
    # What a client may say to a vendor of the dialect beside the body.
    passed_headers: tuple[bytes, ...]
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
    error_event: Callable[..., bytes]


MESSAGES = ChatDialect(
    name="messages",
    id_prefix="msg-",
    passed_headers=(b"anthropic-version", b"anthropic-beta"),
    params=messages_encode.PARAMS,
    parse=messages_schema.parse,
    decode_request=messages_decode.decode_request,
    decoder=messages_decode.StreamDecoder,
    decode_answer=messages_decode.decode_answer,
    decode_error=messages_decode.decode_error,
    encode_request=messages_asking.encode_request,
    encoder=messages_encode.StreamEncoder,
    encode_answer=messages_encode.encode_answer,
    relay=messages_relay.StreamRelay,
    relay_answer=messages_relay.relay_answer,
    relay_request=messages_relay.relay_request,
    error_event=messages_encode.error_event,
)
CHAT_COMPLETIONS = ChatDialect(
    name="chat_completions",
    id_prefix="cmpl-",
    passed_headers=(),
    params=chat_encode.PARAMS,
    parse=chat_schema.parse,
    decode_request=chat_decode.decode_request,
    decoder=chat_decode.StreamDecoder,
    decode_answer=chat_decode.decode_answer,
    decode_error=chat_decode.decode_error,
    encode_request=chat_encode.encode_request,
    encoder=chat_encode.StreamEncoder,
    encode_answer=chat_encode.encode_answer,
    relay=chat_relay.StreamRelay,
    relay_answer=chat_relay.relay_answer,
    relay_request=chat_relay.relay_request,
    error_event=chat_encode.error_event,
)
DIALECTS: Mapping[Dialect, ChatDialect] = {
    dialect.name: dialect for dialect in (MESSAGES, CHAT_COMPLETIONS)
}
