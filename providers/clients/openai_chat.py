"""`POST /chat/completions` as OpenAI and most other vendors speak it.

pydantic-ai knows the dialects: what to send, and what each chunk means. The way between is our
own: OpenAI's client took more than half of the processor time of a turn, for transforming requests
that are JSON already, and for reading each chunk through two HTTP clients.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from functools import cached_property
from typing import Any, Self

import httpx
import httpx2
from openai import APIError, AsyncOpenAI
from openai._types import Omit
from openai.resources.chat import AsyncChat
from openai.resources.chat.completions import AsyncCompletions
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from pydantic import ValidationError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles import ModelProfile

from core.http import shared_client
from providers.clients import failures, transport
from providers.clients.direct import (
    NO_KEY,
    BoundedBody,
    DirectChat,
    ErrorBody,
    http_client,
    is_no_api,
    load,
)
from providers.profiles import PROFILES
from providers.types import Endpoint, LlmSpec

_NAMED = "pydantic_ai.providers.openai_compatible:OpenAICompatibleProvider"
_DONE = b"[DONE]"
# A carriage return at the very end may be the first half of a line's end.
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")
_LAST_LINE_END = re.compile(rb"\r\n|\n|\r")


class OpenAIChat(DirectChat):
    """ChatModel of any vendor with this protocol; its profile names the dialect."""

    def __init__(self, spec: LlmSpec) -> None:
        endpoint = spec.endpoint
        path = PROFILES[endpoint.vendor].chat_provider
        names = (endpoint.vendor,) if path == _NAMED else ()
        provider = load(path)(*names, openai_client=_Client(endpoint))
        # The row says so, of a model whose name tells nothing.
        can_think: ModelProfile = {"supports_thinking": True} if spec.supports_thinking else {}
        model = OpenAIChatModel(endpoint.model_name, provider=provider, profile=can_think)
        super().__init__(spec, model)


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
        response = await transport.send(self._request(**asked))
        if not response.is_success:
            raise self._client._make_status_error_from_response(await _read_error(response))
        if is_no_api(response):
            await response.aclose()
            content_type = response.headers["content-type"]
            raise failures.not_an_api(self._client.endpoint, content_type)
        return _Chunks(response)

    def _request(
        self,
        *,
        extra_headers: dict[str, str] | None = None,
        extra_body: dict[str, Any] | None = None,
        timeout: object = None,
        **asked: Any,
    ) -> httpx.Request:
        body = {name: value for name, value in asked.items() if not isinstance(value, Omit)}
        silence_s = timeout if isinstance(timeout, float) else transport.SILENCE_S
        endpoint = self._client.endpoint
        return shared_client().build_request(
            "POST",
            f"{endpoint.base_url.rstrip('/')}/chat/completions",
            headers={
                **(extra_headers or {}),
                "Authorization": f"Bearer {endpoint.api_key or NO_KEY}",
            },
            json={**body, **(extra_body or {})},
            timeout=transport.timeout(silence_s),
        )


async def _read_error(response: httpx.Response) -> httpx2.Response:
    body = ErrorBody(response)
    content = b"".join([piece async for piece in body])
    await body.aclose()
    return httpx2.Response(
        response.status_code,
        headers=response.headers.raw,
        content=content,
        request=_request_of(response),
    )


def _request_of(response: httpx.Response) -> httpx2.Request:
    return httpx2.Request("POST", str(response.request.url))


class _Chunks:
    """The chunks of a stream, as they come: what pydantic-ai uses of OpenAI's AsyncStream."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._body = BoundedBody(response)
        self._usage: CompletionUsage | None = None

    async def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        events = _Events()
        is_over = False
        async for piece in self._body:
            for data in events.push(piece):
                if is_over := data.startswith(_DONE):
                    break
                yield self._chunk(json.loads(data))
            if is_over:
                break
        else:
            for data in events.flush():
                if not data.startswith(_DONE):
                    yield self._chunk(json.loads(data))
        if self._usage is not None:
            yield _counted(self._usage)

    async def close(self) -> None:
        await self._body.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def _chunk(self, value: Any) -> ChatCompletionChunk:
        if isinstance(value, dict) and (error := value.get("error")):
            message = error.get("message") if isinstance(error, dict) else None
            text = message if isinstance(message, str) else "An error in the stream"
            raise APIError(text, request=_request_of(self._response), body=error)
        try:
            chunk = ChatCompletionChunk.model_validate(value)
        except ValidationError:
            # Vendors leave out and add what they like; OpenAI's own client takes it, too.
            chunk = ChatCompletionChunk.construct(**value)
        if chunk.usage is not None:
            # Some repeat with each chunk what was counted so far: only the last says it all.
            self._usage, chunk.usage = chunk.usage, None
        return chunk


def _counted(usage: CompletionUsage) -> ChatCompletionChunk:
    """A chunk that says nothing but what was counted."""
    return ChatCompletionChunk.construct(
        id="", choices=[], created=0, model="", object="chat.completion.chunk", usage=usage
    )


class _Events:
    """The data of server-sent events, from pieces of any length."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []

    def push(self, piece: bytes) -> Iterator[bytes]:
        """The data of the events that this piece completes."""
        self._rest.append(piece)
        # Joined only where a line ends: an endless one must not be copied for each piece.
        if b"\n" in piece or b"\r" in piece:
            *lines, rest = _LINE_END.split(b"".join(self._rest))
            self._rest = [rest]
            for line in lines:
                yield from self._take(line)

    def flush(self) -> Iterator[bytes]:
        """The data of an event that nothing ended."""
        for line in (*_LAST_LINE_END.split(b"".join(self._rest)), b""):
            yield from self._take(line)

    def _take(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            yield b"\n".join(self._data)
            self._data = []
