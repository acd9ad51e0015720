"""Streams as the vendor of the dialect, and those who imitate it, send them."""

from __future__ import annotations

import json
from typing import Any


def event(kind: str, **members: Any) -> str:
    data = json.dumps({"type": kind, **members}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n"


def start(**usage: int) -> str:
    message: dict[str, Any] = {
        "id": "msg_01Up",
        "type": "message",
        "role": "assistant",
        "model": "upstream-model-1",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage or {"input_tokens": 25, "output_tokens": 1},
    }
    return event("message_start", message=message)


def block(index: int, kind: str, **members: Any) -> str:
    return event("content_block_start", index=index, content_block={"type": kind, **members})


def delta(index: int, kind: str, **members: Any) -> str:
    return event("content_block_delta", index=index, delta={"type": kind, **members})


def stop(index: int) -> str:
    return event("content_block_stop", index=index)


def end(reason: str, *, sequence: str | None = None, **usage: int) -> str:
    told = usage or {"output_tokens": 15}
    change = {"stop_reason": reason, "stop_sequence": sequence}
    return event("message_delta", delta=change, usage=told) + event("message_stop")


PING = event("ping")
TEXT = (
    start()
    + block(0, "text", text="")
    + PING
    + delta(0, "text_delta", text="今天")
    + delta(0, "text_delta", text=" is\nfine 🌞")
    + stop(0)
    + end("end_turn")
)
TOOL_USE = (
    start(input_tokens=472, output_tokens=2)
    + block(0, "text", text="")
    + delta(0, "text_delta", text="Let me look.")
    + stop(0)
    + block(1, "tool_use", id="toolu_01A", name="get_weather", input={})
    + delta(1, "input_json_delta", partial_json="")
    + delta(1, "input_json_delta", partial_json='{"city": "Ber')
    + delta(1, "input_json_delta", partial_json='lin"}')
    + stop(1)
    + end("tool_use", output_tokens=89)
)
PARALLEL = (
    start()
    + block(0, "tool_use", id="toolu_01A", name="get_weather", input={})
    + delta(0, "input_json_delta", partial_json='{"city": "Berlin"}')
    + stop(0)
    + block(1, "tool_use", id="toolu_01B", name="get_time", input={})
    + stop(1)
    + block(2, "tool_use", id="toolu_01C", name="get_weather", input={})
    + delta(2, "input_json_delta", partial_json='{"city": "Xi\\u0027an"}')
    + stop(2)
    + end("tool_use")
)
THINKING = (
    start(input_tokens=5, cache_read_input_tokens=100, cache_creation_input_tokens=20)
    + block(0, "thinking", thinking="", signature="")
    + delta(0, "thinking_delta", thinking="Let me ")
    + delta(0, "thinking_delta", thinking="think.")
    + delta(0, "signature_delta", signature="EqQBCgIYAhIM")
    + stop(0)
    + block(1, "redacted_thinking", data="EmwKAhgBEgy3")
    + stop(1)
    + block(2, "text", text="")
    + delta(2, "text_delta", text="42")
    + stop(2)
    + end("end_turn", output_tokens=30)
)
REFUSAL = (
    start()
    + event(
        "message_delta",
        delta={
            "stop_reason": "refusal",
            "stop_sequence": None,
            "stop_details": {"type": "refusal", "category": None, "explanation": "I will not."},
        },
        usage={"output_tokens": 3},
    )
    + event("message_stop")
)
FAILING = (
    start()
    + block(0, "text", text="")
    + delta(0, "text_delta", text="Well")
    + event("error", error={"type": "overloaded_error", "message": "Overloaded"})
)
# Of a vendor that imitates the dialect: no usage, no blocks, no names of events, whole input.
SLOPPY = (
    'data: {"type":"message_start","message":{"id":"1","model":"upstream-model-1"}}\n\n'
    ": keep-alive\n\n"
    'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n'
    'data: {"type":"something_new","delta":"what","index":"x"}\n\n'
    'data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1",'
    '"name":"f","input":{"a":1}}}\n\n'
    'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
    'data: {"type":"message_stop"}\n\n'
    "data: [DONE]\n\n"
)
SERVER_TOOL = (
    start()
    + block(0, "server_tool_use", id="srvtoolu_1", name="web_search", input={})
    + delta(0, "input_json_delta", partial_json='{"query":"x"}')
    + stop(0)
    + block(1, "web_search_tool_result", tool_use_id="srvtoolu_1", content=[])
    + stop(1)
    + block(2, "text", text="")
    + delta(2, "citations_delta", citation={"type": "web_search_result_location"})
    + delta(2, "text_delta", text="Found.")
    + stop(2)
    + end("end_turn")
)

WHOLE = {
    "text": TEXT,
    "tool_use": TOOL_USE,
    "parallel": PARALLEL,
    "thinking": THINKING,
    "refusal": REFUSAL,
    "sloppy": SLOPPY,
    "server_tool": SERVER_TOOL,
}
ALL = {**WHOLE, "failing": FAILING}


def pieces(stream: str | bytes, size: int) -> list[bytes]:
    """The stream cut into pieces of a size; 0 for one piece."""
    data = stream.encode() if isinstance(stream, str) else stream
    size = size or len(data) or 1
    return [data[at : at + size] for at in range(0, len(data), size)]
