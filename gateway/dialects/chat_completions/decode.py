"""Chat completions → the neutral form: a client's request, an upstream's answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from core.ids import prefixed_id
from gateway.dialects import failures
from gateway.dialects.chat_completions import errors, schema
from gateway.dialects.chat_completions.chunks import (
    DONE,
    CallDelta,
    Choice,
    Chunk,
    Delta,
    Unreadable,
    read_chunk,
)
from gateway.dialects.reading import invalid, string_of
from gateway.dialects.sse import EventSplitter, TooLong, data_of
from gateway.neutral import (
    Block,
    CallArguments,
    CallStarted,
    Event,
    Failed,
    Feature,
    Finished,
    Image,
    Message,
    Reason,
    Refusal,
    RefusalDelta,
    Request,
    ResponseFormat,
    Role,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
)

# --- Requests ------------------------------------------------------------------------------------

_DATA_URL = re.compile(r"data:(?P<media_type>[^;,]+)[^,]*,", re.I)
# What has no place of its own in a request, with the fields that ask for it.
OTHERS: Mapping[Feature, tuple[str, ...]] = {
    "seed": ("seed",),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
    "logit_bias": ("logit_bias",),
    "logprobs": ("logprobs", "top_logprobs"),
    "verbosity": ("verbosity",),
    "modalities": ("modalities", "audio"),
    "prediction": ("prediction",),
    "moderation": ("moderation",),
}
# Values that ask for nothing.
_NOTHING: tuple[object, ...] = (0, False, {}, ["text"])


def decode_request(asked: schema.Asked) -> Request:
    """The request in the neutral form. Raises InvalidRequest for what only OpenAI has.

    System and developer messages are joined in their order, wherever they stand. Names of
    participants are hints for OpenAI's models and go no further, like the keys of its caches.
    """
    _refuse_legacy(asked)
    messages = _merged(asked.messages)
    if not messages:
        raise invalid(_("This needs a message of role “user”."), "messages")
    return Request(
        messages=messages,
        system=tuple(_system(asked.messages)),
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        tools=_tools(asked),
        tool_choice=_tool_choice(asked.tool_choice),
        parallel_tools=asked.parallel_tool_calls,
        thinking=_thinking(asked.reasoning_effort),
        response_format=_response_format(asked.response_format),
        user=asked.safety_identifier or asked.user or "",
        is_streamed=asked.stream,
        others=_others(asked),
    )


def _refuse_legacy(asked: schema.Asked) -> None:
    """What was replaced by tools is passed on to those who still know it, but not translated."""
    text = _("This model takes “tools” and “tool_choice” only.")
    if asked.functions:
        raise invalid(text, "functions")
    if asked.function_call not in (None, "none", "auto"):
        raise invalid(text, "function_call")
    for index, message in enumerate(asked.messages):
        if isinstance(message, schema.FunctionMessage):
            raise invalid(text, f"messages[{index}].role")
        if isinstance(message, schema.Assistant):
            if message.function_call is not None:
                raise invalid(text, f"messages[{index}].function_call")
            if message.audio is not None:
                raise invalid(_("This model takes no audio."), f"messages[{index}].audio")


def _system(messages: list[schema.Message]) -> Iterator[Text]:
    for message in messages:
        if isinstance(message, schema.System | schema.Developer):
            yield from _texts(message.content)


def _merged(messages: list[schema.Message]) -> tuple[Message, ...]:
    """Messages of the two neutral roles, neighbours of one role as one, empty ones left out."""
    merged: list[tuple[Role, list[Block]]] = []
    for index, message in enumerate(messages):
        role: Role = "assistant" if isinstance(message, schema.Assistant) else "user"
        if not (blocks := list(_blocks(message, f"messages[{index}]"))):
            continue
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(blocks)
        else:
            merged.append((role, blocks))
    return tuple(Message(role, tuple(blocks)) for role, blocks in merged)


def _blocks(message: schema.Message, place: str) -> Iterator[Block]:
    match message:
        case schema.User(content=content):
            yield from _content(content, place)
        case schema.Assistant():
            yield from _assistant(message, place)
        case schema.ToolMessage(tool_call_id=call, content=content):
            yield ToolResult(call, tuple(_content(content, place)))
        case _:
            pass


def _texts(content: schema.Texts) -> Iterator[Text]:
    for text in [content] if isinstance(content, str) else [part.text for part in content]:
        if text:
            yield Text(text)


def _content(content: schema.TextsAndImages, place: str) -> Iterator[Text | Image]:
    if isinstance(content, str):
        yield from _texts(content)
        return
    for number, part in enumerate(content):
        if isinstance(part, schema.Image):
            yield _image(part.image_url, f"{place}.content[{number}]")
        elif part.text:
            yield Text(part.text)


def _image(image: schema.ImageUrl, place: str) -> Image:
    url, detail = string_of(image.url, f"{place}.image_url.url"), image.detail or ""
    if found := _DATA_URL.match(url):
        data = url[found.end() :]
        return Image(found["media_type"].lower(), data, detail=detail, place=place)
    return Image(url=url, detail=detail, place=place)


def _assistant(message: schema.Assistant, place: str) -> Iterator[Block]:
    parts = message.content
    if isinstance(parts, str):
        yield from _texts(parts)
    else:
        for part in parts or ():
            if isinstance(part, schema.RefusalPart):
                yield Refusal(part.refusal)
            elif part.text:
                yield Text(part.text)
    if message.refusal:
        yield Refusal(message.refusal)
    for number, call in enumerate(message.tool_calls or ()):
        if call.function is None:
            raise _no_function(f"{place}.tool_calls[{number}].type", call.type)
        yield ToolUse(call.id, call.function.name, call.function.arguments)


def _tools(asked: schema.Asked) -> tuple[Tool, ...]:
    tools = []
    for index, tool in enumerate(asked.tools or ()):
        function = tool.function
        if function is None:
            raise _no_function(f"tools[{index}].type", tool.type)
        place = f"tools[{index}].function.parameters"
        parameters = _schema(function.parameters, place)
        tools.append(Tool(function.name, function.description or "", parameters, function.strict))
    if isinstance(asked.tool_choice, schema.ChooseAllowed):
        allowed = asked.tool_choice.allowed_tools.tools
        names = {each.function.name for each in allowed if each.function is not None}
        return tuple(tool for tool in tools if tool.name in names)
    return tuple(tools)


def _no_function(place: str, kind: str) -> Exception:
    text = _("This model takes tools of the type “function” only, none of “{kind}”.")
    return invalid(text.format(kind=kind), place)


def _schema(raw: msgspec.Raw, place: str) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(raw) if memoryview(raw) else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise invalid(_("This must be a JSON Schema object."), place) from None
    return given or {"type": "object", "properties": {}}


def _tool_choice(choice: schema.ToolChoice | None) -> ToolChoice | None:
    """The choice. Tools that are not allowed are not even shown, which says it more plainly."""
    match choice:
        case None:
            return None
        case "none":
            return ToolChoice("none")
        case "auto":
            return ToolChoice("auto")
        case "required":
            return ToolChoice("any")
        case schema.ChooseFunction(function=function):
            return ToolChoice("named", function.name)
        case schema.ChooseAllowed(allowed_tools=allowed):
            return ToolChoice("any" if allowed.mode == "required" else "auto")
        case schema.ChooseCustom():
            raise _no_function("tool_choice.type", "custom")


def _thinking(effort: str | None) -> Thinking | None:
    return None if effort is None else Thinking(effort != "none", effort=effort)


def _response_format(
    asked: schema.TextFormat | schema.JsonObject | schema.JsonSchemaFormat | None,
) -> ResponseFormat | None:
    match asked:
        case schema.JsonObject():
            return ResponseFormat("json_object")
        case schema.JsonSchemaFormat(json_schema=wanted):
            return ResponseFormat("json_schema", wanted.name, wanted.schema, wanted.strict)
        case _:
            return None


def _others(asked: schema.Asked) -> dict[Feature, Any]:
    """What else was asked for, as the client wrote it; by field where a feature has several."""
    others: dict[Feature, Any] = {}
    for feature, names in OTHERS.items():
        values = {name: getattr(asked, name) for name in names}
        wanted = {name: value for name, value in values.items() if _is_asked(name, value)}
        if wanted:
            others[feature] = wanted if len(names) > 1 else wanted[names[0]]
    # Without any options, too, it asks for a search.
    if asked.web_search_options is not None:
        others["server_tools"] = {"web_search_options": asked.web_search_options}
    return others


def _is_asked(name: str, value: object) -> bool:
    # A seed of 0 is a seed.
    return value is not None and (name == "seed" or value not in _NOTHING)


# --- Answers -------------------------------------------------------------------------------------

# What vendors call the end of an answer. Words that nobody knows mean that it is there.
_REASONS: Mapping[str, Reason] = {
    "stop": "end",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
    "sensitive": "refusal",
    "model_context_window_exceeded": "context_window",
}
# What they call an end that is none.
_BROKEN = frozenset({"error", "network_error", "insufficient_system_resource", "abort"})


class StreamDecoder:
    """An upstream's stream, in any pieces, as events. The last is Finished or Failed."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._answer = _Answer()
        self._is_over = False

    def push(self, piece: bytes) -> list[Event]:
        """What the piece tells; after the last event, nothing."""
        events: list[Event] = []
        if self._is_over:
            return events
        try:
            for event in self._splitter.push(piece):
                if self._take(data_of(event), events):
                    break
        except TooLong:
            self._end(events, failures.unreadable())
        return events

    def close(self) -> list[Event]:
        """What is told by the stream's end."""
        events: list[Event] = []
        if self._is_over:
            return events
        # Whole though nothing ended it, or cut in the middle.
        data = data_of(self._splitter.rest())
        if not self._take(data, events, is_rest=True):
            self._end(events, self._answer.end())
        return events

    def _take(self, data: bytes, events: list[Event], *, is_rest: bool = False) -> bool:
        """Adds what an event tells; whether it was the last."""
        if not data:
            return False
        if data.startswith(DONE):
            return self._end(events, self._answer.end())
        try:
            chunk = read_chunk(data)
        except Unreadable:
            ended = self._answer.end() if is_rest else failures.unreadable()
            return self._end(events, ended)
        if failed := chunk.failure() or self._answer.take(chunk, events):
            return self._end(events, failed)
        return False

    def _end(self, events: list[Event], last: Finished | Failed) -> bool:
        self._is_over = True
        events.append(last)
        return True


