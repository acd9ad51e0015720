"""OpenAI-shaped vendors with fixed delays, in a process of their own. They count who hangs up.

A system prompt that holds `long:4,6` gets a long answer in the turns 4 and 6, else short ones.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import httpx
import numpy as np
import uvicorn

from bench.programs import running
from config.supervisor.process import free_port

ASR_MS = 50
LLM_FIRST_TOKEN_MS = 100
LLM_TOKEN_MS = 10
TTS_FIRST_BYTE_MS = 80

FIRST_SENTENCE = ("It", " is", " sunny", " in", " Berlin", " today", ".")
SECOND_SENTENCE = (" There", " is", " no", " rain", " to", " expect", ".")
LONG_SENTENCES = 40
TRANSCRIPT = "What is the weather in Berlin today?"

SPEECH_RATE_HZ = 24_000
SPEECH_MS_PER_CHAR = 60
# A vendor makes speech some times faster than it is spoken.
SPEECH_PIECE_MS, SPEECH_PIECE_EVERY_MS = 200, 50

Receive = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Vendors:
    """The running vendors, as seen by the benchmark."""

    def __init__(self, port: int) -> None:
        self._origin = f"http://127.0.0.1:{port}"
        self.base_url = f"{self._origin}/v1"
        # From the end of speech, found at once, to the first sound that the vendors allow.
        self.floor_ms = (
            ASR_MS + LLM_FIRST_TOKEN_MS + LLM_TOKEN_MS * len(FIRST_SENTENCE) + TTS_FIRST_BYTE_MS
        )

    def counts(self) -> dict[str, int]:
        """Requests by vendor and outcome, such as `llm cancelled`."""
        counted: dict[str, int] = httpx.get(f"{self._origin}/counts", timeout=10).json()
        return counted


@contextlib.contextmanager
def running_vendors() -> Iterator[Vendors]:
    """Starts the vendors and stops them again."""
    port = free_port()
    command = [sys.executable, "-m", "bench.vendors", str(port)]
    with running(command, until="ready"):
        yield Vendors(port)


counts: collections.Counter[str] = collections.Counter()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    body = await _body(receive)
    match scope["path"]:
        case "/counts":
            await _reply(send, dict(counts))
        case "/v1/audio/transcriptions":
            await asyncio.sleep(ASR_MS / 1000)
            await _reply(send, {"text": TRANSCRIPT})
            counts["asr finished"] += 1
        case "/v1/chat/completions":
            await _stream("llm", "text/event-stream", _tokens(json.loads(body)), receive, send)
        case "/v1/audio/speech":
            text = json.loads(body)["input"]
            await _stream("tts", "audio/pcm", _sound(text), receive, send)
        case path:
            await _reply(send, {"error": {"message": f"no {path} here"}}, status=404)


async def _tokens(request: dict[str, Any]) -> AsyncIterator[bytes]:
    tokens = list(FIRST_SENTENCE + SECOND_SENTENCE)
    if _is_long(request["messages"]):
        tokens += SECOND_SENTENCE * LONG_SENTENCES
    loop = asyncio.get_running_loop()
    start = loop.time() + LLM_FIRST_TOKEN_MS / 1000
    for number, token in enumerate(tokens):
        await asyncio.sleep(start + number * LLM_TOKEN_MS / 1000 - loop.time())
        yield _chunk({"delta": {"role": "assistant", "content": token}, "finish_reason": None})
    yield _chunk({"delta": {}, "finish_reason": "stop"})
    yield b"data: [DONE]\n\n"


def _is_long(messages: list[dict[str, Any]]) -> bool:
    turn = sum(1 for message in messages if message["role"] == "user")
    prompts = [str(message["content"]) for message in messages if message["role"] == "system"]
    named = re.search(r"long:([\d,]+)", " ".join(prompts))
    return named is not None and str(turn) in named[1].split(",")


def _chunk(choice: dict[str, Any]) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "bench",
        "choices": [{"index": 0, **choice}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def _sound(text: str) -> AsyncIterator[bytes]:
    samples = len(text) * SPEECH_MS_PER_CHAR * SPEECH_RATE_HZ // 1000
    tone = 8_000 * np.sin(np.arange(samples) * (2 * np.pi * 220 / SPEECH_RATE_HZ))
    pcm = bytes(tone.astype("<i2").tobytes())
    size = SPEECH_PIECE_MS * SPEECH_RATE_HZ // 1000 * 2
    await asyncio.sleep(TTS_FIRST_BYTE_MS / 1000)
    for at in range(0, len(pcm), size):
        yield pcm[at : at + size]
        await asyncio.sleep(SPEECH_PIECE_EVERY_MS / 1000)


async def _stream(
    kind: str, content_type: str, pieces: AsyncIterator[bytes], receive: Receive, send: Send
) -> None:
    """Sends the pieces as they come, until the client hangs up."""

    async def send_all() -> None:
        headers = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    sending = asyncio.create_task(send_all())
    hanging_up: asyncio.Task[Any] = asyncio.create_task(receive())
    done, _ = await asyncio.wait((sending, hanging_up), return_when=asyncio.FIRST_COMPLETED)
    counts[f"{kind} finished" if sending in done else f"{kind} cancelled"] += 1
    for task in (sending, hanging_up):
        task.cancel()
    await asyncio.gather(sending, hanging_up, return_exceptions=True)


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _reply(send: Send, data: dict[str, Any], *, status: int = 200) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(data).encode()})


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    print("ready", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def main() -> None:
    uvicorn.run(
        "bench.vendors:app",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        timeout_keep_alive=60,
    )


if __name__ == "__main__":
    main()
