"""The neutral form → chat completions: a request for an upstream, an answer for a client.

What of a request goes where, beyond names that differ:

thinking              `reasoning_effort` by the budget in tokens: low below 4,096, medium below
                      16,384, high from there. As the model sees fit, or none: nothing is sent, as
                      models that cannot think refuse the word; `thinking_fields` are the vendor's
                      own words in its place.
thoughts of history   left out: no vendor of this dialect can read another's. Nothing else is.
marks for a cache     left out: they are hints, and vendors of this dialect cache by themselves.
failed tool results   begin with "Error: ".
images in results     follow in a message of the user's, which says which call they are of.
neighbouring texts    one text, with a blank line between: many vendors take no parts of texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from core.ids import prefixed_id
from gateway.dialects.chat_completions.decode import OTHERS
from gateway.dialects.chat_completions.errors import error_json
from gateway.neutral import (
    Answer,
    Block,
    CallArguments,
    CallStarted,
    Document,
    Event,
    Failed,
    Feature,
    Finished,
    HiddenThought,
    Image,
    Inexpressible,
    Message,
    Reason,
    Refusal,
    RefusalDelta,
    Request,
    ResponseFormat,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Thought,
    ThoughtHidden,
    ThoughtSigned,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
)

Json = dict[str, Any]

MAX_STOP = 4
# Budgets in tokens below which an effort is enough.
EFFORTS = ((4_096, "low"), (16_384, "medium"))
HIGHEST_EFFORT = "high"
FAILED = "Error: "
IMAGES_FOLLOW = "The result is in the images of the next message."
IMAGES_OF = "Images in the result of the tool call {id}:"

# What the dialect calls the features that a request may have.
PARAMS: Mapping[Feature, str] = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "logit_bias": "logit_bias",
    "logprobs": "logprobs",
    "response_format": "response_format",
    "reasoning_effort": "reasoning_effort",
    "thinking": "reasoning_effort",
    "tool_choice": "tool_choice",
    "parallel_tools": "parallel_tool_calls",
    "strict_tools": "tools",
    "server_tools": "web_search_options",
    "documents": "messages",
    "image_urls": "messages",
    "tool_result_images": "messages",
    "images": "messages",
    "tools": "tools",
    "prefill": "messages",
    "user": "user",
    "modalities": "modalities",
    "prediction": "prediction",
    "verbosity": "verbosity",
    "moderation": "moderation",
}


# --- Requests ------------------------------------------------------------------------------------


def encode_request(
    request: Request,
    *,
    model: str,
    default_max_tokens: int,
    max_tokens_name: str = "max_tokens",
    thinking_fields: Mapping[str, Any] | None = None,
) -> bytes:
    """The request's body for an upstream. Raises Inexpressible.

    `default_max_tokens` is for dialects that must name a limit; this one need not. OpenAI's own
    thinking models want `max_completion_tokens` as `max_tokens_name`.
    """
    body: Json = {"model": model, "messages": list(_messages(request)), **_limits(request)}
    if request.max_tokens is not None:
        body[max_tokens_name] = request.max_tokens
    body |= _tooling(request)
    body |= _thinking(request.thinking) if thinking_fields is None else thinking_fields
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    for feature, value in request.others.items():
        body |= _other(feature, value)
    if request.user:
        body["user"] = request.user
    if request.is_streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return _json(body)


def _limits(request: Request) -> Json:
    if request.top_k is not None:
        raise Inexpressible("top_k")
    if len(request.stop) > MAX_STOP:
        raise Inexpressible("stop")
    given = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _tooling(request: Request) -> Json:
    """Tools and how to choose. Without tools the rest has no meaning, and vendors refuse it."""
    if not request.tools:
        return {}
    said: Json = {"tools": [_tool(tool) for tool in request.tools]}
    if request.tool_choice is not None:
        said["tool_choice"] = _tool_choice(request.tool_choice)
    if request.parallel_tools is not None:
        said["parallel_tool_calls"] = request.parallel_tools
    return said


def _tool(tool: Tool) -> Json:
    function: Json = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.is_strict is not None:
        function["strict"] = tool.is_strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | Json:
    if choice.kind == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.kind == "any" else choice.kind


def _thinking(thinking: Thinking | None) -> Json:
    if thinking is None or not (thinking.is_on or thinking.effort == "none"):
        return {}
    if thinking.effort:
        return {"reasoning_effort": thinking.effort}
    if thinking.budget_tokens is None:
        return {}
    for below, effort in EFFORTS:
        if thinking.budget_tokens < below:
            return {"reasoning_effort": effort}
    return {"reasoning_effort": HIGHEST_EFFORT}


def _response_format(wanted: ResponseFormat) -> Json:
    if wanted.kind == "json_object":
        return {"type": "json_object"}
    named: Json = {"name": wanted.name or "answer"}
    if wanted.schema is not None:
        named["schema"] = wanted.schema
    if wanted.is_strict is not None:
        named["strict"] = wanted.is_strict
    return {"type": "json_schema", "json_schema": named}


def _other(feature: Feature, value: Any) -> Json:
    """A feature without a place of its own, where it came from this dialect."""
    if not (names := OTHERS.get(feature)):
        raise Inexpressible.other(feature, value)
    return {names[0]: value} if len(names) == 1 else dict(value)


# --- Messages ------------------------------------------------------------------------------------


def _messages(request: Request) -> Iterator[Json]:
    if request.system:
        yield {"role": "system", "content": _joined(text.text for text in request.system)}
    if request.messages and request.messages[-1].role == "assistant":
        raise Inexpressible("prefill")
    for message in request.messages:
        yield from _assistant(message) if message.role == "assistant" else _user(message)


def _joined(texts: Iterator[str]) -> str:
    return "\n\n".join(texts)


def _assistant(message: Message) -> Iterator[Json]:
    texts: list[str] = []
    refusals: list[str] = []
    calls: list[Json] = []
    for block in message.blocks:
        match block:
            case Text(text):
                texts.append(text)
            case Refusal(text):
                refusals.append(text)
            case ToolUse(id_, name, arguments):
                calls.append(_call(id_, name, arguments))
            case Thought() | HiddenThought():
                pass
            case Image():
                raise Inexpressible("images", block.place)
            case Document():
                raise Inexpressible("documents", block.place)
            case ToolResult():
                # Results are the user's; the dialects' schemas see to that.
                raise Inexpressible("prefill")
    said: Json = {"role": "assistant", "content": _joined(iter(texts)) if texts else None}
    if refusals:
        said["refusal"] = _joined(iter(refusals))
    if calls:
        said["tool_calls"] = calls
    if texts or refusals or calls:
        yield said


def _call(id_: str, name: str, arguments: str) -> Json:
    function = {"name": name, "arguments": arguments or "{}"}
    return {"id": id_, "type": "function", "function": function}


def _user(message: Message) -> Iterator[Json]:
    """Results first, right after their calls as vendors demand; then what the user says."""
    parts: list[Json] = []
    for block in message.blocks:
        if isinstance(block, ToolResult):
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": _result(block)}
            parts += _result_images(block)
    parts += [_part(block) for block in message.blocks if not isinstance(block, ToolResult)]
    if not parts:
        return
    if all(part["type"] == "text" for part in parts):
        yield {"role": "user", "content": _joined(part["text"] for part in parts)}
    else:
        yield {"role": "user", "content": parts}


def _result(result: ToolResult) -> str:
    texts = [
        block.text if isinstance(block, Text) else _document(block)
        for block in result.content
        if not isinstance(block, Image)
    ]
    if not texts and result.content:
        texts = [IMAGES_FOLLOW]
    return (FAILED if result.is_error else "") + _joined(iter(texts))


def _result_images(result: ToolResult) -> list[Json]:
    images = [_image(block) for block in result.content if isinstance(block, Image)]
    if not images:
        return []
    return [{"type": "text", "text": IMAGES_OF.format(id=result.tool_use_id)}, *images]


def _part(block: Block) -> Json:
    match block:
        case Text(text):
            return {"type": "text", "text": text}
        case Image():
            return _image(block)
        case Document():
            return {"type": "text", "text": _document(block)}
        case _:
            # Only assistants call, think and refuse; the dialects' schemas see to that.
            raise Inexpressible("prefill")


def _image(image: Image) -> Json:
    url = image.url or f"data:{image.media_type};base64,{image.data}"
    return {
        "type": "image_url",
        "image_url": {"url": url, "detail": image.detail} if image.detail else {"url": url},
    }


def _document(document: Document) -> str:
    """A document's own text, behind its title. All others would have to be read first."""
    if not document.text:
        raise Inexpressible("documents", document.place)
    return f"{document.title}\n\n{document.text}" if document.title else document.text