def decode_answer(body: bytes) -> list[Event]:
    """An upstream's whole answer as events. The last is Finished or Failed."""
    try:
        chunk = read_chunk(body)
    except Unreadable:
        return [failures.unreadable()]
    choice = chunk.choice
    if failed := chunk.failure():
        return [failed]
    if choice is None or choice.message is None:
        return [failures.unreadable()]
    # They stand in their order; ids are not always given, nor always different.
    for index, call in enumerate(choice.message.tool_calls or ()):
        call.index = index
    # It came whole, so that it has an end even where no reason is told.
    choice.finish_reason = choice.finish_reason or "stop"
    events: list[Event] = []
    answer = _Answer()
    if failed := answer.take(chunk, events):
        return [*events, failed]
    return [*events, answer.end()]


def decode_error(status: int, body: bytes) -> Failed:
    """An upstream's error answer, as the client is to see it."""
    return errors.of_answer(status, body)


class _Answer:
    """What has been told of one answer."""

    def __init__(self) -> None:
        self._calls = _Calls()
        self._has_begun = False
        self._is_refused = False
        self._reason: str | None = None
        self._stop_sequence: str | None = None
        self._usage: Usage | None = None

    def take(self, chunk: Chunk, events: list[Event]) -> Failed | None:
        """Adds what the chunk tells to the events; returns how the answer failed, where it did."""
        if not self._has_begun:
            self._has_begun = True
            events.append(Started())
        if counted := chunk.counted():
            self._usage = counted
        if (choice := chunk.choice) is None:
            return None
        if (delta := choice.delta or choice.message) is not None:
            self._say(delta, events)
        if choice.finish_reason in _BROKEN:
            return failures.broken_off()
        if choice.finish_reason:
            self._finish(choice)
        return None

    def end(self) -> Finished | Failed:
        """How the answer ended, now that nothing more comes."""
        if self._reason is None:
            return failures.broken_off()
        reason = _REASONS.get(self._reason, "end")
        if reason == "end" and self._stop_sequence is not None:
            reason = "stop_sequence"
        if reason == "end" and self._is_refused:
            reason = "refusal"
        # Some say "stop" after calls, or tell of calls that they never made.
        if reason in ("end", "tool_calls"):
            reason = "tool_calls" if self._calls.count else "end"
        return Finished(
            reason, self._usage, self._stop_sequence if reason == "stop_sequence" else None
        )

    def _finish(self, choice: Choice) -> None:
        self._reason = choice.finish_reason
        if isinstance(choice.stop_reason, str) and choice.finish_reason == "stop":
            self._stop_sequence = choice.stop_reason

    def _say(self, delta: Delta, events: list[Event]) -> None:
        if delta.reasoning_content:
            events.append(ThinkingDelta(delta.reasoning_content))
        elif delta.reasoning and isinstance(delta.reasoning, str):
            events.append(ThinkingDelta(delta.reasoning))
        if isinstance(delta.content, str):
            if delta.content:
                events.append(TextDelta(delta.content))
        elif delta.content:
            events.extend(_parts(delta.content))
        if delta.refusal:
            self._is_refused = True
            events.append(RefusalDelta(delta.refusal))
        if delta.function_call is not None:
            self._calls.take(CallDelta(0, None, delta.function_call), events)
        for call in delta.tool_calls or ():
            self._calls.take(call, events)


def _parts(parts: list[Any]) -> Iterator[Event]:
    """Content in parts, as Mistral sends it: texts, and thoughts that are texts in turn."""
    for part in parts:
        if not isinstance(part, dict):
            continue
        if (text := part.get("text")) and isinstance(text, str):
            yield TextDelta(text)
        thoughts = part.get("thinking")
        for thought in thoughts if isinstance(thoughts, list) else ():
            if isinstance(thought, dict) and isinstance(text := thought.get("text"), str) and text:
                yield ThinkingDelta(text)


class _Call:
    """A call that is being told. It begins for others when its name is known."""

    def __init__(self) -> None:
        self.id = ""
        self.number: int | None = None
        self.held = ""


class _Calls:
    """Which pieces belong to which call.

    By their index; vendors leave it out, or count all calls as 0, and repeat ids and names or not.
    """

    def __init__(self) -> None:
        self.count = 0
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._last: _Call | None = None

    def take(self, delta: CallDelta, events: list[Event]) -> None:
        function = delta.function
        name = (function and function.name) or ""
        call = self._last = self._find(delta, name)
        if delta.id and not call.id:
            call.id = delta.id
            self._by_id[delta.id] = call
        text = function.arguments if function is not None else None
        if isinstance(text, dict):
            text = msgspec.json.encode(text).decode()
        call.held += text or ""
        if call.number is None and name:
            call.number, self.count = self.count, self.count + 1
            events.append(CallStarted(call.number, call.id or prefixed_id("call"), name))
        if call.number is not None and call.held:
            events.append(CallArguments(call.number, call.held))
            call.held = ""

    def _find(self, delta: CallDelta, name: str) -> _Call:
        if delta.index is not None:
            call = self._by_index.get(delta.index)
            # Another id and a name under a known index: the next call, not more of this one.
            if call is None or (name and delta.id and call.id and delta.id != call.id):
                call = self._by_index[delta.index] = _Call()
            return call
        if delta.id:
            return self._by_id.get(delta.id) or _Call()
        if self._last is not None and (not name or self._last.number is None):
            return self._last
        return _Call()
