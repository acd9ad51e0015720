"""The fake vendor itself: OpenAI's, Anthropic's and the rerankers' endpoints on one port.

POST /v1/chat/completions   /v1/messages   /v1/messages/count_tokens
POST /v1/audio/transcriptions   /v1/audio/speech
POST /v1/embeddings         GET /v1/models
POST /v1/rerank   /v2/rerank   /compatible-api/v1/reranks       Jina, Voyage, Cohere, DashScope
POST /rerank                                                    Text Embeddings Inference
POST /api/v1/services/rerank/text-rerank/text-rerank            DashScope's own
POST /v1/chat-messages   /v1/chat-messages/<task>/stop   /v1/files/upload        Dify
POST /api/v1/chat/completions                                   FastGPT
GET  /stats                 counters and the last requests
POST /script                {"chat": [step, …], …} queues steps; {"behaviour": {…}} changes it
POST /reset                 forgets counters and scripts
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import math
import re
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from providers.fakes import brains, thinking
from providers.fakes.behaviour import KINDS, Behaviour, Kind, Stats, Step
from providers.fakes.wire import Connection, Reply, Request
from providers.tokens import CJK, estimate_tokens

SPEECH_RATE_HZ = 24_000
_PIECE_MS = 100
_TOKEN = re.compile(rf"{CJK.pattern}|[^\s\u4e00-\u9fff]+\s*|\s+")
_TONE_HZ = 220
_DIFY_STOP = re.compile(r"/v1/chat-messages/[0-9a-f-]{36}/stop")
# How much of an answer comes that the behaviour cuts off.
_PIECES_BEFORE_BREAK = 3
_DASHSCOPE_RERANK = "/api/v1/services/rerank/text-rerank/text-rerank"


class Broken(Exception):
    """The script cuts the connection here."""


class Upstream:
    """Answers by script, then by behaviour; deterministic, with delays on absolute deadlines."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.stats = Stats()
        self._scripts: dict[Kind, collections.deque[Step]] = {
            kind: collections.deque() for kind in KINDS
        }
        self._connections: set[Connection] = set()
        self._routes: dict[tuple[str, str], tuple[Kind, Answer]] = {
            ("POST", "/v1/chat/completions"): ("chat", _chat),
            ("POST", "/v1/messages"): ("messages", _messages),
            ("POST", "/v1/messages/count_tokens"): ("messages", _count_tokens),
            ("POST", "/v1/audio/transcriptions"): ("transcriptions", _transcription),
            ("POST", "/v1/audio/speech"): ("speech", _speech),
            ("POST", "/v1/embeddings"): ("embeddings", _embeddings),
            ("POST", "/v1/rerank"): ("rerank", _rerank),
            ("POST", "/v2/rerank"): ("rerank", _rerank),
            ("POST", "/compatible-api/v1/reranks"): ("rerank", _rerank),
            ("POST", "/rerank"): ("rerank", _rerank_texts),
            ("POST", _DASHSCOPE_RERANK): ("rerank", _rerank_nested),
            ("GET", "/v1/models"): ("models", _models),
            ("POST", "/v1/chat-messages"): ("dify", brains.dify),
            ("POST", "/v1/files/upload"): ("dify_upload", brains.dify_upload),
            ("POST", "/api/v1/chat/completions"): ("fastgpt", brains.fastgpt),
        }
        # What was said in each conversation that Dify or FastGPT keeps.
        self.conversations: dict[str, list[str]] = {}

    def script(self, kind: Kind, *steps: Step) -> None:
        """Queues answers for the next requests of a kind; after them comes the behaviour again."""
        self._scripts[kind].extend(steps)

    def reset(self) -> None:
        """Forgets counters, scripts and conversations."""
        self.stats.reset()
        self.conversations.clear()
        for steps in self._scripts.values():
            steps.clear()

    def connection(self) -> Connection:
        """The protocol factory of the server."""
        self.stats.connections += 1
        return Connection(self.handle, self._connections)

    def close_connections(self) -> None:
        """Cuts off every client."""
        for connection in list(self._connections):
            connection.close()

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answers one request."""
        route = self._routes.get((request.method, request.path))
        if _DIFY_STOP.fullmatch(request.path):
            route = ("dify_stop", brains.dify_stop)
        if route is None:
            self._control(request, reply)
            return
        kind, answer = route
        self.stats.count(kind, "requests")
        exchange = Exchange(self, kind, request, reply, self._next_step(kind))
        self.stats.remember(exchange.record())
        try:
            await exchange.run(answer)
        except asyncio.CancelledError:
            self.stats.count(kind, "cancelled")
            raise
        except Broken:
            self.stats.count(kind, "broken")
            reply.break_off()
        else:
            self.stats.count(kind, "finished")

    def _next_step(self, kind: Kind) -> Step:
        return self._scripts[kind].popleft() if self._scripts[kind] else Step()

    def _control(self, request: Request, reply: Reply) -> None:
        if (request.method, request.path) == ("GET", "/stats"):
            counted = {**self.stats.as_dict(), "connections": self.stats.connections}
            reply.json({**counted, "last": self.stats.last()})
        elif (request.method, request.path) == ("POST", "/reset"):
            self.reset()
            reply.json({})
        elif (request.method, request.path) == ("POST", "/script"):
            self._take_script(request.json())
            reply.json({})
        else:
            reply.json({"error": {"message": f"no such path: {request.path}"}}, status=404)

    def _take_script(self, script: dict[str, Any]) -> None:
        for kind in KINDS:
            self.script(kind, *(Step(**step) for step in script.get(kind, [])))
        self.behaviour = dataclasses.replace(self.behaviour, **script.get("behaviour", {}))


class Exchange:
    """One request being answered."""

    def __init__(
        self, upstream: Upstream, kind: Kind, request: Request, reply: Reply, step: Step
    ) -> None:
        self.behaviour = upstream.behaviour
        reply.piece_bytes = self.behaviour.piece_bytes
        self.conversations = upstream.conversations
        self.kind = kind
        self.request = request
        self.reply = reply
        self.step = step
        self.sent = 0
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        has_form = kind in ("transcriptions", "dify_upload")
        self.fields, self.files = request.form() if has_form else ({}, {})
        self.body: dict[str, Any] = {**self.fields} if self.fields else request.json()
        if self.behaviour.tool_call and step == Step() and _may_call(self.body):
            self.step = Step(tool_calls=[json.loads(self.behaviour.tool_call)])
        if kind in ("chat", "messages"):
            self._follow_behaviour(upstream.stats.of(kind).requests)

    def _follow_behaviour(self, number: int) -> None:
        """What it says of thinking and breaking off, in the step."""
        is_told = thinking.told_to_think(self.body)
        # Anthropic's models wait to be told.
        if (is_told or (is_told is None and self.kind == "chat")) and not self.step.thinking:
            self.step = dataclasses.replace(self.step, thinking=self.behaviour.thinking)
        if number == self.behaviour.break_request:
            self.step = dataclasses.replace(self.step, break_after=_PIECES_BEFORE_BREAK)

    def record(self) -> dict[str, Any]:
        """What is remembered of the request."""
        sizes = {f"{name}_bytes": len(content) for name, content in self.files.items()}
        return {
            "kind": self.kind,
            "path": self.request.path,
            "headers": self.request.headers,
            "body": {**self.body, **sizes},
        }

    async def run(self, answer: Answer) -> None:
        await self.until(self.step.wait_ms)
        refusal = self._refusal()
        if refusal is not None:
            status, error = refusal
            own = brains.refusal(self.kind, status, error["message"])
            status, body = own or (status, {"error": error})
            self.reply.json(body, status=status)
        elif self.step.status != 200 or self.step.raw is not None:
            self._say_raw()
        else:
            await answer(self)

    async def until(self, after_ms: float) -> None:
        """Waits until so long after the request; never longer because earlier waits were late."""
        left = self._began_at + after_ms / 1000 - self._loop.time()
        if left > 0:
            await asyncio.sleep(left)

    async def piece(self, data: bytes) -> None:
        """Sends a piece of a stream, unless the script breaks off or falls silent here."""
        if self.sent == self.step.break_after:
            raise Broken
        if self.sent == self.step.hang_after:
            await asyncio.Event().wait()
        self.reply.write(data)
        self.sent += 1

    def said(self) -> str:
        """What the model says."""
        if self.step.text is not None:
            return self.step.text
        if self.step.tool_calls:
            return ""
        return self.behaviour.reply.replace("{text}", _last_user_text(self.body))

    def pieces(self) -> list[str]:
        """What the model says, in the pieces in which it is sent."""
        return tokens(self.said())

    def usage(self, text: str) -> tuple[int, int]:
        asked = estimate_tokens(json.dumps(self.body.get("messages", []), ensure_ascii=False))
        return asked, estimate_tokens(text)

    def _refusal(self) -> tuple[int, dict[str, str]] | None:
        headers = self.request.headers
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if self.behaviour.key and key != self.behaviour.key:
            return 401, {"message": f"Incorrect API key provided: {key}", "type": "auth_error"}
        model = self.body.get("model")
        if self.behaviour.models and self.kind != "models" and model not in self.behaviour.models:
            return 404, {"message": f"The model `{model}` does not exist", "code": "not_found"}
        if self.kind == "messages" and (why := thinking.refusal(self.body)):
            return 400, {"message": why, "type": "invalid_request_error"}
        return None

    def _say_raw(self) -> None:
        step = self.step
        body = step.raw if step.raw is not None else json.dumps(step.body or {})
        self.reply.send(
            step.status,
            body=body.encode("latin-1"),
            content_type=step.content_type or "application/json",
            headers=step.headers,
        )


Answer = Callable[[Exchange], Awaitable[None]]


def tokens(text: str) -> list[str]:
    """Words with the space after them; Han characters one by one."""
    return _TOKEN.findall(text)


def _may_call(body: dict[str, Any]) -> bool:
    """Whether tools are offered, and the last message is a user's words."""
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content")
    parts = content if isinstance(content, list) else []
    is_result = any(part.get("type") == "tool_result" for part in parts)
    is_words = messages[-1].get("role") == "user" and not is_result
    return bool(body.get("tools")) and is_words


