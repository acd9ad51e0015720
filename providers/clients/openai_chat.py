"""`POST /chat/completions` as OpenAI and most other vendors speak it.

pydantic-ai knows the dialects: what to send, and what each chunk means. The way between is our
own: OpenAI's client took more than half of the processor time of a turn, for transforming requests
that are JSON already, and for reading each chunk through two HTTP clients.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any, Self

import httpx
import httpx2
from openai import APIError, AsyncOpenAI
from openai._types import Omit
from openai.resources.chat import AsyncChat
from openai.resources.chat.completions import AsyncCompletions
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
from providers.clients.event_stream import EventReader
from providers.profiles import PROFILES
from providers.types import Endpoint, LlmSpec

_NAMED = "pydantic_ai.providers.openai_compatible:OpenAICompatibleProvider"
_DONE = b"[DONE]"


class OpenAIChat(DirectChat):
    """ChatModel of any vendor with this protocol; its profile names the dialect."""

    def __init__(self, spec: LlmSpec) -> None:
        endpoint = spec.endpoint
        path = PROFILES[endpoint.vendor].chat_provider
        names = (endpoint.vendor,) if path == _NAMED else ()
        provider = load(path)(*names, openai_client=_Client(endpoint))
        # The row says so, of a model whose name tells nothing.
        can_think: ModelProfile | None = {"supports_thinking": True}
        if not spec.supports_thinking:
            can_think = None
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
        # Some vendors count again in each chunk what was made so far; only the last says it all.
        self._counted: ChatCompletionChunk | None = None

    async def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        reader = EventReader()
        is_over = False
        async for piece in self._body:
            for event in reader.push(piece):
                if is_over := event.data.startswith(_DONE):
                    break
                if chunk := self._uncounted(self._chunk(json.loads(event.data))):
                    yield chunk
            if is_over:
                break
        else:
            for event in reader.flush():
                if event.data.startswith(_DONE):
                    continue
                if chunk := self._uncounted(self._chunk(json.loads(event.data))):
                    yield chunk
        if self._counted is not None:
            yield self._counted

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
            return ChatCompletionChunk.model_validate(value)
        except ValidationError:
            # Vendors leave out and add what they like; OpenAI's own client takes it, too.
            return ChatCompletionChunk.construct(**value)

    def _uncounted(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk | None:
        """The chunk without its count, or None where it says nothing else."""
        if chunk.usage is None:
            return chunk
        self._counted = chunk.model_copy(update={"choices": []}) if chunk.choices else chunk
        if not chunk.choices:
            return None
        chunk.usage = None
        return chunk
