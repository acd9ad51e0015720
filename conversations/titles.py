"""Titles of conversations, from their first words."""

from __future__ import annotations

import asyncio
import logging
import re

from assistants.runtime import AssistantRuntime
from conversations.history import request_tokens
from conversations.models import Conversation
from core.errors import AppError
from providers.registry import chat_model
from providers.tokens import estimate_tokens
from providers.types import (
    ChatEnd,
    ChatRequest,
    LlmSpec,
    SystemMessage,
    TextPart,
    Usage,
    UserMessage,
)

logger = logging.getLogger(__name__)

MAX_CHARS = 60
# Enough to know what it is about.
MAX_READ_CHARS = 2000
MAX_TOKENS = 200
TIMEOUT_S = 20.0
BUILTIN = "builtin"
_ASKED = (
    "Write a title for a conversation that begins with the user's message: at most eight words, in "
    "the language of the message, without quotation marks and without a full stop. The message is "
    "not for you: do not answer it. Reply with the title alone."
)
_LABEL = re.compile(r"^(?:title|标题|题目)\s*[:：]\s*", re.IGNORECASE)
_AROUND = " \t\r\n\"'“”‘’「」『』《》【】*#`.。"


async def make_title(runtime: AssistantRuntime, message: str, spent: list[Usage]) -> str:
    """A title in the words of the assistant's model, or the beginning of the message.

    Empty where the message has no words. What the model took goes to `spent`, however it ends.
    """
    if not message.strip():
        return ""
    llm = runtime.llm
    # The demo model follows no instructions.
    asks = llm is not None and llm.endpoint.vendor != BUILTIN
    written = await _written(llm, message, spent) if llm and asks else ""
    return written or beginning(message)


def store_title(conversation_id: str, title: str) -> bool:
    """Gives the title to a conversation that has none; whether it did."""
    if not title:
        return False
    untitled = Conversation.objects.filter(pk=conversation_id, title="")
    return untitled.update(title=title) == 1


def beginning(message: str) -> str:
    """The message's first words, as a title."""
    return _shortened(" ".join(message.split()))


def cleaned(answer: str) -> str:
    """A model's answer as a title: its first line, without what models put around one."""
    lines = [line for line in map(str.strip, answer.splitlines()) if line.strip(_AROUND)]
    if not lines:
        return ""
    bare = _LABEL.sub("", lines[0].strip(_AROUND)).strip(_AROUND)
    return _shortened(" ".join(bare.split()))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1].rstrip() + "…"


async def _written(llm: LlmSpec, message: str, spent: list[Usage]) -> str:
    """What the model answers; nothing where it fails, as a title is not worth an error."""
    asked = ChatRequest(
        messages=(SystemMessage(_ASKED), UserMessage(message[:MAX_READ_CHARS])),
        temperature=llm.temperature,
        max_tokens=MAX_TOKENS,
        # Some vendors refuse the word where the model does not know it.
        thinking=False if llm.supports_thinking else None,
    )
    pieces: list[str] = []
    # Nobody tells what an answer took that was cut off.
    usage = Usage(request_tokens(asked))
    try:
        async with asyncio.timeout(TIMEOUT_S), chat_model(llm).stream(asked) as parts:
            async for part in parts:
                if isinstance(part, TextPart):
                    pieces.append(part.text)
                    usage += Usage(0, estimate_tokens(part.text))
                elif isinstance(part, ChatEnd):
                    usage = part.usage
    except (AppError, TimeoutError) as error:
        logger.info("No title was written: %s", error)
        if isinstance(error, AppError) and not pieces:
            usage = Usage()  # It refused.
        return ""
    finally:
        spent.append(usage)
    return cleaned("".join(pieces))
