"""A chat's answer, from the records of its stream. Pure."""

from __future__ import annotations

import json
from typing import Any

from ai_video_assistant._operation import Operation
from ai_video_assistant._sse import ServerSentEvent
from ai_video_assistant.chat_events import (
    ChatChunk,
    ChatEvent,
    ChatFailure,
    ChatToolEvent,
    UnknownChatEvent,
)
from ai_video_assistant.errors import ChatFailedError


def question(dialog_id: str, text: str, file_url: str | None) -> Operation[Any]:
    """The request of an answer."""
    body = {"dialog_id": dialog_id, "user_input": text, "file_url": file_url}
    return Operation("POST", "/api/v1/chat", None, family="agentchat", body=body)


def chat_event(sent: ServerSentEvent) -> ChatEvent:
    """The event in one record of the stream."""
    try:
        record = json.loads(sent.data)
    except ValueError:
        return UnknownChatEvent("", sent.data)
    kind = record.get("type") if isinstance(record, dict) else None
    data = record.get("data") if isinstance(record, dict) else None
    if isinstance(data, dict):
        if kind == "response_chunk":
            return ChatChunk(str(data.get("chunk", "")), str(data.get("accumulated", "")))
        if kind == "event":
            return _tool_event(data)
    return UnknownChatEvent(str(kind or ""), data)


def _tool_event(data: dict[str, Any]) -> ChatEvent:
    status, message = str(data.get("status", "")), str(data.get("message", ""))
    # An error of no tool and no call is the model's.
    if status == "ERROR" and not data.get("tool") and not data.get("id"):
        return ChatFailure(message)
    sources = data.get("sources")
    return ChatToolEvent(
        status=status,
        title=str(data.get("title", "")),
        message=message,
        id=str(data.get("id") or ""),
        tool=str(data.get("tool") or ""),
        sources=tuple(sources) if isinstance(sources, list) else (),
    )


class Answer:
    """What an answer comes to, event by event."""

    def __init__(self) -> None:
        self.text = ""
        self._failure: ChatFailure | None = None

    def add(self, event: ChatEvent) -> None:
        """Notes what the event says."""
        match event:
            case ChatChunk(accumulated=accumulated) if self._failure is None:
                self.text = accumulated
            case ChatFailure():
                self._failure = self._failure or event

    def check(self) -> None:
        """Behind the last event. Raises ChatFailedError when the answer was not finished."""
        if self._failure is not None:
            raise ChatFailedError(self._failure.message, text=self.text)
