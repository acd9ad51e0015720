"""Dify's Service API for chat applications: `POST {address}/chat-messages`, answered by a stream.

Dify keeps the conversation under an id of its own, which comes with the first event. Of its events
these matter: message and agent_message (more of the answer), agent_thought (what an agent thinks
and which tools it uses), message_file (an image that a tool made), message_replace (moderation
puts another text in the place of all that was said), message_end (with the tokens) and error.
Images are uploaded first. Closing the stream does not end the answer there: that is asked for.
Source: docs.dify.ai (Publish, Developing with APIs) and Dify's own API page of an application.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from core.errors import ProviderError
from core.loops import PerLoop
from providers.clients import brains, failures, transport
from providers.types import (
    BrainPart,
    BrainRequest,
    BrainSpec,
    ChatEnd,
    Endpoint,
    ImagePart,
    LinkedPart,
    RetractedPart,
    TextPart,
    ThinkingPart,
    Usage,
)

logger = logging.getLogger(__name__)

NAME = "Dify"
STOP_WITHIN_S = 3.0
_PATH = "/chat-messages"
_MAX_UPLOAD_ANSWER_BYTES = 64 * 1024
_STATUS_OF_CODE = {
    "unauthorized": 401,
    "provider_quota_exceeded": 402,
    "rate_limit_error": 429,
    "too_many_requests": 429,
}


class Dify:
    """Brain of one application of Dify, which its key chooses."""

    def __init__(self, spec: BrainSpec) -> None:
        self._endpoint = brains.endpoint_of(spec, name=NAME, base_url=_base_url(spec.base_url))

    @asynccontextmanager
    async def stream(self, request: BrainRequest) -> AsyncIterator[AsyncIterator[BrainPart]]:
        """The answer as it is made; leaving closes the request and has Dify stop."""
        async with aclosing(self._parts(request)) as parts:
            yield parts

    async def _parts(self, request: BrainRequest) -> AsyncGenerator[BrainPart, None]:
        """The answer; in a new conversation where Dify does not know the old one any more."""
        files = [await self._upload(image, request.user) for image in request.images]
        remote_id = request.remote_id if _is_uuid(request.remote_id) else ""
        try:
            async with aclosing(self._answer(request, remote_id, files)) as parts:
                async for part in parts:
                    yield part
            return
        except ProviderError as error:
            if not remote_id or error.upstream_status != 404:
                raise
        logger.info("Dify does not know conversation %s any more", remote_id)
        async with aclosing(self._answer(request, "", files)) as parts:
            async for part in parts:
                yield part

    async def _answer(
        self, request: BrainRequest, remote_id: str, files: list[dict[str, Any]]
    ) -> AsyncGenerator[BrainPart, None]:
        reading = _Reading(self._endpoint, request, remote_id)
        body = {
            "query": request.text,
            "inputs": dict(request.variables),
            "response_mode": "streaming",
            "conversation_id": remote_id,
            "user": request.user,
            "files": files,
            "auto_generate_name": False,
        }
        try:
            async with brains.streamed(self._endpoint, _PATH, body) as events:
                async for event in events:
                    told = failures.json_object(self._endpoint, event.data)
                    for part in reading.take(told):
                        yield part
                    if reading.has_ended:
                        return
            raise failures.broken_off(self._endpoint)
        finally:
            if reading.task_id and not reading.has_ended:
                _STOPS.get().send(self._stop(reading.task_id, request.user))

    async def _upload(self, image: ImagePart, user: str) -> dict[str, Any]:
        """The image as a message refers to it, once it is at Dify."""
        name = f"image.{image.media_type.rpartition('/')[2]}"
        async with transport.post(
            self._endpoint,
            "/files/upload",
            expects=("application/json",),
            data={"user": user},
            files={"file": (name, image.data, image.media_type)},
        ) as response:
            data = await transport.read(response, max_bytes=_MAX_UPLOAD_ANSWER_BYTES)
        file_id = brains.text_at(failures.json_object(self._endpoint, data).get("id"))
        if not file_id:
            raise failures.unreadable(self._endpoint)
        return {"type": "image", "transfer_method": "local_file", "upload_file_id": file_id}

    async def _stop(self, task_id: str, user: str) -> None:
        try:
            async with (
                asyncio.timeout(STOP_WITHIN_S),
                transport.post(
                    self._endpoint,
                    f"{_PATH}/{task_id}/stop",
                    expects=("application/json",),
                    json={"user": user},
                ) as response,
            ):
                await transport.read(response, max_bytes=_MAX_UPLOAD_ANSWER_BYTES)
        except (TimeoutError, ProviderError) as error:
            logger.info("Dify was not told to stop: %s", error)


class _Reading:
    """What the events of one answer have told so far."""

    def __init__(self, endpoint: Endpoint, request: BrainRequest, remote_id: str) -> None:
        self._endpoint = endpoint
        self._asked = request.text
        self._remote_id = remote_id
        self._answer = ""
        self._thoughts: dict[str, str] = {}
        self.task_id = ""
        self.has_ended = False

    def take(self, event: dict[str, Any]) -> list[BrainPart]:
        """What an event means. Raises ProviderError where it tells of an error."""
        task_id = brains.text_at(event.get("task_id"))
        # It becomes a part of an address.
        self.task_id = task_id if _is_uuid(task_id) else self.task_id
        return [*self._linked(event), *self._meant(event)]

    def _linked(self, event: dict[str, Any]) -> list[BrainPart]:
        remote_id = brains.text_at(event.get("conversation_id"))
        if not _is_uuid(remote_id) or remote_id == self._remote_id:
            return []
        self._remote_id = remote_id
        return [LinkedPart(remote_id)]

    def _meant(self, event: dict[str, Any]) -> list[BrainPart]:
        text = brains.text_at(event.get("answer"))
        match event.get("event"):
            case "message" | "agent_message":
                return self._said(text)
            case "message_replace":
                return self._replaced(text)
            case "agent_thought":
                return self._thought(event)
            case "message_file":
                return self._said(_picture(event))
            case "message_end":
                self.has_ended = True
                return [ChatEnd("stop", self._usage(event.get("metadata")))]
            case "error":
                # Dify has ended the answer by itself: there is nothing to stop.
                self.has_ended = True
                raise _failure(self._endpoint, event)
            case _:
                return []

    def _said(self, text: str) -> list[BrainPart]:
        self._answer += text
        return [TextPart(text)] if text else []

    def _replaced(self, text: str) -> list[BrainPart]:
        if text == self._answer:
            return []
        self._answer = text
        return [RetractedPart(), TextPart(text)] if text else [RetractedPart()]

    def _thought(self, event: dict[str, Any]) -> list[BrainPart]:
        """What is new in a thought, which is told again as it grows; not what was said aloud."""
        thought = brains.text_at(event.get("thought"))
        if thought and thought in self._answer:
            thought = ""
        if tool := brains.text_at(event.get("tool")):
            thought += f"\n[{tool}] {brains.text_at(event.get('tool_input'))}\n"
        key = brains.text_at(event.get("id"))
        told, self._thoughts[key] = self._thoughts.get(key, ""), thought
        new = thought.removeprefix(told) if thought.startswith(told) else ""
        return [ThinkingPart(new)] if new else []

    def _usage(self, metadata: object) -> Usage:
        usage = metadata.get("usage") if isinstance(metadata, dict) else None
        return brains.counted(usage, asked=self._asked, answered=self._answer)


class _Stops:
    """Requests to stop, which nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, stop: Any) -> None:
        task = asyncio.create_task(stop, name="dify-stop")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_WITHIN_S)


_STOPS: PerLoop[_Stops] = PerLoop(_Stops, _Stops.close)


def _base_url(address: str) -> str:
    """Where the API is, for an address with or without its version."""
    base = brains.without(address, _PATH)
    return base if base.rpartition("/")[2] == "v1" else f"{base}/v1"


def _is_uuid(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def _picture(event: dict[str, Any]) -> str:
    """An image that a tool made, as markdown shows it."""
    url = brains.text_at(event.get("url"))
    is_shown = event.get("type") == "image" and event.get("belongs_to") == "assistant"
    if not is_shown or not url.startswith(("https://", "http://")):
        return ""
    return f"\n![]({url.replace(' ', '%20').replace(')', '%29')})\n"


def _failure(endpoint: Endpoint, event: dict[str, Any]) -> ProviderError:
    status = event.get("status")
    known = status if isinstance(status, int) and 400 <= status < 600 else 500
    code = brains.text_at(event.get("code"))
    return failures.from_status(endpoint, _STATUS_OF_CODE.get(code, known), body=event)
