"""Streams as the many vendors of the dialect send them, each with its own habits."""

from __future__ import annotations

import json
from typing import Any

UPSTREAM = "upstream-model-1"
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def event(payload: object) -> bytes:
    return b"data: %b\n\n" % json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": UPSTREAM}
    return event({**head, "choices": [choice], **more})


def usage_chunk(**usage: Any) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": UPSTREAM}
    return event({**head, "choices": [], "usage": usage or USAGE})


def call(index: int | None, id_: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    if index is not None:
        said["index"] = index
    if id_ is not None:
        said["id"] = id_
    return said


def calls(*said: dict[str, Any]) -> bytes:
    return chunk({"tool_calls": list(said)})


FIRST = chunk({"role": "assistant", "content": ""})
TEXT = (
    FIRST
    + chunk({"content": "Good "})
    + chunk({"content": "morning, “Ann” \\ 早"})
    + chunk({}, "stop")
    + usage_chunk()
    + DONE
)
THINKING = (
    FIRST
    + chunk({"reasoning_content": "Hm. "})
    + chunk({"reasoning": "So."})
    + chunk({"content": "42"})
    + chunk({}, "stop")
    + DONE
)
TOOLS = (
    FIRST
    + calls(call(0, "call_a", "look", ""))
    + calls(call(0, None, None, '{"city":'))
    + calls(call(1, "call_b", "time", ""))
    + calls(call(0, None, None, '"Rome"}'), call(1, None, None, "{}"))
    + chunk({}, "tool_calls")
    + usage_chunk()
    + DONE
)
# Keep-alive comments, a number for each event, other members before the model's name.
ODD_FRAME = (
    b": processing\n\n"
    + b"id: 1\n"
    + event({"choices": [{"delta": {"content": "Hi"}, "index": 0}], "model": UPSTREAM, "id": "1"})
    + b": ping\n\n"
    + b"id: 2\nevent: chunk\n"
    + event({"choices": [{"delta": {}, "finish_reason": "stop"}], "model": UPSTREAM, "id": "1"})
    + DONE
)
ALL = {"text": TEXT, "thinking": THINKING, "tools": TOOLS, "odd frame": ODD_FRAME}


def pieces(stream: bytes, size: int) -> list[bytes]:
    """The stream in pieces of a size; 0: in one."""
    size = size or len(stream) or 1
    return [stream[at : at + size] for at in range(0, len(stream), size)]
