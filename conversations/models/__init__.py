"""What was said, how it was answered, and what is kept of it."""

from conversations.models.call import Call, CallSource, CallStatus
from conversations.models.conversation import (
    Channel,
    Conversation,
    Message,
    Role,
    ToolMessages,
    ToolUse,
)
from conversations.models.guidance import Personalization, Prompt
from conversations.models.memory import Feedback, Lesson, Memory
from conversations.models.run import Run, RunEvent, RunKind, RunMode, RunStatus

__all__ = [
    "Call",
    "CallSource",
    "CallStatus",
    "Channel",
    "Conversation",
    "Feedback",
    "Lesson",
    "Memory",
    "Message",
    "Personalization",
    "Prompt",
    "Role",
    "Run",
    "RunEvent",
    "RunKind",
    "RunMode",
    "RunStatus",
    "ToolMessages",
    "ToolUse",
]