def _last_user_text(body: dict[str, Any]) -> str:
    if "query" in body:
        return str(body["query"])
    for message in reversed(body.get("messages", [])):
        content = message.get("content")
        if message.get("role") != "user":
            continue
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            return " ".join(str(part["text"]) for part in content if part.get("text"))
    return ""


def _fragments(text: str, size: int = 7) -> Iterator[str]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


def _arguments(call: dict[str, Any]) -> str:
    arguments = call.get("arguments", {})
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


# --- OpenAI's chat ------------------------------------------------------------------------------


def _openai_deltas(exchange: Exchange) -> Iterator[dict[str, Any]]:
    step = exchange.step
    for piece in tokens(step.thinking):
        yield {"reasoning_content": piece}
    for piece in tokens(exchange.said()):
        yield {"content": piece}
    for index, call in enumerate(step.tool_calls):
        head = {"id": call.get("id", f"call_{index}"), "type": "function"}
        function = {"name": call["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, **head, "function": function}]}
        for fragment in _fragments(_arguments(call)):
            yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


async def _chat(exchange: Exchange) -> None:
    if not exchange.body.get("stream"):
        await exchange.until(exchange.behaviour.llm_first_ms)
        exchange.reply.json(_openai_whole(exchange))
        return
    behaviour, step = exchange.behaviour, exchange.step
    head = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 0}
    head["model"] = exchange.body.get("model", "")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _sse({**head, "choices": [choice]})

    await exchange.until(behaviour.llm_first_ms)
    exchange.reply.start("text/event-stream")
    exchange.reply.write(chunk({"role": "assistant", "content": ""}))
    for at, delta in enumerate(_openai_deltas(exchange)):
        await exchange.until(behaviour.llm_first_ms + at * behaviour.llm_token_ms)
        await exchange.piece(chunk(delta))
    await exchange.piece(b"")
    if step.error is not None:
        exchange.reply.write(_sse({"error": step.error}))
        exchange.reply.finish()
        return
    exchange.reply.write(chunk({}, _openai_finish(step)))
    if (exchange.body.get("stream_options") or {}).get("include_usage"):
        exchange.reply.write(_sse({**head, "choices": [], "usage": _openai_usage(exchange)}))
    exchange.reply.write(b"data: [DONE]\n\n")
    exchange.reply.finish()


def _sse(value: object, event: str = "") -> bytes:
    data = f"data: {json.dumps(value)}\n\n"
    return (f"event: {event}\n{data}" if event else data).encode()


def _openai_finish(step: Step) -> str:
    return step.finish_reason or ("tool_calls" if step.tool_calls else "stop")


def _openai_usage(exchange: Exchange) -> dict[str, Any]:
    if exchange.step.usage is not None:
        return exchange.step.usage
    asked, made = exchange.usage(exchange.said())
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def _openai_whole(exchange: Exchange) -> dict[str, Any]:
    calls = [
        {
            "id": call.get("id", f"call_{index}"),
            "type": "function",
            "function": {"name": call["name"], "arguments": _arguments(call)},
        }
        for index, call in enumerate(exchange.step.tool_calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": exchange.said() or None}
    if exchange.step.thinking:
        message["reasoning_content"] = exchange.step.thinking
    if calls:
        message["tool_calls"] = calls
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "model": exchange.body.get("model", ""),
        "choices": [
            {"index": 0, "message": message, "finish_reason": _openai_finish(exchange.step)}
        ],
        "usage": _openai_usage(exchange),
    }


# --- Anthropic's messages -----------------------------------------------------------------------


def _anthropic_blocks(exchange: Exchange) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each content block: how it starts, and its deltas."""
    step = exchange.step
    if step.thinking:
        yield (
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                *({"type": "thinking_delta", "thinking": each} for each in tokens(step.thinking)),
                {"type": "signature_delta", "signature": thinking.signature(step.thinking)},
            ],
        )
    if exchange.said():
        yield (
            {"type": "text", "text": ""},
            [{"type": "text_delta", "text": piece} for piece in tokens(exchange.said())],
        )
    for index, call in enumerate(step.tool_calls):
        head = {"type": "tool_use", "id": call.get("id", f"toolu_{index}"), "name": call["name"]}
        yield (
            {**head, "input": {}},
            [
                {"type": "input_json_delta", "partial_json": fragment}
                for fragment in _fragments(_arguments(call))
            ],
        )


async def _messages(exchange: Exchange) -> None:
    behaviour, step, reply = exchange.behaviour, exchange.step, exchange.reply
    asked, made = exchange.usage(exchange.said())
    usage = step.usage or {"input_tokens": asked, "output_tokens": made}
    message: dict[str, Any] = {"id": "msg_fake", "type": "message", "role": "assistant"}
    message |= {"model": exchange.body.get("model", ""), "content": []}
    message |= {"stop_reason": None, "stop_sequence": None}
    reason = step.finish_reason or ("tool_use" if step.tool_calls else "end_turn")
    await exchange.until(behaviour.llm_first_ms)
    if not exchange.body.get("stream"):
        content = [_whole(block, deltas) for block, deltas in _anthropic_blocks(exchange)]
        reply.json({**message, "content": content, "stop_reason": reason, "usage": usage})
        return
    reply.start("text/event-stream")
    start = {
        "type": "message_start",
        "message": {**message, "usage": {**usage, "output_tokens": 1}},
    }
    reply.write(_sse(start, "message_start"))
    at = 0
    for index, (block, deltas) in enumerate(_anthropic_blocks(exchange)):
        head = {"index": index, "type": "content_block_start", "content_block": block}
        reply.write(_sse(head, "content_block_start"))
        for delta in deltas:
            await exchange.until(behaviour.llm_first_ms + at * behaviour.llm_token_ms)
            value = {"type": "content_block_delta", "index": index, "delta": delta}
            await exchange.piece(_sse(value, "content_block_delta"))
            at += 1
        stop = {"type": "content_block_stop", "index": index}
        reply.write(_sse(stop, "content_block_stop"))
    await exchange.piece(b"")
    if step.error is not None:
        reply.write(_sse({"type": "error", "error": step.error}, "error"))
        reply.finish()
        return
    delta = {"stop_reason": reason, "stop_sequence": None}
    reply.write(_sse({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta"))
    reply.write(_sse({"type": "message_stop"}, "message_stop"))
    reply.finish()


async def _count_tokens(exchange: Exchange) -> None:
    asked, _made = exchange.usage("")
    exchange.reply.json({"input_tokens": asked})


def _whole(block: dict[str, Any], deltas: list[dict[str, Any]]) -> dict[str, Any]:
    """A block as it is in a whole answer."""
    texts: dict[str, str] = {
        name: "".join(delta[name] for delta in deltas if name in delta)
        for name in ("text", "thinking", "signature")
        if name in block
    }
    if block["type"] == "tool_use":
        return {**block, "input": json.loads("".join(d["partial_json"] for d in deltas) or "{}")}
    return {**block, **texts}


# --- Speech -------------------------------------------------------------------------------------


async def _transcription(exchange: Exchange) -> None:
    step = exchange.step
    text = exchange.behaviour.transcript if step.transcript is None else step.transcript
    await exchange.until(exchange.behaviour.asr_ms)
    answer: dict[str, Any] = {"text": text}
    if exchange.body.get("response_format") == "verbose_json":
        seconds = max(0, len(exchange.files.get("file", b"")) - 44) / 32_000
        segment = {"id": 0, "start": 0.0, "end": seconds, "text": text, "avg_logprob": -0.1}
        answer |= {"language": "english", "duration": seconds, "segments": [segment]}
    exchange.reply.json(answer)


def tone(duration_ms: float) -> bytes:
    """A soft tone at 24 000 Hz that clicks nowhere."""
    whole = int(duration_ms) // _PIECE_MS + 1
    return (_TONE_PIECE * whole)[: int(duration_ms) * SPEECH_RATE_HZ // 1000 * 2]


# 100 ms hold whole periods of the tone.
_TONE_PIECE = b"".join(
    struct.pack("<h", round(6000 * math.sin(2 * math.pi * _TONE_HZ * at / SPEECH_RATE_HZ)))
    for at in range(SPEECH_RATE_HZ * _PIECE_MS // 1000)
)


async def _speech(exchange: Exchange) -> None:
    behaviour = exchange.behaviour
    text = str(exchange.body.get("input", ""))
    speed = float(exchange.body.get("speed") or 1.0)
    audio = tone(len(text) * behaviour.tts_ms_per_char / speed)
    await exchange.until(behaviour.tts_first_ms)
    exchange.reply.start(exchange.step.content_type or "audio/pcm")
    size = len(_TONE_PIECE)
    for at, start in enumerate(range(0, len(audio), size)):
        if behaviour.tts_speed:
            await exchange.until(behaviour.tts_first_ms + at * _PIECE_MS / behaviour.tts_speed)
        await exchange.piece(audio[start : start + size])
    await exchange.piece(b"")
    exchange.reply.finish()


# --- The rest -----------------------------------------------------------------------------------


async def _embeddings(exchange: Exchange) -> None:
    texts = exchange.body.get("input", [])
    texts = [texts] if isinstance(texts, str) else texts
    wanted = exchange.body.get("dimensions") or exchange.body.get("output_dimension")
    dimensions = int(wanted or exchange.behaviour.dimensions)
    data = [
        {"object": "embedding", "index": index, "embedding": embedding(text, dimensions)}
        for index, text in enumerate(texts)
    ]
    total = sum(estimate_tokens(text) for text in texts)
    usage = {"prompt_tokens": total, "total_tokens": total}
    model = exchange.body.get("model", "")
    # Vendors need not keep the order; the index tells it.
    exchange.reply.json({"object": "list", "data": data[::-1], "model": model, "usage": usage})


def embedding(text: str, dimensions: int) -> list[float]:
    """A vector that depends on the text's characters only."""
    sums = [0.0] * dimensions
    for character in text:
        sums[ord(character) % dimensions] += 1.0
    norm = math.sqrt(sum(value * value for value in sums)) or 1.0
    return [value / norm for value in sums]


def relevance(query: str, text: str) -> float:
    """The share of the query's words, or Han characters, that are in the text: 0 to 1."""
    wanted, there = ({each.strip(" .,?!").casefold() for each in tokens(t)} for t in (query, text))
    return len(wanted & there) / len(wanted) if wanted else 0.0


def _ranked(query: str, texts: list[str]) -> list[tuple[int, float]]:
    """Indexes and scores, best first, as vendors give them."""
    scores = [(index, relevance(query, text)) for index, text in enumerate(texts)]
    return sorted(scores, key=lambda each: -each[1])


def _results(body: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]:
    count = options.get("top_n", options.get("top_k"))
    ranked = _ranked(str(body.get("query", "")), body.get("documents", []))[:count]
    return [{"index": index, "relevance_score": score} for index, score in ranked]


async def _rerank(exchange: Exchange) -> None:
    body = exchange.body
    # Voyage is known by its word for the count.
    name = "data" if "top_k" in body else "results"
    exchange.reply.json({"model": body.get("model", ""), name: _results(body, body)})


async def _rerank_texts(exchange: Exchange) -> None:
    ranked = _ranked(str(exchange.body.get("query", "")), exchange.body.get("texts", []))
    exchange.reply.json([{"index": index, "score": score} for index, score in ranked])


async def _rerank_nested(exchange: Exchange) -> None:
    results = _results(exchange.body.get("input", {}), exchange.body.get("parameters", {}))
    exchange.reply.json({"output": {"results": results}, "request_id": "fake"})


async def _models(exchange: Exchange) -> None:
    names = exchange.behaviour.models or ("fake-model",)
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "fake"} for name in names]
    exchange.reply.json({"object": "list", "data": data})
