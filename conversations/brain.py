"""A turn that another service answers: the same events, from a service that keeps the conversation.

Of the request only what is new is sent. Prompt, knowledge, tools and memory are the application's
own; the caller's variables and the instructions of a task are offered to it by name. Nothing is
asked a second time: the service would keep the message twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from assistants.runtime import AssistantRuntime
from conversations.events import (
    Linked,
    ModelAnswered,
    ModelAsked,
    TextDelta,
    ThinkingDelta,
    TurnEvent,
    TurnFailed,
    TurnFinished,
)
from conversations.prompt import OPENING_CUES
from conversations.request import TurnRequest
from core.errors import AppError, ProviderError
from providers import attached
from providers.registry import brain
from providers.tokens import estimate_tokens
from providers.types import (
    BrainPart,
    BrainRequest,
    BrainSpec,
    ChatEnd,
    LinkedPart,
    RetractedPart,
    TextPart,
    ThinkingPart,
    Usage,
)

NAMES = {"dify": "Dify", "fastgpt": "FastGPT"}
# By this name an application can ask for what a task wants of its answers.
INSTRUCTIONS = "instructions"
# Of one answer, and of what is thought before: more than any service means to give.
MAX_ANSWER_CHARS = 100_000
MAX_THINKING_CHARS = 400_000
# What a small model of theirs can read; how much its context holds, nobody tells.
MAX_FILE_TOKENS = 6_000


def request_for(request: TurnRequest, runtime: AssistantRuntime) -> BrainRequest:
    """What the service is asked: the new words, with the files that came along."""
    variables = dict(request.variables)
    if request.instructions.strip():
        variables.setdefault(INSTRUCTIONS, request.instructions)
    words = request.text if request.text.strip() else OPENING_CUES[runtime.language]
    files = ((document.name, document.text) for document in request.documents)
    return BrainRequest(
        text=attached.fitting(attached.with_files(words, files), tokens=MAX_FILE_TOKENS),
        user=_pseudonym(runtime, request.conversation_id),
        conversation_id=request.conversation_id,
        remote_id=request.remote_id,
        variables=variables,
        images=request.images,
    )


def _pseudonym(runtime: AssistantRuntime, conversation_id: str) -> str:
    """The same for a caller every time, and nothing that tells who it is."""
    who = f"conversation {conversation_id}" if runtime.caller_id is None else runtime.caller_id
    return salted_hmac("conversations.brain", f"{runtime.id}\0{who}").hexdigest()[:32]


async def answer(spec: BrainSpec, asked: BrainRequest) -> AsyncGenerator[TurnEvent, None]:
    """The events of the turn after its TurnStarted. Closing it closes the service's stream."""
    reply = _Reply(NAMES[spec.kind])
    yield reply.asked
    try:
        async with brain(spec).stream(asked) as parts:
            async for part in parts:
                for event in reply.take(part):
                    yield event
                if reply.is_too_long:
                    break
    except AppError as error:
        yield reply.failed(error)
        return
    for event in reply.ending(asked):
        yield event


class _Reply:
    """The service's answer, as far as it has come."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._attempt = 1
        self._text = ""
        self._thinking_chars = 0
        self._end: ChatEnd | None = None

    @property
    def asked(self) -> ModelAsked:
        return ModelAsked(1, self._attempt, self._attempt, is_thinking=False)

    @property
    def is_too_long(self) -> bool:
        return len(self._text) > MAX_ANSWER_CHARS or self._thinking_chars > MAX_THINKING_CHARS

    def take(self, part: BrainPart) -> list[TurnEvent]:
        """What a part of the answer means to those who listen."""
        match part:
            case TextPart(text=text):
                self._text += text
                return [TextDelta(text)] if text else []
            case ThinkingPart(text=text):
                self._thinking_chars += len(text)
                return [ThinkingDelta(text)] if text else []
            case LinkedPart(remote_id=remote_id):
                return [Linked(remote_id)]
            case RetractedPart():
                # Said as if by another attempt: what the first one said is void.
                self._attempt += 1
                self._text = ""
                return [self.asked]
            case ChatEnd():
                self._end = part
                return []

    def ending(self, asked: BrainRequest) -> list[TurnEvent]:
        """The last events. An answer that is cut off has come to its own limit."""
        counted = Usage(estimate_tokens(asked.text), estimate_tokens(self._text))
        end = self._end or ChatEnd("length", counted)
        if not self._text.strip() and end.reason != "content_filter":
            text = _("The model gave no answer.")
            return [TurnFailed("llm.empty_answer", text, is_retryable=True, usage=end.usage)]
        read = end.usage.input_tokens + end.usage.output_tokens
        reason = "stop" if end.reason == "tool_calls" else end.reason
        return [ModelAnswered(1, self._name, end.usage, read), TurnFinished(reason, end.usage)]

    def failed(self, error: AppError) -> TurnFailed:
        is_retryable = isinstance(error, ProviderError) and not error.is_permanent
        message = str(error.message)
        return TurnFailed("llm.failed", message, is_retryable=is_retryable, usage=Usage())
