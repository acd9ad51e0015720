"""The client of AI Video Assistant: assistants that talk, see and act.

from ai_video_assistant import AIVideoAssistant

client = AIVideoAssistant(api_url="http://localhost:8080")
assistant = client.assistants.create(name="Ann", prompt="You help in a shop.")
async with client.connect(assistant.id) as conversation:
    print(await conversation.send_text("Hello"))
"""

from ai_video_assistant import chat_events, errors, models
from ai_video_assistant.client import AIVideoAssistant, AsyncAIVideoAssistant
from ai_video_assistant.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AssistantError,
    AuthenticationError,
    ConversationError,
    NotFoundError,
    RateLimitError,
)
from ai_video_assistant.pages import Page
from ai_video_assistant.voice import events
from ai_video_assistant.voice.conversation import Conversation
from ai_video_assistant.voice.options import Reconnect
from ai_video_assistant.voice.tools import ToolError

__all__ = [
    "AIVideoAssistant",
    "APIConnectionError",
    "APIError",
    "APITimeoutError",
    "AssistantError",
    "AsyncAIVideoAssistant",
    "AuthenticationError",
    "Conversation",
    "ConversationError",
    "NotFoundError",
    "Page",
    "RateLimitError",
    "Reconnect",
    "ToolError",
    "chat_events",
    "errors",
    "events",
    "models",
]
