"""Chat through pydantic-ai's direct model layer: the part that all its vendors have in common."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, Literal

import httpx
import httpx2
from anyio import ClosedResourceError
from pydantic_ai import exceptions
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPartDelta,
    ThinkingPartDelta,
    ToolCallPartDelta,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.messages import TextPart as AiTextPart
from pydantic_ai.messages import ThinkingPart as AiThinkingPart
from pydantic_ai.messages import ToolCallPart as AiToolCallPart
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from core.errors import AppError, ProviderError
from core.http import too_large
from core.wire import WireError
from providers.clients import failures, transport
from providers.profiles import thinking_wire
from providers.tokens import estimate_tokens, is_count
from providers.types import (
    AssistantMessage,
    ChatEnd,
    ChatMessage,
    ChatPart,
    ChatRequest,
    Endpoint,
    FinishReason,
    LlmSpec,
    SystemMessage,
    TextPart,
    ThinkingPart,
    Thought,
    ThoughtPart,
    ToolCall,
    ToolCallPart,
    ToolMessage,
    Usage,
    UserMessage,
)

# How the last event of a stream shows itself, and how long the few bytes after it may take.
_LAST_EVENTS = (b"data: [DONE]", b"data:[DONE]", b'"message_stop"')
_TAIL_BYTES = 256
# Long enough for vendors that send the whole answer at once.
MAX_EVENT_BYTES = 128 * 1024
# Of all tool calls in an answer: more than anybody takes, so that it can be told as too much.
# Reading stops there; each piece of arguments costs as much time as a word of text.
MAX_ARGUMENT_CHARS = 40_000
MAX_CALLS = 64
REST_S = 0.1
# Where thoughts are not streamed, a model that was told to think is silent meanwhile.
THINKING_SILENCE_S = 180.0
# A thought from marks in the text, which no vendor wants back.
_FROM_TEXT = "content"
# Vendors that need no key still need one for their SDK.
NO_KEY = "none"
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_call": "tool_calls",
    "content_filter": "content_filter",
}


# --- The vendors' SDKs speak httpx2; our guard speaks httpx --------------------------------------


class GuardedBridge(httpx2.AsyncBaseTransport):
    """Carries requests of an SDK over `core.http`, past the guard that all others meet."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        ours = httpx.Request(
            request.method,
            str(request.url),
            headers=dict(request.headers),
            content=await request.aread(),
            extensions={"timeout": transport.TIMEOUT.as_dict()},
        )
        response = await transport.send(ours)
        content_type = response.headers.get("content-type", "")
        if response.is_success and is_no_api(content_type):
            await response.aclose()
            raise failures.not_an_api(self._endpoint, content_type)
        return httpx2.Response(
            response.status_code,
            headers=response.headers.raw,
            stream=BoundedBody(response) if response.is_success else ErrorBody(response),
            extensions={"http_version": b"HTTP/1.1"},
        )


def is_no_api(content_type: str) -> bool:
    """Whether a page, a picture or a sound came where an API was expected."""
    return content_type.lower().startswith(("text/html", "image/", "audio/"))


class BoundedBody(httpx2.AsyncByteStream):
    """The body of an httpx response, raw, in httpx2's terms.

    SDKs stop reading at the last event, a few bytes before the end of the body; closed there, the
    connection would be lost, and the next turn would wait for a new one. So that rest is read.

    SDKs keep an event until it is whole, copying it for each piece; so its length is bounded, too.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._raw = response.aiter_raw()
        self._tail = b""
        self._bytes_left = transport.MAX_STREAM_BYTES
        self._event_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._raw:
            self._bytes_left -= len(chunk)
            self._event_bytes += len(chunk)
            joined = self._tail + chunk
            if b"\n\n" in joined or b"\r\n\r\n" in joined or b"\r\r" in joined:
                # What follows in the chunk belongs to the next event; no need to be exact.
                self._event_bytes = 0
            if self._event_bytes > MAX_EVENT_BYTES:
                raise too_large(MAX_EVENT_BYTES)
            if self._bytes_left < 0:
                raise too_large(transport.MAX_STREAM_BYTES)
            self._tail = joined[-_TAIL_BYTES:]
            yield chunk

    async def aclose(self) -> None:
        if any(last in self._tail for last in _LAST_EVENTS):
            with suppress(TimeoutError, httpx.HTTPError, httpx.StreamError):
                async with asyncio.timeout(REST_S):
                    async for _rest in self._raw:
                        pass
        await self._response.aclose()


class ErrorBody(httpx2.AsyncByteStream):
    """The beginning of an error's body: SDKs read all that they are given."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = transport.MAX_ERROR_BYTES
        async for chunk in self._response.aiter_raw():
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._response.aclose()


def http_client(endpoint: Endpoint) -> httpx2.AsyncClient:
    """What an SDK is given as its HTTP client. It owns no connection and needs no closing."""
    return httpx2.AsyncClient(
        transport=GuardedBridge(endpoint), trust_env=False, follow_redirects=False
    )


# --- Our words and pydantic-ai's ----------------------------------------------------------------


