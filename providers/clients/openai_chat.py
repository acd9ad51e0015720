"""`POST /chat/completions` as OpenAI and most other vendors speak it.

pydantic-ai knows the dialects: it says what to send. The way there and back is our own: OpenAI's
client took more than half of the processor time of a turn, for transforming requests that are JSON
already, and for reading each chunk through two HTTP clients. `openai_answer` reads what comes back.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import cached_property
from typing import Any, Self, cast

import httpx2
from openai import AsyncOpenAI
from openai._types import Omit
from openai.resources.chat import AsyncChat
from openai.resources.chat.completions import AsyncCompletions

# What pydantic-ai's own `direct` and models use of it; it is pinned.
from pydantic_ai._model_errors import stream_error
from pydantic_ai._special_tokens import break_special_tokens_in_messages
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_core import from_json

from core.http import too_large
from core.wire import Response, WireError
from providers.clients import direct, failures, transport
from providers.clients.direct import (
    NO_KEY,
    DirectChat,
    counted,
    http_client,
    is_no_api,
    load,
    to_parameters,
    translated,
)
from providers.clients.event_stream import EventReader
from providers.clients.openai_answer import Answer
from providers.profiles import PROFILES
from providers.types import (
    ChatEnd,
    ChatPart,
    ChatRequest,
    Endpoint,
    LlmSpec,
    TextPart,
    ThoughtPart,
    ToolCallPart,
)

_NAMED = "pydantic_ai.providers.openai_compatible:OpenAICompatibleProvider"
_PATH = "/chat/completions"
_DONE = b"[DONE]"


class OpenAIChat(DirectChat):
    """ChatModel of any vendor with this protocol; its profile names the dialect."""

    _model: _Model

    def __init__(self, spec: LlmSpec) -> None:
        endpoint = spec.endpoint
        path = PROFILES[endpoint.vendor].chat_provider
        names = (endpoint.vendor,) if path == _NAMED else ()
        provider = load(path)(*names, openai_client=_Client(endpoint))
        # The row says so, of a model whose name tells nothing.
        can_think: ModelProfile | None = {"supports_thinking": True}
        if not spec.supports_thinking:
            can_think = None
        model = _Model(endpoint.model_name, provider=provider, profile=can_think)
        super().__init__(spec, model)

    async def _parts(self, request: ChatRequest) -> AsyncGenerator[ChatPart, None]:
        endpoint = self._spec.endpoint
        answer = Answer(self._model.profile)
        said: list[str] = []
        with translated(endpoint):
            asked = self.messages(request)
            events = await self._model.open(asked, self.settings(request), to_parameters(request))
            if events is None:
                yield ChatEnd("content_filter", counted(request))
                return
            async with aclosing(events):
                async for event in events:
                    for part in answer.take(_chunk(event, self._model.model_name)):
                        if isinstance(part, TextPart):
                            said.append(part.text)
                        yield part
                    if answer.argument_chars > direct.MAX_ARGUMENT_CHARS:
                        break
            for rest in answer.rest():
                said.append(rest.text)
                yield rest
            calls = answer.calls(limit=direct.MAX_CALLS)
        if calls and self._thinking.takes_back:
            for thought in answer.thoughts():
                yield ThoughtPart(thought)
        for call in calls:
            yield ToolCallPart(call)
        # Some vendors say "stop" after a tool call.
        reason = "tool_calls" if calls else answer.reason
        text = "".join(said)
        if reason == "stop" and not text.strip():
            raise failures.empty(endpoint)
        yield ChatEnd(reason, counted(request, text, *answer.counts))


def _chunk(event: bytes, model_name: str) -> Any:
    """What an event says. Raises as pydantic-ai does for an error that comes in the stream."""
    try:
        chunk = from_json(event)
    except ValueError:
        # Half a character, which some vendors send in two chunks, is refused by the fast reader.
        chunk = json.loads(event.decode())
    if isinstance(chunk, dict) and (error := chunk.get("error")):
        message = error.get("message") if isinstance(error, dict) else None
        text = message if isinstance(message, str) else "An error in the stream"
        raise stream_error(model_name, text, error)
    return chunk


class _Model(OpenAIChatModel):
    """pydantic-ai's model, which makes the request. What comes back is read by ourselves."""

    async def open(
        self,
        messages: list[ModelMessage],
        settings: ModelSettings,
        parameters: ModelRequestParameters,
    ) -> _Events | None:
        """The events of the answer, once it has begun; None where the question was filtered out.

        Raises as pydantic-ai does.
        """
        asked, offered = self.prepare_request(settings, parameters)
        unmarked = break_special_tokens_in_messages(
            messages, self.profile, self.accepts_stateless_artifacts
        )
        wanted = cast(OpenAIChatModelSettings, asked or {})
        opened: object = await self._completions_create(unmarked, True, wanted, offered)
        return opened if isinstance(opened, _Events) else None


