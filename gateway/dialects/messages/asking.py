"""A neutral request as `POST /v1/messages` wants it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from gateway import neutral
from gateway.dialects.messages.schema import MIN_THINKING_TOKENS
from gateway.neutral import Feature, Inexpressible

_Json = dict[str, Any]

# What an answer may ask to be left as it is anyway, by feature.
_DEFAULTS: dict[Feature, tuple[Any, ...]] = {
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "seed": (),  # zero is a seed like any other
}
_NOTHING: tuple[Any, ...] = (False, 0, "", [], {})
_EFFORTS = {"minimal": "low"}
# For models that want a number of tokens; some of the answer must be left for the answer.
_BUDGETS = {"low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
_MIN_ANSWER_TOKENS = 1_024
# Claude before 4.6 wants a number, Claude since then refuses one. Imitators know the older way.
_CLAUDE = re.compile(r"\bclaude-")
_OLD_CLAUDE = re.compile(
    r"\bclaude-(?:[0-3]|instant|(?:opus|sonnet|haiku)-4(?:$|[-.@](?:[015](?!\d)|\d{8})))"
)
_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?:;[^,]*)?;base64,")
# The vendor takes ids of these characters only, other vendors make others.
_ODD_IN_ID = re.compile(r"[^A-Za-z0-9_-]")


def encode_request(request: neutral.Request, *, model: str, default_max_tokens: int) -> bytes:
    """The request's body. Raises Inexpressible.

    `default_max_tokens`: the longest answer where the client named none; the dialect wants one.
    """
    _refuse_others(request)
    body: _Json = {
        "model": model,
        "max_tokens": request.max_tokens or default_max_tokens,
        "messages": list(_messages(request.messages)),
    }
    if system := _system(request.system):
        body["system"] = system
    if request.is_streamed:
        body["stream"] = True
    body |= _sampling(request)
    body |= _tools(request)
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if config := _output_format(request.response_format):
        body["output_config"] = config
    if request.thinking:
        _add_thinking(body, request)
    return msgspec.json.encode(body)


def _refuse_others(request: neutral.Request) -> None:
    for feature, value in request.others.items():
        if value is not None and value not in _DEFAULTS.get(feature, _NOTHING):
            raise Inexpressible.other(feature, value)


def _sampling(request: neutral.Request) -> _Json:
    if request.temperature is not None and request.temperature > 1:
        raise Inexpressible("temperature")
    asked = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": list(request.stop) or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


# --- Tools ---------------------------------------------------------------------------------------


def _tools(request: neutral.Request) -> _Json:
    """Tools and their choice; a choice among none is no choice."""
    if not request.tools:
        return {}
    body: _Json = {"tools": [_tool(tool) for tool in request.tools]}
    choice = _choice(request.tool_choice or neutral.ToolChoice("auto"))
    if request.parallel_tools is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    if request.tool_choice or len(choice) > 1:
        body["tool_choice"] = choice
    return body


def _tool(tool: neutral.Tool) -> _Json:
    written: _Json = {"name": tool.name, "input_schema": {"type": "object", **tool.parameters}}
    if tool.description:
        written["description"] = tool.description
    if tool.is_strict:
        written["strict"] = True
    return written


def _choice(choice: neutral.ToolChoice) -> _Json:
    if choice.kind == "named":
        return {"type": "tool", "name": choice.name}
    return {"type": choice.kind}


# --- How the answer comes about ------------------------------------------------------------------


def _output_format(wanted: neutral.ResponseFormat | None) -> _Json | None:
    if wanted is None:
        return None
    if wanted.schema is None:  # any JSON object
        raise Inexpressible("response_format")
    return {"format": {"type": "json_schema", "schema": wanted.schema}}


def _add_thinking(body: _Json, request: neutral.Request) -> None:
    thinking = request.thinking
    assert thinking
    effort = _EFFORTS.get(thinking.effort, thinking.effort)
    if not thinking.is_on:
        body["thinking"] = {"type": "disabled"}
    elif thinking.budget_tokens is None and _is_adaptive(body["model"]):
        body["thinking"] = {"type": "adaptive"}
        if effort:
            body["output_config"] = {**body.get("output_config", {}), "effort": effort}
    else:
        budget = thinking.budget_tokens or _BUDGETS.get(effort, _BUDGETS["medium"])
        body["thinking"] = {"type": "enabled", "budget_tokens": _fitted(budget, body, request)}


def _is_adaptive(model: str) -> bool:
    return bool(_CLAUDE.search(model)) and not _OLD_CLAUDE.search(model)


def _fitted(budget: int, body: _Json, request: neutral.Request) -> int:
    """A budget that leaves room for an answer; an answer's length that was not asked for grows."""
    if request.max_tokens is None:
        body["max_tokens"] = max(body["max_tokens"], budget + _MIN_ANSWER_TOKENS)
        return budget
    room = request.max_tokens - _MIN_ANSWER_TOKENS
    if room < MIN_THINKING_TOKENS:
        raise Inexpressible("reasoning_effort")
    return min(budget, room)


