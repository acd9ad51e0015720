"""Conversations in the console: what was said, done, remembered and used, one module per noun."""

from conversations.admin import (
    conversations,
    feedback,
    guidance,
    memories,
    tasks,
    tool_calls,
    usage,
    users,
)

__all__ = [
    "conversations",
    "feedback",
    "guidance",
    "memories",
    "tasks",
    "tool_calls",
    "usage",
    "users",
]