class _Client(AsyncOpenAI):
    """What pydantic-ai takes for OpenAI's client. Only streamed chat goes our own way."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key or NO_KEY,
            http_client=http_client(endpoint),
            max_retries=0,
        )
        self.endpoint = endpoint

    @cached_property
    def chat(self) -> AsyncChat:
        return _Chat(self)


class _Chat(AsyncChat):
    _client: _Client

    @cached_property
    def completions(self) -> AsyncCompletions:
        return _Completions(self._client)


class _Completions(AsyncCompletions):
    _client: _Client

    async def create(self, **asked: Any) -> Any:
        """The chunks of an answer. Raises as OpenAI's client does, which pydantic-ai expects."""
        if asked.get("stream") is not True:
            return await super().create(**asked)
        response = await self._send(**asked)
        if not 200 <= response.status < 300:
            raise self._client._make_status_error_from_response(await self._refusal(response))
        content_type = (response.header(b"content-type") or b"").decode("latin-1")
        if is_no_api(content_type):
            await response.aclose()
            raise failures.not_an_api(self._client.endpoint, content_type)
        return _Events(response)

    async def _send(
        self,
        *,
        extra_headers: dict[str, str] | None = None,
        extra_body: dict[str, Any] | None = None,
        **asked: Any,
    ) -> Response:
        silence_s = asked.pop("timeout", None)
        body = {name: value for name, value in asked.items() if not isinstance(value, Omit)}
        endpoint = self._client.endpoint
        return await transport.send_json(
            endpoint,
            _PATH,
            {**body, **(extra_body or {})},
            headers={
                **(extra_headers or {}),
                "Authorization": f"Bearer {endpoint.api_key or NO_KEY}",
            },
            silence_s=silence_s if isinstance(silence_s, float) else transport.SILENCE_S,
        )

    async def _refusal(self, response: Response) -> httpx2.Response:
        """The answer as OpenAI's client knows them, with the beginning of its body."""
        content = bytearray()
        async with response:
            async for piece in response:
                content += piece
                if len(content) >= transport.MAX_ERROR_BYTES:
                    break
        url = f"{self._client.endpoint.base_url.rstrip('/')}{_PATH}"
        return httpx2.Response(
            response.status,
            headers=list(response.headers),
            content=bytes(content[: transport.MAX_ERROR_BYTES]),
            request=httpx2.Request("POST", url),
        )


class _Events:
    """The events of a streamed answer, each as it comes, until the one that says it was the last.

    Close it. What is left of the body behind the last event is then read, for a moment: a
    connection that was closed there would be lost, and the next turn would wait for a new one.
    """

    def __init__(self, response: Response) -> None:
        self._response = response
        self._reader = EventReader()
        self._ready: deque[bytes] = deque()
        self._bytes_left = transport.MAX_STREAM_BYTES
        self._is_done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            if self._is_done:
                raise StopAsyncIteration
            self._ready.extend(await self._more())
        event = self._ready.popleft()
        if event.startswith(_DONE):
            self._is_done = True
            raise StopAsyncIteration
        return event

    async def _more(self) -> list[bytes]:
        """What the next piece of the body completes, or its end."""
        piece = await anext(self._response, None)
        if piece is None:
            self._is_done = True
            return [event.data for event in self._reader.flush()]
        events = self._reader.push(piece)
        if self._reader.held_bytes > direct.MAX_EVENT_BYTES:
            raise too_large(direct.MAX_EVENT_BYTES)
        self._bytes_left -= len(piece)
        if self._bytes_left < 0:
            raise too_large(transport.MAX_STREAM_BYTES)
        return [event.data for event in events]

    async def aclose(self) -> None:
        if self._is_done:
            with suppress(TimeoutError, WireError):
                async with asyncio.timeout(direct.REST_S):
                    async for _rest in self._response:
                        pass
        await self._response.aclose()
