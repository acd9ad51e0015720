"""The agent loop: a request in, typed events out."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing

from django.utils.translation import gettext as _

from assistants.runtime import AssistantRuntime
from conversations import brain
from conversations.events import (
    ModelAnswered,
    ModelAsked,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from conversations.history import request_tokens
from conversations.lookup import Lookup
from conversations.memory.recall import recall
from conversations.prompt import NO_ROOM, OPENING_CUES, Prompt, words_of
from conversations.request import MAX_MODEL_CALLS, SentDocument, Thinking, TurnRequest
from conversations.toolbox import (
    Adopt,
    ClientToolResult,
    ClientTools,
    OwnTools,
    Toolbox,
)
from core.errors import AppError, ProviderError
from providers.registry import chat_model
from providers.tokens import estimate_tokens
from providers.types import (
    ChatEnd,
    ChatPart,
    ChatRequest,
    LlmSpec,
    TextPart,
    ThinkingPart,
    Thought,
    ThoughtPart,
    ToolCall,
    ToolCallPart,
    Usage,
)

__all__ = [
    "MAX_MODEL_CALLS",
    "NO_ROOM",
    "OPENING_CUES",
    "ClientToolResult",
    "ClientTools",
    "OwnTools",
    "SentDocument",
    "Thinking",
    "TurnRequest",
    "run_turn",
]

# Of one answer of the model, and of what it thinks before: more than any means to give.
MAX_ANSWER_CHARS = 100_000
MAX_THINKING_CHARS = 400_000
# Before a call is tried again; the last of them also before all further attempts. A vendor that
# names a longer time is waited for, but not for ever.
BACKOFF_S = (1.0, 2.0, 4.0)
MAX_WAIT_S = 60


async def run_turn(
    request: TurnRequest,
    runtime: AssistantRuntime,
    *,
    client_tools: ClientTools | None = None,
    own_tools: OwnTools | None = None,
    adopt: Adopt | None = None,
) -> AsyncGenerator[TurnEvent, None]:
    """The events of one turn, as they happen; see `events` for their order.

    Iterate it under `contextlib.aclosing`: closing it closes the model's stream and cancels the
    tools at once, except that server tools already running are handed to `adopt`, if given.
    """
    yield TurnStarted(request.turn)
    if runtime.brain is not None:
        asked = brain.request_for(request, runtime)
        async with aclosing(brain.answer(runtime.brain, asked)) as events:
            async for event in events:
                yield event
        return
    if refusal := _refusal(request, runtime.llm):
        yield refusal
        return
    assert runtime.llm is not None
    with Lookup(runtime, words_of(request.history)) as lookup:
        ahead, known = lookup.ahead(request.text), ""
        if runtime.remembers:
            cited, known = await asyncio.gather(ahead, recall(runtime, request.text))
        else:
            cited = await ahead
        if cited:
            yield cited
        toolbox = Toolbox(
            runtime,
            client_tools,
            lookup,
            own_tools=own_tools,
            max_model_calls=request.max_model_calls,
            asks_intents=request.asks_intents,
        )
        prompt = Prompt(request, runtime, toolbox, (known, lookup.section))
        async with aclosing(_rounds(request, runtime.llm, toolbox, prompt, adopt)) as events:
            async for event in events:
                yield event
                if isinstance(event, ToolReturned) and (cited := lookup.found_by(event.call_id)):
                    yield cited


def _refusal(request: TurnRequest, spec: LlmSpec | None) -> TurnFailed | None:
    if spec is None:
        message = _("No language model is configured for this assistant.")
        return TurnFailed("llm.not_configured", message, is_retryable=False, usage=Usage())
    if request.images and not spec.accepts_images:
        message = _("The model does not see images.")
        return TurnFailed("llm.no_images", message, is_retryable=False, usage=Usage())
    return None


async def _rounds(
    request: TurnRequest, spec: LlmSpec, toolbox: Toolbox, prompt: Prompt, adopt: Adopt | None
) -> AsyncGenerator[TurnEvent, None]:
    """The model's answers and the tools that it calls, until it is done or may do no more."""
    usage = Usage()
    for number in range(1, request.max_model_calls + 1):
        is_closing = number == request.max_model_calls or toolbox.must_close
        call = _Call(request, spec, number, follows_text=prompt.ends_in_text)
        asked = prompt.asking(is_closing=is_closing, thinking=call.thinking)
        try:
            async with aclosing(_answers(spec, asked, call)) as events:
                async for event in events:
                    yield event
        except AppError as error:
            yield _failed(error, usage)
            return
        reply = call.reply
        usage += reply.usage
        if is_closing or not reply.calls:
            yield _ending(reply, usage, is_closing=is_closing, has_acted=prompt.has_acted)
            return
        returned: dict[str, ToolReturned] = {}
        admitted: list[ToolCalled] = []
        considered = toolbox.admit_all(reply.calls)
        for _tool_call, outcome in considered:
            yield outcome
            if isinstance(outcome, ToolCalled):
                admitted.append(outcome)
            else:
                returned[outcome.call_id] = outcome
        async with aclosing(toolbox.run_all(admitted, adopt)) as results:
            async for result in results:
                yield result
                returned[result.call_id] = result
        outcomes = [(tool_call, returned[tool_call.id]) for tool_call, _outcome in considered]
        prompt.extend(reply.text, outcomes, reply.thoughts)


