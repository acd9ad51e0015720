"""FastGPT's chat API: `POST {address}/v1/chat/completions`, with the conversation kept there.

The application is chosen by its key. With a `chatId` FastGPT takes its own history and, of what is
sent, the last message only; `variables` replace `{{name}}` in its prompts. The answer is a stream
in OpenAI's form; an error inside of it is an event named `error`. Tokens are not told.
Source: doc.fastgpt.io (OpenAPI, Chat API).
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from core.errors import ProviderError
from providers.clients import brains, failures
from providers.types import (
    BrainPart,
    BrainRequest,
    BrainSpec,
    ChatEnd,
    Endpoint,
    FinishReason,
    ImagePart,
    LinkedPart,
    TextPart,
    ThinkingPart,
)

NAME = "FastGPT"
MAX_CHAT_ID_CHARS = 200
_PATH = "/chat/completions"
_DONE = b"[DONE]"
# Of most refusals; what was wrong, only the message says.
_ANY_REFUSAL = 500
# What FastGPT calls others.
_STATUS_OF_REFUSAL = {
    "unAuthorization": 401,
    "unAuthApiKey": 401,
    "insufficientQuota": 402,
    "unAuthApp": 403,
    "unAuthChat": 403,
}
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
}


class FastGpt:
    """Brain of one application of FastGPT."""

    def __init__(self, spec: BrainSpec) -> None:
        self._endpoint = brains.endpoint_of(spec, name=NAME, base_url=_base_url(spec.base_url))

    @asynccontextmanager
    async def stream(self, request: BrainRequest) -> AsyncIterator[AsyncIterator[BrainPart]]:
        """The answer as it is made; leaving closes the request, which ends the answer there."""
        async with aclosing(self._parts(request)) as parts:
            yield parts

    async def _parts(self, request: BrainRequest) -> AsyncGenerator[BrainPart, None]:
        chat_id = (request.remote_id or request.conversation_id or uuid4().hex)[:MAX_CHAT_ID_CHARS]
        if chat_id != request.remote_id:
            yield LinkedPart(chat_id)
        answer: list[str] = []
        reason: FinishReason | None = None
        usage: object = None
        async with brains.streamed(
            self._endpoint, _PATH, _body(request, chat_id), refusal=_refusal
        ) as events:
            async for event in events:
                if event.data.startswith(_DONE):
                    reason = reason or "stop"
                    break
                chunk = failures.json_object(self._endpoint, event.data)
                if event.name == "error" or chunk.get("error"):
                    raise _refusal(self._endpoint, _ANY_REFUSAL, body=chunk)
                usage = chunk.get("usage") or usage
                delta, finish = _choice(chunk)
                reason = _REASONS.get(finish, reason)
                if thought := brains.text_at(delta.get("reasoning_content")):
                    yield ThinkingPart(thought)
                if text := brains.text_at(delta.get("content")):
                    answer.append(text)
                    yield TextPart(text)
        if reason is None:
            raise failures.broken_off(self._endpoint)
        said = "".join(answer)
        yield ChatEnd(reason, brains.counted(usage, asked=request.text, answered=said))


def _base_url(address: str) -> str:
    """Where the chat API is, for an address with or without /api and /v1."""
    base = brains.without(address, _PATH)
    path = urlsplit(base).path
    if path.rpartition("/")[2] in ("v1", "v2"):
        return base
    return f"{base}/v1" if path else f"{base}/api/v1"


def _body(request: BrainRequest, chat_id: str) -> dict[str, Any]:
    content: object = request.text
    if request.images:
        content = [{"type": "text", "text": request.text}, *map(_image, request.images)]
    return {
        "chatId": chat_id,
        "stream": True,
        "detail": False,
        "variables": dict(request.variables),
        # Who is talking, by which FastGPT tells its users apart.
        "customUid": request.user,
        "messages": [{"role": "user", "content": content}],
    }


def _image(image: ImagePart) -> dict[str, Any]:
    data = base64.b64encode(image.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{data}"}}


def _choice(chunk: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The delta of a chunk, and how the answer ended if it did."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict):
        return {}, ""
    delta = choice.get("delta")
    return delta if isinstance(delta, dict) else {}, brains.text_at(choice.get("finish_reason"))


def _refusal(
    endpoint: Endpoint,
    status: int,
    *,
    body: object = None,
    retry_after: str | float | None = None,
) -> ProviderError:
    """The failure behind a status, or behind the name that FastGPT gives it in the body."""
    told = _object(body)
    code = told.get("code")
    if isinstance(code, int) and 400 <= code < 500:
        status = code
    status = _STATUS_OF_REFUSAL.get(brains.text_at(told.get("statusText")), status)
    failure = failures.from_status(endpoint, status, body=body, retry_after=retry_after)
    reason = failures.sanitised(told.get("message"), endpoint)
    if status != _ANY_REFUSAL or not reason:
        return failure
    explained = f"{failure.message} ({reason})"
    return ProviderError(explained, is_permanent=False, upstream_status=status)


def _object(body: object) -> dict[str, Any]:
    if isinstance(body, bytes):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return {}
    return body if isinstance(body, dict) else {}