def to_messages(messages: Iterable[ChatMessage], *, system: str = "") -> list[ModelMessage]:
    """The history in pydantic-ai's form: what was asked and what was answered, in turns.

    Thoughts go back to the vendor that pydantic-ai knows by the name `system`, and to no other.
    """
    history: list[ModelMessage] = []
    asked: list[ModelRequestPart] = []
    for message in messages:
        if isinstance(message, AssistantMessage):
            answered = _answered(message, system)
            if not answered.parts:
                continue
            if asked:
                history.append(ModelRequest(parts=asked))
                asked = []
            history.append(answered)
        else:
            asked.append(_asked(message))
    if asked:
        history.append(ModelRequest(parts=asked))
    return history


def _asked(message: SystemMessage | UserMessage | ToolMessage) -> ModelRequestPart:
    if isinstance(message, SystemMessage):
        return SystemPromptPart(content=message.text)
    if isinstance(message, UserMessage):
        return UserPromptPart(content=_content(message))
    outcome: Literal["success", "failed"] = "failed" if message.is_error else "success"
    return ToolReturnPart(
        tool_name=message.name,
        content=message.text,
        tool_call_id=message.call_id,
        outcome=outcome,
    )


def _content(message: UserMessage) -> str | list[UserContent]:
    if not message.images:
        return message.text
    images = [BinaryContent(each.data, media_type=each.media_type) for each in message.images]
    # An empty text beside an image is refused.
    return [message.text, *images] if message.text else [*images]


def _answered(message: AssistantMessage, system: str) -> ModelResponse:
    thoughts = [
        AiThinkingPart(
            content=thought.text,
            id=thought.kind or None,
            signature=thought.signature or None,
            provider_name=system,
        )
        for thought in (message.thoughts if system else ())
    ]
    texts = [AiTextPart(content=message.text)] if message.text else []
    calls = [
        AiToolCallPart(tool_name=call.name, args=call.arguments or "{}", tool_call_id=call.id)
        for call in message.tool_calls
    ]
    return ModelResponse(parts=[*thoughts, *texts, *calls], provider_name=system or None)


def to_parameters(request: ChatRequest) -> ModelRequestParameters:
    """The tools in pydantic-ai's form. Their schemas are sent as they are, not tightened."""
    return ModelRequestParameters(
        function_tools=[
            ToolDefinition(
                name=tool.name,
                description=tool.description,
                parameters_json_schema=tool.parameters,
                strict=False,
            )
            for tool in request.tools
        ]
    )


def to_settings(request: ChatRequest, spec: LlmSpec) -> ModelSettings:
    """Temperature and limits; the request's before the row's."""
    settings: ModelSettings = {}
    temperature = spec.temperature if request.temperature is None else request.temperature
    # Models that think refuse it, or take no notice.
    if temperature is not None and not request.thinking:
        settings["temperature"] = temperature
    max_tokens = spec.max_output_tokens if request.max_tokens is None else request.max_tokens
    if max_tokens is not None:
        settings["max_tokens"] = max_tokens
    if request.tools:
        settings["tool_choice"] = request.tool_choice
    return settings


class DirectChat:
    """ChatModel over one pydantic-ai model."""

    def __init__(self, spec: LlmSpec, model: Model[Any]) -> None:
        self._spec = spec
        self._model = model
        self._thinking = thinking_wire(spec.endpoint)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[ChatPart]]:
        """The answer as it is made; leaving closes the request to the vendor."""
        async with aclosing(self._parts(request)) as parts:
            yield parts

    def settings(self, request: ChatRequest) -> ModelSettings:
        """What the request says beside messages and tools."""
        settings = to_settings(request, self._spec)
        if request.thinking is None:
            return settings
        if self._thinking.on is None:
            settings["thinking"] = request.thinking
        else:
            settings["extra_body"] = self._thinking.on if request.thinking else self._thinking.off
        if request.thinking:
            settings["timeout"] = THINKING_SILENCE_S
        return settings

    def messages(self, request: ChatRequest) -> list[ModelMessage]:
        """What the model is shown, with its thoughts where they are wanted back."""
        system = self._model.system if self._thinking.takes_back else ""
        return to_messages(request.messages, system=system)

    async def _parts(self, request: ChatRequest) -> AsyncGenerator[ChatPart, None]:
        endpoint = self._spec.endpoint
        answer: list[str] = []
        argument_chars = 0
        with translated(endpoint):
            async with model_request_stream(
                self._model,
                self.messages(request),
                model_settings=self.settings(request),
                model_request_parameters=to_parameters(request),
                instrument=False,
            ) as stream:
                async for event in stream:
                    part = _part(event)
                    if part is not None:
                        answer.append(part.text if isinstance(part, TextPart) else "")
                        yield part
                    argument_chars += _argument_chars(event)
                    if argument_chars > MAX_ARGUMENT_CHARS:
                        break
                made = stream.get()
                calls = _calls(made)
        if calls and self._thinking.takes_back:
            for thought in _thoughts(made):
                yield ThoughtPart(thought)
        for call in calls:
            yield ToolCallPart(call)
        reason = _reason(stream, has_calls=bool(calls))
        if reason == "stop" and not "".join(answer).strip():
            raise failures.empty(endpoint)
        took = stream.usage
        yield ChatEnd(
            reason, counted(request, "".join(answer), took.input_tokens, took.output_tokens)
        )


