"""From the neutral form to the messages dialect: answers for clients, errors, requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway import neutral
from gateway.dialects import sse
from gateway.dialects.messages.asking import encode_request, tool_use
from gateway.dialects.messages.events import REASONS
from gateway.neutral import Feature

__all__ = [
    "PARAMS", "StreamEncoder", "encode_answer", "encode_request", "error_body", "error_event",
]  # fmt: skip

_Json = dict[str, Any]

# What clients of this dialect call the features.
PARAMS: Mapping[Feature, str] = MappingProxyType(
    {
        "max_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "stop": "stop_sequences",
        "response_format": "output_config.format",
        "reasoning_effort": "output_config.effort",
        "thinking": "thinking",
        "tools": "tools",
        "tool_choice": "tool_choice",
        "parallel_tools": "tool_choice.disable_parallel_tool_use",
        "strict_tools": "tools",
        "server_tools": "tools",
        "documents": "messages",
        "images": "messages",
        "image_urls": "messages",
        "tool_result_images": "messages",
        "prefill": "messages",
        "user": "metadata.user_id",
    }
)
_STOP_REASONS = {reason: name for name, reason in REASONS.items()}
_PING = sse.event("ping", b'{"type":"ping"}')
_CHARS_PER_TOKEN = 4


# --- Whole answers -------------------------------------------------------------------------------


def encode_answer(answer: neutral.Answer, *, request_id: str, model: str, created: int) -> bytes:
    """A whole answer. `request_id` is the answer's own id; nothing in this dialect is dated."""
    content = [block for each in answer.blocks if (block := _block(each, request_id))]
    has_calls = any(isinstance(block, neutral.ToolUse) for block in answer.blocks)
    has_refused = any(isinstance(block, neutral.Refusal) for block in answer.blocks)
    message = _message(request_id, model, _usage(answer.usage or neutral.Usage()))
    # Clients read the first block without looking whether there is one.
    message["content"] = content or [{"type": "text", "text": ""}]
    message["stop_reason"] = _stop_reason(answer.reason, has_calls, has_refused)
    message["stop_sequence"] = answer.stop_sequence
    return msgspec.json.encode(message)


def _message(id_: str, model: str, usage: _Json) -> _Json:
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _block(block: neutral.Block, request_id: str) -> _Json | None:
    match block:
        case neutral.Text(text) | neutral.Refusal(text):
            return {"type": "text", "text": text} if text else None
        case neutral.Thought(text, signature):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case neutral.HiddenThought(data):
            return {"type": "redacted_thinking", "data": data}
        case neutral.ToolUse():
            return tool_use(block, id_=block.id or _call_id(request_id, block.name))
        case _:
            return None  # models answer with nothing else


def _call_id(request_id: str, part: object) -> str:
    """An id for a call that the model gave none."""
    return f"toolu_{request_id}_{part}"


def _stop_reason(reason: neutral.Reason, has_calls: bool, has_refused: bool) -> str:
    """The reason, as what was answered shows it: clients call tools by this word alone."""
    if reason in ("end", "tool_calls"):
        if has_calls:
            return "tool_use"
        return "refusal" if has_refused else "end_turn"
    return _STOP_REASONS[reason]