@dataclasses.dataclass
class _Reply:
    """One answer of the model, as far as it has come."""

    follows_text: bool
    shows_thinking: bool
    text: str = ""
    thinking_chars: int = 0
    thoughts: list[Thought] = dataclasses.field(default_factory=list)
    calls: list[ToolCall] = dataclasses.field(default_factory=list)
    end: ChatEnd | None = None

    @property
    def usage(self) -> Usage:
        return self.end.usage if self.end else Usage()

    def add(self, part: ChatPart) -> TextDelta | ThinkingDelta | None:
        match part:
            case TextPart(text=text) if text:
                # What was said before a tool ran and what is said after are two sentences.
                is_new_sentence = self.follows_text and not self.text and not text[0].isspace()
                self.text += text
                return TextDelta("\n" + text if is_new_sentence else text)
            case ThinkingPart(text=text) if text:
                self.thinking_chars += len(text)
                return ThinkingDelta(text) if self.shows_thinking else None
            case ThoughtPart(thought=thought):
                self.thoughts.append(thought)
            case ToolCallPart(call=call):
                self.calls.append(call)
            case ChatEnd():
                self.end = part
            case _:
                pass
        return None

    @property
    def is_too_long(self) -> bool:
        return len(self.text) > MAX_ANSWER_CHARS or self.thinking_chars > MAX_THINKING_CHARS


class _Call:
    """One call of the model, with all its attempts; `reply` is that of the last."""

    def __init__(
        self, request: TurnRequest, spec: LlmSpec, number: int, *, follows_text: bool
    ) -> None:
        self.number = number
        self.max_attempts = max(1, request.max_attempts)
        wanted = request.wants_thinking(number)
        self.thinking = wanted if spec.supports_thinking else None
        self._follows_text = follows_text
        self._model_name = spec.name
        # A model that cannot be told not to think may do so, but nobody wants to see it.
        self._shows_thinking = wanted is not False
        self.reply = self._nothing()

    def begin(self, attempt: int, asked: ChatRequest) -> ModelAsked:
        """Forgets what an earlier attempt brought."""
        self.reply = self._nothing()
        return ModelAsked(
            self.number,
            attempt,
            self.max_attempts,
            is_thinking=self.thinking is True,
            model_name=self._model_name,
            prompt_tokens=request_tokens(asked),
        )

    def wait_s(self, error: ProviderError, attempt: int) -> float | None:
        """How long to wait before the next attempt; None where there is none."""
        if error.is_permanent or attempt >= self.max_attempts:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= MAX_WAIT_S else None
        return BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1]

    def answered(self, spec: LlmSpec, asked: ChatRequest) -> ModelAnswered:
        usage = self.reply.usage
        context = usage.input_tokens + usage.output_tokens
        if not context:
            context = request_tokens(asked) + estimate_tokens(self.reply.text)
        return ModelAnswered(self.number, spec.name, usage, context)

    def _nothing(self) -> _Reply:
        return _Reply(self._follows_text, self._shows_thinking)


async def _answers(
    spec: LlmSpec, asked: ChatRequest, call: _Call
) -> AsyncGenerator[ModelAsked | TextDelta | ThinkingDelta | ModelAnswered, None]:
    """The model's answer, asked for again where it broke off. Raises AppError for the last time."""
    for attempt in itertools.count(1):
        yield call.begin(attempt, asked)
        reply = call.reply
        try:
            async with chat_model(spec).stream(asked) as parts:
                async for part in parts:
                    if delta := reply.add(part):
                        yield delta
                    if reply.is_too_long:
                        # Leaving closes the model's stream, as if it had come to its own limit.
                        counted = sum(estimate_tokens(message.text) for message in asked.messages)
                        reply.end = ChatEnd("length", Usage(counted, estimate_tokens(reply.text)))
                        break
            if reply.end is not None:
                break
            raise ProviderError(_("The model's answer broke off."), is_permanent=False)
        except ProviderError as error:
            wait_s = call.wait_s(error, attempt)
            if wait_s is None:
                raise
        await asyncio.sleep(wait_s)
    yield call.answered(spec, asked)


def _ending(
    reply: _Reply, usage: Usage, *, is_closing: bool, has_acted: bool
) -> TurnFinished | TurnFailed:
    assert reply.end is not None
    reason: StopReason = "stop" if reply.end.reason == "tool_calls" else reply.end.reason
    is_silent = not reply.text.strip() and reason != "content_filter"
    # After a tool, silence can be meant: a prompt on the device has said it all.
    if is_silent and (is_closing or not has_acted):
        return TurnFailed(
            "llm.empty_answer", _("The model gave no answer."), is_retryable=True, usage=usage
        )
    # Of a turn of one call nothing was cut off.
    return TurnFinished("tool_limit" if is_closing and has_acted else reason, usage)


def _failed(error: AppError, usage: Usage) -> TurnFailed:
    is_retryable = isinstance(error, ProviderError) and not error.is_permanent
    return TurnFailed("llm.failed", str(error.message), is_retryable=is_retryable, usage=usage)
