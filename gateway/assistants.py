"""Assistants as models: what `model: "assistant:…"` asks, with knowledge, tools and memory.

The client's messages are the conversation; nothing of it is stored. The assistant keeps its own
model, temperature and tools, so that a request may not choose them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing

from django.utils.translation import gettext as _

from accounts.keyring import KeyRecord
from accounts.principals import Principal
from assistants.access import visible_assistants
from assistants.models import Assistant
from assistants.runtime import RELATED_TO_TEXT, AssistantRuntime, runtime_of
from conversations.events import (
    ModelAsked,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    TurnFailed,
    TurnFinished,
)
from conversations.turn import TurnRequest, run_turn
from core.errors import InvalidRequest, NotFound, ProviderError
from gateway import neutral
from gateway.local import Stops, to_history
from gateway.models import ASSISTANT_PREFIX
from gateway.neutral import (
    Event,
    Failed,
    Finished,
    Inexpressible,
    Reason,
    Request,
    Started,
    Usage,
)
from providers.tokens import estimate_tokens
from providers.types import ImagePart, UserMessage

_REASONS: dict[str, Reason] = {
    "stop": "end",
    "tool_limit": "end",
    "interrupted": "end",
    "length": "length",
    "content_filter": "refusal",
}

_FIRST_SIGNS = (TextDelta, ThinkingDelta, ToolCalled, TurnFinished)


def is_assistant(model: str) -> bool:
    """Whether a client's `model` names an assistant."""
    return model.startswith(ASSISTANT_PREFIX)


def load(record: KeyRecord, model: str) -> AssistantRuntime:
    """The assistant of that id, else of that name, for the key's owner. A unit of database work.

    A key with a list of models may ask for an assistant under the names that are listed, and for
    one whose id is listed under its name, too. Raises NotFound; ProviderError where no model can
    answer for it.
    """
    principal = record.principal
    row = _named(principal, model)
    if row is None or not _may_ask(record, model, row.pk):
        raise NotFound(
            _("Assistant not found."),
            code="model_not_found",
        )
    runtime = runtime_of(row, caller_id=principal.user_id, speaks=False)
    if runtime.llm is None and runtime.brain is None:
        missing = _("No language model is configured for this assistant.")
        raise ProviderError(missing, is_permanent=True)
    return runtime


def is_known(principal: Principal, model: str) -> bool:
    """Whether the principal has an assistant of that name, however it is asked for."""
    return is_assistant(model) and _named(principal, model) is not None


def _named(principal: Principal, model: str) -> Assistant | None:
    wanted = model.removeprefix(ASSISTANT_PREFIX)
    if "\0" in wanted:
        return None
    rows = visible_assistants(principal).select_related(*RELATED_TO_TEXT)
    if (row := rows.with_id(wanted)) is not None:
        return row
    own = rows.filter(name=wanted).visible_to(principal.user_id, is_operator=False)
    # An own assistant goes before the system's of the same name, an older before a newer one.
    return min(own.order_by("created_at", "pk"), key=lambda each: each.is_system, default=None)


def _may_ask(record: KeyRecord, model: str, assistant_id: str) -> bool:
    names = {model, ASSISTANT_PREFIX + assistant_id}
    return not record.allowed_models or not names.isdisjoint(record.allowed_models)


def to_turn(request: Request, runtime: AssistantRuntime) -> TurnRequest:
    """What the assistant is asked. Raises Inexpressible, InvalidRequest."""
    _refuse_choices(request)
    sees = runtime.llm.accepts_images if runtime.llm is not None else True
    history = list(to_history(request.messages, accepts_images=sees))
    asked = history.pop() if history else None
    if not isinstance(asked, UserMessage):
        raise InvalidRequest(
            _("The last message must be the user's, with the words to be answered."),
            param="messages",
        )
    images: tuple[ImagePart, ...] = asked.images
    thinking = request.thinking
    return TurnRequest(
        turn=1 + sum(isinstance(message, UserMessage) for message in history),
        text=asked.text,
        history=tuple(history),
        variables={},
        instructions="\n\n".join(text.text for text in request.system),
        images=images,
        thinking="default" if thinking is None else ("always" if thinking.is_on else "never"),
    )


def _refuse_choices(request: Request) -> None:
    if request.tools:
        raise Inexpressible("tools")
    if request.tool_choice is not None:
        raise Inexpressible("tool_choice")
    if request.response_format is not None:
        raise Inexpressible("response_format")
    if request.temperature is not None:
        raise Inexpressible("temperature")
    if request.top_p is not None:
        raise Inexpressible("top_p")
    if request.top_k is not None:
        raise Inexpressible("top_k")
    for feature, value in request.others.items():
        raise Inexpressible.other(feature, value)


async def answer(
    asked: TurnRequest, runtime: AssistantRuntime, request: Request
) -> AsyncGenerator[Event, None]:
    """The events of an answer. Closing it ends the model's work and the tools'."""
    reply = _Reply(request, asked)
    has_started = False
    async with aclosing(run_turn(asked, runtime)) as events:
        async for event in events:
            # Until the model has answered in some way, a failure is an answer of its own.
            if not has_started and isinstance(event, _FIRST_SIGNS):
                has_started = True
                yield Started()
            match event:
                case TextDelta(text):
                    if said := reply.push(text):
                        yield neutral.TextDelta(said)
                    if reply.end is not None:
                        yield reply.end
                        return
                case ThinkingDelta(text):
                    yield neutral.ThinkingDelta(text)
                case ModelAsked():
                    # What a service took back has been told already; what follows stands apart.
                    if event.attempt > 1 and reply.has_spoken:
                        yield neutral.TextDelta("\n\n")
                case TurnFinished(reason, usage):
                    if said := reply.rest():
                        yield neutral.TextDelta(said)
                    counted = Usage(usage.input_tokens, usage.output_tokens)
                    yield Finished(_REASONS[reason], counted)
                case TurnFailed():
                    yield Failed("upstream_error", event.message)
                case _:
                    # Tools, searches and their like are the assistant's own affair.
                    pass


@dataclasses.dataclass(slots=True)
class _Reply:
    """What the assistant says, within the limits of the request."""

    request: Request
    asked: TurnRequest
    stops: Stops = dataclasses.field(init=False)
    tokens: int = 0
    has_spoken: bool = False
    end: Finished | None = None

    def __post_init__(self) -> None:
        self.stops = Stops(self.request.stop)

    def push(self, text: str) -> str:
        """What may be told of it. Sets `end` where a limit is reached."""
        said = self.stops.push(text)
        self.tokens += estimate_tokens(said)
        self.has_spoken = self.has_spoken or bool(said)
        if self.stops.found is not None:
            self.end = Finished("stop_sequence", self._counted(), self.stops.found)
        elif self.request.max_tokens is not None and self.tokens > self.request.max_tokens:
            self.end = Finished("length", self._counted())
        return said

    def rest(self) -> str:
        return self.stops.rest()

    def _counted(self) -> Usage:
        asked = estimate_tokens(self.asked.text + self.asked.instructions)
        asked += sum(estimate_tokens(message.text) for message in self.asked.history)
        return Usage(asked, self.tokens)