def _usage(usage: neutral.Usage) -> _Json:
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    told: _Json = {
        "input_tokens": max(0, usage.input_tokens - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return told


# --- Errors --------------------------------------------------------------------------------------


def error_body(
    error_type: str, message: str, *, param: str | None, code: str | None, request_id: str
) -> bytes:
    """An error as a whole answer."""
    error = {"type": error_type, "message": message, "param": param, "code": code}
    body: _Json = {"type": "error", "error": error}
    if request_id:
        body["request_id"] = request_id
    return msgspec.json.encode(body)


def error_event(
    error_type: str, message: str, *, param: str | None, code: str | None, request_id: str
) -> bytes:
    """An error in the middle of a stream, the last thing that it says."""
    body = error_body(error_type, message, param=param, code=code, request_id=request_id)
    return sse.event("error", body)


# --- Streams -------------------------------------------------------------------------------------


class _Extent:
    """Whether the JSON object that is told in pieces has come to its end."""

    def __init__(self) -> None:
        self.is_over = False
        self._depth = 0
        self._in_string = False
        self._is_escaped = False

    def push(self, text: str) -> None:
        for char in text:
            if self._is_escaped:
                self._is_escaped = False
            elif self._in_string:
                self._is_escaped = char == "\\"
                self._in_string = char != '"'
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                self.is_over = self._depth <= 0


class _OpenCall:
    def __init__(self, number: int) -> None:
        self.number = number
        self.extent = _Extent()


class StreamEncoder:
    """Events as a stream that every client of the dialect reads, whatever order they come in.

    Blocks of this dialect follow one another, each opened and closed once. What comes while a call
    is not complete waits until it is: calls that are told side by side lose nothing.
    """

    def __init__(
        self,
        *,
        request_id: str,
        model: str,
        include_usage: bool = True,
        input_tokens: int = 0,
        created: int = 0,
    ) -> None:
        """`request_id` is the answer's own id, `input_tokens` what it is guessed to have read.

        The dialect always tells usage and no date.
        """
        self._id = request_id
        self._model = model
        self._usage: neutral.Usage | None = None
        self._guessed_input = input_tokens
        self._has_started = False
        self._is_over = False
        self._next_index = 0
        self._open: str | _OpenCall | None = None  # the type of the open block, or its call
        self._calls: set[int] = set()
        # What has to wait for the open call to end; arguments with their call, in its turn.
        self._waiting: deque[neutral.Event] = deque()
        self._held: dict[int, list[neutral.CallArguments]] = {}
        self._has_refused = False
        self._chars = 0

    def encode(self, event: neutral.Event) -> bytes:
        """What the client is sent for this event, whole events of the stream or nothing yet."""
        if self._is_over:
            return b""
        match event:
            case neutral.Started(usage):
                self._usage = usage or self._usage
                return self._start()
            case neutral.Failed(type=type_, message=message):
                self._is_over = True
                return error_event(type_, message, param=None, code=None, request_id="")
            case neutral.Finished():
                return self._start() + self._finish(event)
            case _:
                return self._start() + self._in_order(event)

    def ping(self) -> bytes:
        """What keeps a silent connection open."""
        return b"" if self._is_over else _PING

    # --- The frame -------------------------------------------------------------------------------

    def _start(self) -> bytes:
        if self._has_started:
            return b""
        self._has_started = True
        usage = self._usage or neutral.Usage(input_tokens=self._guessed_input)
        told = {**_usage(usage), "output_tokens": max(1, usage.output_tokens)}
        return _event("message_start", message=_message(self._id, self._model, told))

    def _finish(self, finished: neutral.Finished) -> bytes:
        told = self._told(force=True)
        if not self._next_index:
            told += self._opened("text", {"type": "text", "text": ""})
        told += self._closed()
        reason = _stop_reason(finished.reason, bool(self._calls), self._has_refused)
        told += _event(
            "message_delta",
            delta={"stop_reason": reason, "stop_sequence": finished.stop_sequence},
            usage=_usage(finished.usage or self._guess()),
        )
        self._is_over = True
        return told + _event("message_stop")

    def _guess(self) -> neutral.Usage:
        written = -(-self._chars // _CHARS_PER_TOKEN)
        if self._usage:
            return self._usage if self._usage.output_tokens > 1 else _with(self._usage, written)
        return neutral.Usage(self._guessed_input, written)

    # --- Order -----------------------------------------------------------------------------------

    def _in_order(self, event: neutral.Event) -> bytes:
        match event:
            case neutral.CallArguments(call) if self._is_open(call):
                told = self._tell(event)
            case neutral.CallArguments(call):
                told = b""
                # Others are of a call that is over, or was never begun.
                if call in self._held:
                    self._held[call].append(event)
            case _:
                told = b""
                if isinstance(event, neutral.CallStarted):
                    self._held.setdefault(event.call, [])
                self._waiting.append(event)
        return told + self._told(force=False)

    def _told(self, *, force: bool) -> bytes:
        """What has waited, as far as its turn has come; all of it when nothing follows."""
        told: list[bytes] = []
        while self._waiting and (force or not self._is_held()):
            event = self._waiting.popleft()
            told.append(self._tell(event))
            if isinstance(event, neutral.CallStarted):
                told += map(self._tell, self._held.pop(event.call, ()))
        return b"".join(told)

    def _is_held(self) -> bool:
        return isinstance(self._open, _OpenCall) and not self._open.extent.is_over

    def _is_open(self, call: int) -> bool:
        return isinstance(self._open, _OpenCall) and self._open.number == call

    # --- Blocks ----------------------------------------------------------------------------------

    def _tell(self, event: neutral.Event) -> bytes:
        match event:
            case neutral.TextDelta(text):
                return self._text(text)
            case neutral.RefusalDelta(text):
                self._has_refused = True
                return self._text(text)
            case neutral.ThinkingDelta(text):
                return self._in_thought("thinking_delta", thinking=text) if text else b""
            case neutral.ThoughtSigned(signature):
                return self._in_thought("signature_delta", signature=signature) + self._closed()
            case neutral.ThoughtHidden(data):
                opened = self._opened("hidden", {"type": "redacted_thinking", "data": data})
                return opened + self._closed()
            case neutral.CallStarted():
                return self._call(event)
            case neutral.CallArguments(call, text):
                return self._arguments(call, text)
            case _:
                return b""

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        opened = b"" if self._open == "text" else self._opened("text", {"type": "text", "text": ""})
        self._chars += len(text)
        return opened + self._delta("text_delta", text=text)

    def _in_thought(self, kind: str, **said: str) -> bytes:
        opened = b""
        if self._open != "thinking":
            block = {"type": "thinking", "thinking": "", "signature": ""}
            opened = self._opened("thinking", block)
        self._chars += len(said.get("thinking", ""))
        return opened + self._delta(kind, **said)

    def _call(self, call: neutral.CallStarted) -> bytes:
        if call.call in self._calls:
            return b""
        self._calls.add(call.call)
        id_ = call.id or _call_id(self._id, call.call)
        block = {"type": "tool_use", "id": id_, "name": call.name, "input": {}}
        return self._opened(_OpenCall(call.call), block)

    def _arguments(self, call: int, text: str) -> bytes:
        if not (self._is_open(call) and text):
            return b""
        assert isinstance(self._open, _OpenCall)
        self._open.extent.push(text)
        self._chars += len(text)
        return self._delta("input_json_delta", partial_json=text)

    def _opened(self, kind: str | _OpenCall, block: _Json) -> bytes:
        closed = self._closed()
        self._open = kind
        index, self._next_index = self._next_index, self._next_index + 1
        return closed + _event("content_block_start", index=index, content_block=block)

    def _closed(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", index=self._next_index - 1)

    def _delta(self, kind: str, **said: str) -> bytes:
        delta = {"type": kind, **said}
        return _event("content_block_delta", index=self._next_index - 1, delta=delta)


def _with(usage: neutral.Usage, output_tokens: int) -> neutral.Usage:
    return neutral.Usage(
        usage.input_tokens, output_tokens, usage.cache_read_tokens, usage.cache_write_tokens
    )


def _event(name: str, **members: Any) -> bytes:
    return sse.event(name, msgspec.json.encode({"type": name, **members}))