def _part(event: object) -> TextPart | ThinkingPart | None:
    """The text in an event, if it has any. Tool calls are taken whole, at the end of the stream."""
    if isinstance(event, PartStartEvent):
        if isinstance(event.part, AiTextPart) and event.part.content:
            return TextPart(event.part.content)
        if isinstance(event.part, AiThinkingPart) and event.part.content:
            return ThinkingPart(event.part.content)
    if isinstance(event, PartDeltaEvent):
        if isinstance(event.delta, TextPartDelta) and event.delta.content_delta:
            return TextPart(event.delta.content_delta)
        if isinstance(event.delta, ThinkingPartDelta) and event.delta.content_delta:
            return ThinkingPart(event.delta.content_delta)
    return None


def _argument_chars(event: object) -> int:
    """How much of a call's arguments came with an event."""
    match event:
        case PartStartEvent(part=AiToolCallPart(args=str(text))):
            return len(text)
        case PartDeltaEvent(delta=ToolCallPartDelta(args_delta=str(text))):
            return len(text)
        case _:
            return 0


def _thoughts(made: ModelResponse) -> Iterator[Thought]:
    """What the vendor can recognise as its own again."""
    for part in made.parts:
        if not isinstance(part, AiThinkingPart) or part.id == _FROM_TEXT:
            continue
        if part.signature or part.id:
            yield Thought(part.content, part.id or "", part.signature or "")


def _calls(made: ModelResponse) -> list[ToolCall]:
    parts = [part for part in made.parts if isinstance(part, AiToolCallPart)]
    return [
        ToolCall(part.tool_call_id, part.tool_name, _arguments(part)) for part in parts[:MAX_CALLS]
    ]


def _arguments(part: AiToolCallPart) -> str:
    """As the model wrote them: pydantic-ai's own text hides what is no JSON inside of an object."""
    if isinstance(part.args, str):
        return part.args
    return json.dumps(part.args or {})


def _reason(stream: StreamedResponse, *, has_calls: bool) -> FinishReason:
    # Some vendors say "stop" after a tool call.
    return "tool_calls" if has_calls else _REASONS.get(stream.finish_reason or "stop", "stop")


def counted(
    request: ChatRequest, answer: str = "", read: object = None, written: object = None
) -> Usage:
    """What the vendor counted; an estimate where it counts nothing, or nonsense."""
    if is_count(read) and is_count(written) and (read or written):
        return Usage(read, written)
    asked = sum(estimate_tokens(message.text) for message in request.messages)
    return Usage(asked, estimate_tokens(answer))


# --- Failures -----------------------------------------------------------------------------------

_PERMANENT: tuple[type[exceptions.ModelAPIError], ...] = (
    exceptions.ModelRequestRejectedError,
    exceptions.ModelQuotaExceededError,
)


@contextmanager
def translated(endpoint: Endpoint) -> Iterator[None]:
    """Turns whatever the layers below raise into ProviderError; cancellation passes untouched."""
    try:
        yield
    except AppError as error:
        raise failures.from_app_error(error) from None
    except (
        exceptions.AgentRunError,
        exceptions.UserError,
        httpx.HTTPError,
        httpx.InvalidURL,
        httpx2.HTTPError,
        httpx2.InvalidURL,
        WireError,
        ClosedResourceError,
        # SDKs build objects from whatever the vendor sent.
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
        # Brackets in brackets in brackets.
        RecursionError,
    ) as error:
        raise _failure(endpoint, error) from error


def _failure(endpoint: Endpoint, error: Exception) -> ProviderError:
    if isinstance(error, exceptions.ModelHTTPError):
        status = 402 if isinstance(error, exceptions.ModelQuotaExceededError) else error.status_code
        if isinstance(error, exceptions.ModelContextWindowExceededError):
            status = 413
        return failures.from_status(
            endpoint, status, body=_as_error(error.body), retry_after=error.retry_after
        )
    known = failures.from_chain(endpoint, error)
    if known is not None:
        return known
    if isinstance(error, exceptions.ModelTimeoutError):
        return failures.late(endpoint)
    if isinstance(error, exceptions.ModelConnectionError):
        return failures.unreachable(endpoint)
    if isinstance(error, exceptions.ContentFilterError):
        return failures.from_status(endpoint, 400)
    if isinstance(error, exceptions.ModelAPIError):
        if isinstance(error, _PERMANENT):
            return failures.from_status(endpoint, 400, body=_as_error(error.body))
        return failures.broken_off(endpoint) if error.in_stream else failures.unreadable(endpoint)
    return failures.unreadable(endpoint)


def _as_error(body: object) -> object:
    """SDKs hand over the inside of the error object; put it back where we look for it."""
    return {"error": body} if isinstance(body, dict) and "error" not in body else body


def load(path: str) -> Any:
    """What `module:name` in a profile names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
