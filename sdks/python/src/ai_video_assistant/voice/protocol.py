"""The closing of conversations in the words of the protocol, as errors of this package. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from ai_video_assistant.errors import (
    AssistantNotFoundError,
    ConversationAuthError,
    ConversationClosedError,
    ConversationError,
    ConversationLostError,
    ProtocolError,
    ReplyFailedError,
    ResumeExpiredError,
    TooManyConversationsError,
)
from ai_video_assistant.voice.events import Problem, SessionStopped

FRAME_BYTES = 640
# As much as one frame may hold is 64 kB; smaller ones keep other messages from waiting.
MESSAGE_BYTES = 25 * FRAME_BYTES
MAX_TEXT_CHARS = 8000
# Of a text frame; a longer one ends the conversation.
MAX_FRAME_BYTES = 64 * 1024

NORMAL = 1000
# Nothing was said: the connection just broke.
ABNORMAL = 1006
# Closed so, a connection may be made again: it is lost, the server goes away or is busy, or (1011)
# it has given up a socket that took nothing any more.
_LOST = {1001, 1005, 1006, 1011, 1012, 1013, 4503}

# What a socket closed with this code means, where no error was sent before.
_CLOSED: dict[int, tuple[type[ConversationError], str, str]] = {
    1009: (ProtocolError, "protocol.too_big", "a message was too large"),
    4400: (ProtocolError, "protocol", "the server did not understand this client"),
    4401: (ConversationAuthError, "auth.required", "the API key is missing or wrong"),
    4403: (ConversationAuthError, "auth.forbidden", "the key may not talk to this assistant"),
    4404: (AssistantNotFoundError, "assistant.not_found", "there is no such assistant"),
    4408: (ConversationClosedError, "inactivity", "nothing happened for too long"),
    4409: (ConversationClosedError, "session.replaced", "another connection took over"),
    4410: (ResumeExpiredError, "session.resume_expired", "the session has ended meanwhile"),
    4429: (TooManyConversationsError, "rate_limit.connections", "too many conversations at once"),
    4503: (ConversationClosedError, "overloaded", "the server is busy"),
}
_OF_PREFIX: tuple[tuple[str, type[ConversationError]], ...] = (
    ("auth.", ConversationAuthError),
    ("assistant.not_found", AssistantNotFoundError),
    ("session.resume_expired", ResumeExpiredError),
    ("rate_limit.connections", TooManyConversationsError),
    ("protocol.", ProtocolError),
    ("llm.", ReplyFailedError),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended; 1006 where it just broke."""

    code: int
    reason: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether the conversation may go on over another connection."""
        return self.code in _LOST

    @property
    def is_told(self) -> bool:
        """Whether the server said that it closes; else what it said last is not the reason."""
        return self.code not in (1005, 1006)


def closing_error(
    closed: Closed, last_problem: Problem | None, stopped: SessionStopped | None = None
) -> ConversationError:
    """Why a connection was closed: the error that the server told of, or what the code means.

    Where the session was `stopped` before, the connection was not lost, however it was closed.
    """
    is_retryable = closed.code in (1001, 1012, 1013, 4429, 4503)
    if stopped is not None and closed.is_lost and last_problem is None:
        return ConversationClosedError(
            f"the server ended the conversation: {stopped.reason or 'it gave no reason'}",
            code=stopped.reason or "session.stopped",
            close_code=closed.code,
            is_retryable=is_retryable,
        )
    kind, code, message = _CLOSED.get(
        closed.code,
        (
            ConversationLostError if closed.is_lost else ConversationClosedError,
            "connection.lost" if closed.is_lost else "connection.closed",
            f"the connection was closed ({closed.code}{' ' * bool(closed.reason)}{closed.reason})",
        ),
    )
    if last_problem is not None and closed.is_told:
        code, message = last_problem.code, last_problem.message or message
        kind = _kind_of(code) or kind
        is_retryable = is_retryable or last_problem.retryable
    return kind(message, code=code, close_code=closed.code, is_retryable=is_retryable)


def problem_error(problem: Problem) -> ConversationError:
    """The same of an error that ends a reply only."""
    kind = _kind_of(problem.code) or ReplyFailedError
    return kind(problem.message, code=problem.code, is_retryable=problem.retryable)


def _kind_of(code: str) -> type[ConversationError] | None:
    return next((kind for prefix, kind in _OF_PREFIX if code.startswith(prefix)), None)


def result_frame(call_id: str, name: str, output: Any, code: int, message: str) -> dict[str, Any]:
    """What a tool of this client has done."""
    status = {"code": code, "message": message[:1000]}
    result = {"tool_call_id": call_id, "name": name, "output": output, "status": status}
    return {"type": "tool_call.results", "results": [result]}