# --- Answers -------------------------------------------------------------------------------------

_REASONS: Mapping[Reason, str] = {
    "end": "stop",
    "stop_sequence": "stop",
    "paused": "stop",
    "length": "length",
    "context_window": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
}
_DONE = b"data: [DONE]\n\n"
_PING = b": ping\n\n"


class StreamEncoder:
    """Events → the chunks of a stream; valid whatever the events and their order.

    After Finished or Failed nothing more is written. Calls may interleave, as they may here.
    """

    def __init__(
        self, *, request_id: str, model: str, include_usage: bool, input_tokens: int, created: int
    ) -> None:
        head = {"id": request_id, "object": "chat.completion.chunk", "created": created}
        self._head = b"data: %b," % _json({**head, "model": model})[:-1]
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._include_usage = include_usage
        self._input_tokens = input_tokens
        self._has_begun = False
        self._is_over = False
        # The index of each call, and of those that have no arguments yet.
        self._calls: dict[int, int] = {}
        self._empty_calls: set[int] = set()

    def encode(self, event: Event) -> bytes:
        """The event's chunks; empty where it says nothing to clients of this dialect."""
        if self._is_over:
            return b""
        if isinstance(event, Failed):
            self._is_over = True
            return error_event(event.type, event.message)
        return self._begin() + self._encode(event)

    def ping(self) -> bytes:
        """A comment, which keeps the connection alive and which clients pass over."""
        return b"" if self._is_over else _PING

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        return self._chunk(b'{"role":"assistant","content":"","refusal":null}')

    def _encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                return self._text(b"content", text)
            case ThinkingDelta(text):
                return self._text(b"reasoning_content", text)
            case RefusalDelta(text):
                return self._text(b"refusal", text)
            case CallStarted():
                return self._call(event)
            case CallArguments():
                return self._arguments(event)
            case Finished():
                self._is_over = True
                return self._finish(event)
            case _:
                assert isinstance(event, Started | ThoughtSigned | ThoughtHidden)
                return b""

    def _text(self, field: bytes, text: str) -> bytes:
        return self._chunk(b'{"%b":%b}' % (field, _json(text))) if text else b""

    def _call(self, event: CallStarted) -> bytes:
        if event.call in self._calls:
            return b""
        index = self._calls[event.call] = len(self._calls)
        self._empty_calls.add(index)
        function = {"name": event.name, "arguments": ""}
        id_ = event.id or prefixed_id("call")
        call = {"index": index, "id": id_, "type": "function", "function": function}
        return self._chunk(_json({"tool_calls": [call]}))

    def _arguments(self, event: CallArguments) -> bytes:
        index = self._calls.get(event.call)
        if index is None or not event.text:
            return b""
        self._empty_calls.discard(index)
        return self._more(index, event.text)

    def _more(self, index: int, arguments: str) -> bytes:
        delta = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
        return self._chunk(delta % (index, _json(arguments)))

    def _finish(self, event: Finished) -> bytes:
        # Clients read the arguments as JSON, which nothing is not.
        filled = b"".join(self._more(index, "{}") for index in sorted(self._empty_calls))
        reason = _finish_reason(event.reason, has_calls=bool(self._calls))
        last = filled + self._chunk(b"{}", _json(reason))
        if self._include_usage:
            usage = event.usage or Usage(self._input_tokens)
            last += b'%b"choices":[],"usage":%b}\n\n' % (self._head, _json(_usage(usage)))
        return last + _DONE

    def _chunk(self, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        choice = b'"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]'
        return self._head + choice % (delta, finish_reason) + self._tail


def encode_answer(answer: Answer, *, request_id: str, model: str, created: int) -> bytes:
    """The whole answer's body."""
    calls = [
        _call(block.id or prefixed_id("call"), block.name, block.arguments)
        for block in answer.blocks
        if isinstance(block, ToolUse)
    ]
    message: Json = {
        "role": "assistant",
        "content": _told(answer.blocks, Text),
        "refusal": _told(answer.blocks, Refusal),
    }
    if thoughts := _told(answer.blocks, Thought):
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None and message["refusal"] is None:
        message["content"] = ""
    reason = _finish_reason(answer.reason, has_calls=bool(calls))
    body: Json = {
        "id": request_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
    }
    if answer.usage is not None:
        body["usage"] = _usage(answer.usage)
    return _json(body)


def error_body(
    error_type: str, message: str, *, param: str | None, code: str | None, request_id: str
) -> bytes:
    """The body of an error answer."""
    return error_json(error_type, message, param=param, code=code, request_id=request_id)


def error_event(
    error_type: str,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    request_id: str = "",
) -> bytes:
    """An error in the middle of a stream, and its last event: clients raise it as an APIError.

    No `[DONE]` follows, so that none who waits for that alone takes the answer for a whole one.
    """
    error = error_json(error_type, message, param=param, code=code, request_id=request_id)
    return b"data: %b\n\n" % error


def _told(blocks: Sequence[Block], kind: type[Text] | type[Refusal] | type[Thought]) -> str | None:
    texts = [block.text for block in blocks if isinstance(block, kind)]
    return "".join(texts) if texts else None


def _finish_reason(reason: Reason, *, has_calls: bool) -> str:
    """The reason as clients act on it: they run tools for "tool_calls", and only then."""
    if reason in ("end", "tool_calls"):
        return "tool_calls" if has_calls else "stop"
    return _REASONS[reason]


def _usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(value))


def _whole(value: Any) -> Any:
    """The value with question marks for halves of characters, which no encoding has."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_whole(name): _whole(each) for name, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value
