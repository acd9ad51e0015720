"""A vendor of models that costs next to nothing: the answers are made before anybody asks.

    python -m bench.gateway_upstream

A process of its own, for `bench.gateway`. The path says which dialect is spoken, the model's name
in the body how: "paced" streams 50 pieces in the rhythm of a model, "idle" says one and falls
silent; anything else gets a short answer at once. `GET /stats` says how many connections were
opened and requests answered, since it was last asked.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import re
import struct
from typing import cast

import uvloop

PIECES = 50
FIRST_S, NEXT_S = 0.05, 0.02

_LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
_PACED, _IDLE = b'"paced"', b'"idle"'
# Where in a body the model's name and "stream" are looked for.
_BEGINNING = 4096


def _answer(value: object) -> bytes:
    body = json.dumps(value, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_TEXT = "word " * 30
_CHAT = _answer(
    {
        "id": "chatcmpl-0123456789",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _TEXT},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 250, "completion_tokens": 30, "total_tokens": 280},
    }
)
_MESSAGE = _answer(
    {
        "id": "msg_0123456789",
        "type": "message",
        "role": "assistant",
        "model": "bench",
        "content": [{"type": "text", "text": _TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 250, "output_tokens": 30},
    }
)
_VECTOR = base64.b64encode(struct.pack("<56f", *[0.125] * 56)).decode()
_EMBEDDING = _answer(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": _VECTOR}],
        "model": "bench",
        "usage": {"prompt_tokens": 250, "total_tokens": 250},
    }
)
_ANSWERS = {b"/v1/messages": _MESSAGE, b"/v1/embeddings": _EMBEDDING}

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_STREAM_END = b"0\r\n\r\n"


def _piece(*events: bytes) -> bytes:
    """A chunk of the transfer coding with these events."""
    data = b"".join(events)
    return b"%x\r\n%b\r\n" % (len(data), data)


def _chunk(delta: str, finish: str = "null") -> bytes:
    return (
        '{"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,'
        f'"model":"bench","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}'
    ).encode()


def _data(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


def _event(name: bytes, rest: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (name, name, rest)


# Of a stream: its first piece, each that follows, and the last.
_Script = tuple[bytes, bytes, bytes]
_CHAT_WORD = _data(_chunk('{"content":"word "}'))
_CHAT_STREAM: _Script = (
    _piece(_data(_chunk('{"role":"assistant","content":""}')), _CHAT_WORD),
    _piece(_CHAT_WORD),
    _piece(
        _CHAT_WORD,
        _data(_chunk("{}", '"stop"')),
        _data(
            b'{"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,'
            b'"model":"bench","choices":[],'
            b'"usage":{"prompt_tokens":250,"completion_tokens":50,"total_tokens":300}}'
        ),
        _data(b"[DONE]"),
    ),
)
_WORD = _event(b"content_block_delta", b',"index":0,"delta":{"type":"text_delta","text":"word "}')
_MESSAGE_STREAM: _Script = (
    _piece(
        _event(
            b"message_start",
            b',"message":{"id":"msg_0123456789","type":"message","role":"assistant",'
            b'"model":"bench","content":[],"stop_reason":null,"stop_sequence":null,'
            b'"usage":{"input_tokens":250,"output_tokens":1}}',
        ),
        _event(b"content_block_start", b',"index":0,"content_block":{"type":"text","text":""}'),
        _WORD,
    ),
    _piece(_WORD),
    _piece(
        _WORD,
        _event(b"content_block_stop", b',"index":0'),
        _event(
            b"message_delta",
            b',"delta":{"stop_reason":"end_turn","stop_sequence":null},'
            b'"usage":{"output_tokens":50}',
        ),
        _event(b"message_stop", b""),
    ),
)


class _Stats:
    opened = 0
    answered = 0


class Vendor(asyncio.Protocol):
    """One connection. It knows no more of HTTP than its two clients speak."""

    __slots__ = ("_awaited", "_beginning", "_loop", "_streaming", "_transport")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beginning = b""
        # Bytes of the body that are still to come.
        self._awaited = 0
        self._streaming: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no subclass.
        self._transport = cast(asyncio.Transport, transport)
        _Stats.opened += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self._streaming is not None:
            self._streaming.cancel()

    def data_received(self, data: bytes) -> None:
        if self._awaited:
            self._awaited -= len(data)
            # A client that writes the head by itself sends the model's name later.
            if len(self._beginning) < _BEGINNING:
                self._beginning += data[:_BEGINNING]
        else:
            data = self._beginning + data
            body = data.find(b"\r\n\r\n") + 4
            if body < 4:
                self._beginning = data
                return
            found = _LENGTH.search(data, 0, body)
            size = int(found[1]) if found else 0
            self._awaited = size - (len(data) - body)
            self._beginning = data[: body + _BEGINNING]
        if self._awaited <= 0:
            asked, self._beginning, self._awaited = self._beginning, b"", 0
            self._answer(asked)

    def _answer(self, asked: bytes) -> None:
        path = asked[asked.find(b" ") + 1 : asked.find(b" ", 5)]
        if path == b"/stats":
            self._transport.write(_answer({"opened": _Stats.opened, "answered": _Stats.answered}))
            _Stats.opened = _Stats.answered = 0
            return
        _Stats.answered += 1
        if asked.find(b'"stream":true') < 0 and asked.find(b'"stream": true') < 0:
            self._transport.write(_ANSWERS.get(path, _CHAT))
            return
        script = _MESSAGE_STREAM if path == b"/v1/messages" else _CHAT_STREAM
        self._transport.write(_STREAM_HEAD)
        if asked.find(_IDLE) >= 0:
            self._transport.write(script[0])
        elif asked.find(_PACED) >= 0:
            self._wait(FIRST_S, script, PIECES)
        else:
            self._transport.write(b"".join(script) + _STREAM_END)

    def _wait(self, seconds: float, script: _Script, left: int) -> None:
        self._streaming = self._loop.call_later(seconds, self._go_on, script, left)

    def _go_on(self, script: _Script, left: int) -> None:
        if left == 1:
            self._transport.write(script[2] + _STREAM_END)
            self._streaming = None
            return
        self._transport.write(script[0] if left == PIECES else script[1])
        self._wait(NEXT_S, script, left - 1)


async def serve() -> None:
    """Until it is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Vendor, "127.0.0.1", 0, backlog=2048)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    # Nothing here makes cycles.
    gc.freeze()
    gc.disable()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