# --- Messages ------------------------------------------------------------------------------------


def _system(system: tuple[neutral.Text, ...]) -> str | list[_Json]:
    if any(text.is_cacheable for text in system):
        return [_text(text) for text in system if _says_something(text)]
    return "\n\n".join(text.text for text in system)


def _messages(messages: tuple[neutral.Message, ...]) -> Iterator[_Json]:
    for message in messages:
        blocks = _blocks(message)
        if blocks:
            if message.role == "assistant" and message is messages[-1]:
                _trim(blocks)
            yield {"role": message.role, "content": blocks}


def _trim(blocks: list[_Json]) -> None:
    """What the model is to go on from may not end with a space."""
    if blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()


def _blocks(message: neutral.Message) -> list[_Json]:
    # The results of tools have to stand before all else.
    ordered = sorted(message.blocks, key=lambda block: not isinstance(block, neutral.ToolResult))
    return list(_encoded(ordered))


def _encoded(blocks: Iterable[neutral.Block]) -> Iterator[_Json]:
    for block in blocks:
        match block:
            case neutral.Text():
                if _says_something(block):
                    yield _text(block)
            case neutral.Refusal(text):
                yield {"type": "text", "text": text}
            case neutral.Image():
                yield {"type": "image", "source": _image_source(block)}
            case neutral.Document():
                yield _document(block)
            case neutral.ToolUse():
                yield tool_use(block, id_=_own_id(block.id))
            case neutral.ToolResult():
                yield _tool_result(block)
            case neutral.Thought(text, signature):
                # Without its vendor's signature a thought is refused.
                if signature:
                    yield {"type": "thinking", "thinking": text, "signature": signature}
            case neutral.HiddenThought(data):
                yield {"type": "redacted_thinking", "data": data}


def _says_something(text: neutral.Text) -> bool:
    """Text of spaces alone is refused."""
    return bool(text.text.strip())


def _text(text: neutral.Text) -> _Json:
    if text.is_cacheable:
        return {"type": "text", "text": text.text, "cache_control": {"type": "ephemeral"}}
    return {"type": "text", "text": text.text}


def _image_source(image: neutral.Image) -> _Json:
    if image.data:
        return {"type": "base64", "media_type": image.media_type, "data": image.data}
    if match := _DATA_URL.match(image.url):
        data = image.url[match.end() :]
        return {"type": "base64", "media_type": match["type"], "data": data}
    return {"type": "url", "url": image.url}


def _document(document: neutral.Document) -> _Json:
    source: _Json
    if document.url:
        source = {"type": "url", "url": document.url}
    elif document.data:
        media_type = document.media_type or "application/pdf"
        source = {"type": "base64", "media_type": media_type, "data": document.data}
    else:
        source = {"type": "text", "media_type": "text/plain", "data": document.text}
    written: _Json = {"type": "document", "source": source}
    return {**written, "title": document.title} if document.title else written


def _tool_result(result: neutral.ToolResult) -> _Json:
    written: _Json = {"type": "tool_result", "tool_use_id": _own_id(result.tool_use_id)}
    if content := list(_encoded(result.content)):
        written["content"] = content
    if result.is_error:
        written["is_error"] = True
    return written


def _own_id(id_: str) -> str:
    return _ODD_IN_ID.sub("_", id_)


def tool_use(call: neutral.ToolUse, *, id_: str) -> _Json:
    """A call as a block. Arguments that are no JSON object are kept as text under `_raw`."""
    return {"type": "tool_use", "id": id_, "name": call.name, "input": _arguments(call.arguments)}


def _arguments(text: str) -> Any:
    if not text.strip():
        return {}
    try:
        if isinstance(msgspec.json.decode(text), dict):
            return msgspec.Raw(text.encode())
    except (msgspec.DecodeError, RecursionError):
        pass
    return {"_raw": text}
