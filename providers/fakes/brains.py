"""Services that answer for an assistant and keep the conversation, as they document their APIs.

Dify     POST /v1/chat-messages   /v1/chat-messages/<task>/stop   /v1/files/upload
FastGPT  POST /api/v1/chat/completions
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from providers.tokens import estimate_tokens

if TYPE_CHECKING:
    from providers.fakes.upstream import Exchange

_PING = b"event: ping\n\n"


def refusal(kind: str, status: int, message: str) -> tuple[int, dict[str, Any]] | None:
    """A refusal in the service's own form; None for kinds that are no such service."""
    if kind.startswith("dify"):
        code = "unauthorized" if status == 401 else "invalid_param"
        return status, {"code": code, "message": message, "status": status}
    if kind == "fastgpt":
        # FastGPT gives all of them this status; the text says what it is.
        text = "unAuthApiKey" if status == 401 else ""
        return 500, {"code": 514, "statusText": text, "message": message, "data": None}
    return None


# --- Dify ---------------------------------------------------------------------------------------


async def dify(exchange: Exchange) -> None:
    """A message to a chat application, answered as a stream."""
    body, reply = exchange.body, exchange.reply
    known = exchange.conversations
    conversation_id = str(body.get("conversation_id") or "")
    if conversation_id and conversation_id not in known:
        told = {"code": "not_found", "message": "Conversation Not Exists.", "status": 404}
        reply.json(told, status=404)
        return
    conversation_id = conversation_id or str(uuid.uuid4())
    known.setdefault(conversation_id, []).append(str(body.get("query", "")))
    head = {"task_id": str(uuid.uuid4()), "conversation_id": conversation_id}
    await exchange.until(exchange.behaviour.llm_first_ms)
    reply.start("text/event-stream")
    reply.write(_PING + _data({**head, "event": "workflow_started", "data": {}}))
    for at, event in enumerate(_dify_events(exchange)):
        await exchange.until(exchange.behaviour.llm_first_ms + at * exchange.behaviour.llm_token_ms)
        await exchange.piece(_data({**head, **event}))
    await exchange.piece(b"")
    if exchange.step.error is not None:
        reply.write(_data({**head, "event": "error", **exchange.step.error}))
    else:
        metadata = {"usage": _usage(exchange, str(body.get("query", "")))}
        reply.write(_data({**head, "event": "message_end", "metadata": metadata}))
    reply.finish()


def _dify_events(exchange: Exchange) -> Iterator[dict[str, Any]]:
    step = exchange.step
    is_agent = bool(step.thinking or step.tool_calls)
    for number, call in enumerate(step.tool_calls, 1):
        arguments = json.dumps(call.get("arguments", {}))
        yield {"event": "agent_thought", "id": f"thought-{number}", "thought": ""}
        thought = {"thought": step.thinking, "tool": call["name"], "tool_input": arguments}
        yield {"event": "agent_thought", "id": f"thought-{number}", **thought}
    for text in exchange.pieces():
        yield {"event": "agent_message" if is_agent else "message", "answer": text}
    if step.replacement is not None:
        yield {"event": "message_replace", "answer": step.replacement}


async def dify_stop(exchange: Exchange) -> None:
    """The wish that an answer ends."""
    exchange.reply.json({"result": "success"})


async def dify_upload(exchange: Exchange) -> None:
    """A file that a message may then refer to."""
    exchange.reply.json({"id": str(uuid.uuid4()), "name": "image.png"})


# --- FastGPT ------------------------------------------------------------------------------------


async def fastgpt(exchange: Exchange) -> None:
    """A message to an application, answered as a stream in OpenAI's form."""
    body, reply, step = exchange.body, exchange.reply, exchange.step
    said = body.get("messages") or [{}]
    exchange.conversations.setdefault(str(body.get("chatId", "")), []).append(
        _words(said[-1].get("content"))
    )

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data({"id": "", "object": "", "created": 0, "model": "", "choices": [choice]})

    await exchange.until(exchange.behaviour.llm_first_ms)
    reply.start("text/event-stream;charset=utf-8")
    reply.write(chunk({"role": "assistant", "content": ""}))
    thoughts = [{"reasoning_content": step.thinking}] if step.thinking else []
    deltas = [*thoughts, *({"role": "assistant", "content": text} for text in exchange.pieces())]
    for at, delta in enumerate(deltas):
        await exchange.until(exchange.behaviour.llm_first_ms + at * exchange.behaviour.llm_token_ms)
        await exchange.piece(chunk(delta))
    await exchange.piece(b"")
    if step.error is not None:
        reply.write(b"event: error\n" + _data(step.error))
    else:
        reply.write(chunk({}, step.finish_reason or "stop") + b"data: [DONE]\n\n")
    reply.finish()


# --- Both ---------------------------------------------------------------------------------------


def _words(content: object) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


def _data(value: object) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _usage(exchange: Exchange, asked: str) -> dict[str, int]:
    if exchange.step.usage is not None:
        return exchange.step.usage
    read, written = estimate_tokens(asked), estimate_tokens(exchange.said())
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }
