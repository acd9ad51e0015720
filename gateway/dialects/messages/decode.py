"""From the messages dialect to the neutral form: clients' requests, upstreams' answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway import neutral
from gateway.dialects.failures import broken_off, failure, unreadable
from gateway.dialects.messages import schema
from gateway.dialects.messages.events import (
    REASONS,
    AnswerTold,
    BlockTold,
    DeltaTold,
    ErrorAnswer,
    StreamEvent,
    Tally,
    Unreadable,
    read_event,
)
from gateway.dialects.reading import string_of, text_of
from gateway.dialects.sse import EventSplitter, TooLong, data_of
from gateway.neutral import Feature

_ANSWER = msgspec.json.Decoder(AnswerTold, strict=False)
_ERROR = msgspec.json.Decoder(ErrorAnswer, strict=False)


# --- Requests ------------------------------------------------------------------------------------


def decode_request(asked: schema.Asked) -> neutral.Request:
    """The request in no dialect. Raises InvalidRequest for text that is not UTF-8."""
    return _RequestDecoder(asked).request()


class _RequestDecoder:
    """One request. What has no place in the neutral form is noted in `others` on the way."""

    def __init__(self, asked: schema.Asked) -> None:
        self._asked = asked
        self._others: dict[Feature, Any] = {}

    def request(self) -> neutral.Request:
        asked = self._asked
        messages, system = self._messages()
        choice = asked.tool_choice
        return neutral.Request(
            messages=messages,
            system=system,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            stop=tuple(asked.stop_sequences or ()),
            tools=self._tools(),
            tool_choice=_choice(choice),
            parallel_tools=_parallel(choice),
            thinking=_thinking(asked),
            response_format=_response_format(asked.output_config),
            user=(asked.metadata and asked.metadata.user_id) or "",
            is_streamed=bool(asked.stream),
            others=self._others,
        )

    def _messages(self) -> tuple[tuple[neutral.Message, ...], tuple[neutral.Text, ...]]:
        system = list(_texts(self._asked.system))
        merged: list[tuple[neutral.Role, list[neutral.Block]]] = []
        for number, message in enumerate(self._asked.messages):
            role = message.role
            if role == "system":
                system += _texts(message.content)
                continue
            if not merged or merged[-1][0] != role:
                merged.append((role, []))
            merged[-1][1].extend(self._blocks(message.content, f"messages[{number}].content"))
        messages = tuple(neutral.Message(role, tuple(blocks)) for role, blocks in merged)
        return messages, tuple(system)

    def _blocks(self, content: str | list[schema.Block], place: str) -> Iterator[neutral.Block]:
        if isinstance(content, str):
            yield neutral.Text(content)
            return
        for position, block in enumerate(content):
            decoded = self._block(block, f"{place}[{position}]")
            if decoded is not None:
                yield decoded

    def _block(self, block: schema.Block, place: str) -> neutral.Block | None:
        match block:
            case schema.ToolUse(id=id_, name=name, input=arguments):
                return neutral.ToolUse(id_, name, text_of(arguments, f"{place}.input"))
            case schema.ToolResult(tool_use_id=id_, content=content):
                parts = tuple(self._parts(content, f"{place}.content"))
                return neutral.ToolResult(id_, parts, bool(block.is_error))
            case schema.Thinking(thinking=text, signature=signature):
                return neutral.Thought(text, signature)
            case schema.RedactedThinking(data=data):
                return neutral.HiddenThought(data)
            case schema.ServerBlock():
                self._others["server_tools"] = place
                return None
            case _:
                return self._part(block, place)

    def _parts(
        self, content: Any, place: str
    ) -> Iterator[neutral.Text | neutral.Image | neutral.Document]:
        if isinstance(content, str):
            yield neutral.Text(content)
            return
        for position, part in enumerate(content or ()):
            decoded = self._part(part, f"{place}[{position}]")
            if decoded is not None:
                yield decoded

    def _part(
        self, part: Any, place: str
    ) -> neutral.Text | neutral.Image | neutral.Document | None:
        match part:
            case schema.Text():
                return _text(part)
            case schema.Image(source=source):
                return self._image(source, place)
            case schema.Document():
                return self._document(part, place)
            case schema.SearchResult(source=source, title=title, content=content):
                text = "\n".join([source, *(each.text for each in content)])
                return neutral.Document(title=title, text=text, place=place)
            case _:
                self._others["server_tools"] = place
                return None

    def _image(self, source: Any, place: str) -> neutral.Image | None:
        match source:
            case schema.ImageBytes(media_type=media_type, data=data):
                content = string_of(data, f"{place}.source.data")
                return neutral.Image(media_type, content, place=place)
            case schema.Url(url=url):
                return neutral.Image(url=url, place=place)
            case _:
                self._others["images"] = place
                return None

    def _document(self, document: schema.Document, place: str) -> neutral.Document | None:
        title = document.title or ""
        match document.source:
            case schema.DocumentBytes(media_type=media_type, data=data):
                content = string_of(data, f"{place}.source.data")
                return neutral.Document(title, media_type, content, place=place)
            case schema.Url(url=url):
                return neutral.Document(title, url=url, place=place)
            case schema.PlainText(data=text, media_type=media_type):
                return neutral.Document(title, media_type, text=text, place=place)
            case schema.OwnContent(content=str(text)):
                return neutral.Document(title, text=text, place=place)
            case schema.OwnContent(content=list(parts)):
                if all(isinstance(part, schema.Text) for part in parts):
                    text = "\n".join(part.text for part in parts if isinstance(part, schema.Text))
                    return neutral.Document(title, text=text, place=place)
            case _:
                pass
        self._others["documents"] = place
        return None

    def _tools(self) -> tuple[neutral.Tool, ...]:
        asked = self._asked
        if asked.mcp_servers or asked.container:
            self._others["server_tools"] = "mcp_servers" if asked.mcp_servers else "container"
        tools = []
        for tool in asked.tools or ():
            if tool.is_custom:
                description, parameters = tool.description or "", tool.input_schema or {}
                tools.append(neutral.Tool(tool.name, description, parameters, tool.strict))
            else:
                self._others["server_tools"] = tool.type
        return tuple(tools)


def _text(text: schema.Text) -> neutral.Text:
    return neutral.Text(text.text, text.cache_control is not None)


def _texts(content: str | list[schema.Text] | list[schema.Block] | None) -> Iterator[neutral.Text]:
    if isinstance(content, str):
        if content:
            yield neutral.Text(content)
        return
    for block in content or ():
        if isinstance(block, schema.Text):
            yield _text(block)


_Choice = schema.AutoChoice | schema.AnyChoice | schema.NamedChoice | schema.NoChoice | None


def _choice(choice: _Choice) -> neutral.ToolChoice | None:
    match choice:
        case schema.AutoChoice():
            return neutral.ToolChoice("auto")
        case schema.AnyChoice():
            return neutral.ToolChoice("any")
        case schema.NamedChoice(name=name):
            return neutral.ToolChoice("named", name)
        case schema.NoChoice():
            return neutral.ToolChoice("none")
        case None:
            return None


def _parallel(choice: _Choice) -> bool | None:
    if choice is None or isinstance(choice, schema.NoChoice):
        return None
    disabled = choice.disable_parallel_tool_use
    return None if disabled is None else not disabled


def _thinking(asked: schema.Asked) -> neutral.Thinking | None:
    effort = (asked.output_config and asked.output_config.effort) or ""
    match asked.thinking:
        case schema.ThinkingAsked(type="enabled", budget_tokens=budget):
            return neutral.Thinking(True, budget, effort)
        case schema.ThinkingAsked(type="adaptive"):
            return neutral.Thinking(True, None, effort)
        case schema.ThinkingAsked(type="disabled"):
            return neutral.Thinking(False, None, effort)
        case _:
            return neutral.Thinking(True, None, effort) if effort else None


def _response_format(config: schema.OutputConfig | None) -> neutral.ResponseFormat | None:
    if config is None or config.format is None:
        return None
    # Its answers always keep to the schema; the other dialect has to be told so.
    return neutral.ResponseFormat("json_schema", "answer", config.format.schema, True)


# --- Answers -------------------------------------------------------------------------------------


class StreamDecoder:
    """An upstream's stream as events, whatever the pieces. After its last event it is silent."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._answer = _AnswerDecoder()

    def push(self, piece: bytes) -> list[neutral.Event]:
        """The events that this piece completes."""
        try:
            return self._decoded(self._splitter.push(piece))
        except TooLong:
            return self._answer.fail(unreadable())

    def close(self) -> list[neutral.Event]:
        """What remains to be said once the upstream has closed: Failed, if no end has come."""
        return [*self._decoded([self._splitter.rest()]), *self._answer.fail(broken_off())]

    def _decoded(self, raw_events: list[bytes]) -> list[neutral.Event]:
        events: list[neutral.Event] = []
        for raw in raw_events:
            if data := data_of(raw):
                events += self._answer.push(data)
        return events


def decode_answer(body: bytes) -> list[neutral.Event]:
    """A whole answer as events; the last is Finished or Failed."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [_error_in(body) or unreadable()]
    return _AnswerDecoder().whole(answer)


def decode_error(status: int, body: bytes) -> neutral.Failed:
    """An error answer of this status, as the client is to see it."""
    try:
        return _ERROR.decode(body).error.failed(status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return failure(status, "")


def _error_in(body: bytes) -> neutral.Failed | None:
    try:
        return _ERROR.decode(body).error.failed()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class _Call:
    """A call whose arguments are being told."""

    def __init__(self, number: int, whole_input: bytes) -> None:
        self.number = number
        # Some vendors give the arguments at once, some in pieces, some both: pieces go first.
        self.whole_input = whole_input
        self.has_pieces = False


class _AnswerDecoder:
    """The dialect's events, one at a time."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._has_started = False
        self._is_over = False
        self._calls: dict[int, _Call] = {}  # the open ones, by the index of their block
        self._call_count = 0
        self._signatures: dict[int, str] = {}
        self._end = DeltaTold()

    def push(self, data: bytes) -> list[neutral.Event]:
        if self._is_over:
            return []
        try:
            event = read_event(data)
        except Unreadable:
            return self.fail(unreadable())
        return list(self._take(event)) if event else []

    def whole(self, answer: AnswerTold) -> list[neutral.Event]:
        """A whole answer, told as if it had been streamed."""
        end = DeltaTold(
            stop_reason=answer.stop_reason,
            stop_sequence=answer.stop_sequence,
            stop_details=answer.stop_details,
        )
        events = list(self._take(StreamEvent(type="message_delta", delta=end, usage=answer.usage)))
        for index, block in enumerate(answer.content):
            for kind in ("content_block_start", "content_block_stop"):
                events += self._take(StreamEvent(type=kind, index=index, content_block=block))
        return [*events, *self._take(StreamEvent(type="message_stop"))]

    def fail(self, failed: neutral.Failed) -> list[neutral.Event]:
        """Ends the answer with a failure, unless it has ended."""
        if self._is_over:
            return []
        self._is_over = True
        return [failed]

    def _take(self, event: StreamEvent) -> Iterator[neutral.Event]:
        if event.type == "error" or (event.error and not event.type):
            yield from self.fail(event.error.failed() if event.error else unreadable())
            return
        if event.message:
            self._tally.add(event.message.usage)
        self._tally.add(event.usage)
        if not self._has_started and event.type != "ping":
            self._has_started = True
            yield neutral.Started(self._tally.usage())
        match event.type:
            case "content_block_start" if event.content_block:
                yield from self._begin(event.index, event.content_block)
            case "content_block_delta" if event.delta:
                yield from self._go_on(event.index, event.delta)
            case "content_block_stop":
                yield from self._stop(event.index)
            case "message_delta" if event.delta:
                self._end = event.delta if event.delta.stop_reason else self._end
            case "message_stop":
                yield from self._finish()

    def _begin(self, index: int, block: BlockTold) -> Iterator[neutral.Event]:
        match block.type:
            case "text" if block.text:
                yield neutral.TextDelta(block.text)
            case "thinking":
                if block.thinking:
                    yield neutral.ThinkingDelta(block.thinking)
                if block.signature:
                    self._signatures[index] = block.signature
            case "redacted_thinking":
                yield neutral.ThoughtHidden(block.data or "")
            case "tool_use":
                yield from self._stop(index)
                call = self._calls[index] = _Call(self._call_count, bytes(block.input))
                self._call_count += 1
                yield neutral.CallStarted(call.number, block.id or "", block.name or "")
            case _:
                pass  # what tools at the vendor did is told in the text that follows

    def _go_on(self, index: int, delta: DeltaTold) -> Iterator[neutral.Event]:
        # By what it is, not by the block it claims to be of: some vendors mix them up.
        if delta.text:
            yield neutral.TextDelta(delta.text)
        if delta.thinking:
            yield neutral.ThinkingDelta(delta.thinking)
        if delta.signature:
            self._signatures[index] = delta.signature
        call = self._calls.get(index)
        if delta.partial_json and call:
            call.has_pieces = True
            yield neutral.CallArguments(call.number, delta.partial_json)

    def _stop(self, index: int) -> Iterator[neutral.Event]:
        if signature := self._signatures.pop(index, None):
            yield neutral.ThoughtSigned(signature)
        call = self._calls.pop(index, None)
        if call and not call.has_pieces:
            # No arguments at all are an empty object to whoever reads them.
            is_told = call.whole_input[:1] == b"{"
            arguments = call.whole_input.decode(errors="replace") if is_told else "{}"
            yield neutral.CallArguments(call.number, arguments)

    def _finish(self) -> Iterator[neutral.Event]:
        for index in sorted({*self._calls, *self._signatures}):
            yield from self._stop(index)
        details = self._end.stop_details
        reason = self._reason()
        if reason == "refusal" and details and details.explanation:
            yield neutral.RefusalDelta(details.explanation)
        self._is_over = True
        yield neutral.Finished(reason, self._tally.usage(), self._end.stop_sequence)

    def _reason(self) -> neutral.Reason:
        """Why it ended; whether tools were called is seen from the calls themselves."""
        reason = REASONS.get(self._end.stop_reason or "", "end")
        if reason in ("end", "tool_calls"):
            return "tool_calls" if self._call_count else "end"
        return reason
