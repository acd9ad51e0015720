"""The built-in models behind the gateway, which need no key and no network."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Iterator, Sequence

from django.utils.translation import gettext as _

from core.errors import InvalidRequest
from gateway.neutral import (
    CallArguments,
    CallStarted,
    Document,
    Event,
    Feature,
    Finished,
    Image,
    Inexpressible,
    Message,
    Reason,
    Refusal,
    Request,
    Started,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolResult,
    ToolUse,
    Usage,
)
from providers.registry import chat_model
from providers.types import (
    AssistantMessage,
    ChatEnd,
    ChatMessage,
    ChatRequest,
    FinishReason,
    ImagePart,
    LlmSpec,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ThoughtPart,
    ToolCall,
    ToolCallPart,
    ToolMessage,
    ToolSchema,
    UserMessage,
)

REASONS: dict[FinishReason, Reason] = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "refusal",
}


def to_request(request: Request, spec: LlmSpec) -> ChatRequest:
    """The request as our own models take it. Raises Inexpressible for what they cannot do.

    They always give the same answer to the same words, so that how to draw among likely words
    (temperature, top_p, top_k) means nothing to them.
    """
    if request.response_format is not None:
        raise Inexpressible("response_format")
    if request.tool_choice is not None and request.tool_choice.kind in ("any", "named"):
        raise Inexpressible("tool_choice")
    for feature, value in request.others.items():
        raise Inexpressible.other(feature, value)
    messages: list[ChatMessage] = []
    if request.system:
        messages.append(SystemMessage("\n\n".join(text.text for text in request.system)))
    messages.extend(to_history(request.messages, accepts_images=spec.accepts_images))
    chooses_none = request.tool_choice is not None and request.tool_choice.kind == "none"
    return ChatRequest(
        messages=tuple(messages),
        tools=tuple(
            ToolSchema(tool.name, tool.description, tool.parameters) for tool in request.tools
        ),
        tool_choice="none" if chooses_none else "auto",
        temperature=request.temperature,
        max_tokens=request.max_tokens,
    )


def to_history(messages: Sequence[Message], *, accepts_images: bool) -> Iterator[ChatMessage]:
    """Messages in the product's own form. Raises Inexpressible, InvalidRequest."""
    names: dict[str, str] = {}
    for message in messages:
        if message.role == "assistant":
            said = _assistant(message)
            names.update((call.id, call.name) for call in said.tool_calls)
            yield said
            continue
        words: list[str] = []
        images: list[ImagePart] = []
        for block in message.blocks:
            match block:
                case Text(text):
                    words.append(text)
                case Image():
                    if not accepts_images:
                        raise Inexpressible("images", block.place)
                    images.append(_image(block))
                case ToolResult():
                    name = names.get(block.tool_use_id, "")
                    yield ToolMessage(block.tool_use_id, name, _words(block), block.is_error)
                case _:
                    place = block.place if isinstance(block, Document) else ""
                    raise Inexpressible("documents", place)
        if words or images:
            yield UserMessage("\n\n".join(words), tuple(images))


def _assistant(message: Message) -> AssistantMessage:
    words = [block.text for block in message.blocks if isinstance(block, Text | Refusal)]
    calls = [block for block in message.blocks if isinstance(block, ToolUse)]
    return AssistantMessage(
        "\n\n".join(words),
        tuple(ToolCall(call.id, call.name, call.arguments or "{}") for call in calls),
    )


def _words(result: ToolResult) -> str:
    words = []
    for block in result.content:
        if not isinstance(block, Text):
            feature: Feature = "tool_result_images" if isinstance(block, Image) else "documents"
            raise Inexpressible(feature, block.place)
        words.append(block.text)
    return "\n\n".join(words)


def _image(image: Image) -> ImagePart:
    if image.url:
        raise Inexpressible("image_urls", image.place)
    try:
        return ImagePart(base64.b64decode(image.data, validate=True), image.media_type)
    except (binascii.Error, ValueError):
        text, place = _("The image is not valid base64."), image.place or "messages"
        raise InvalidRequest(text, param=place) from None


async def answer(request: Request, spec: LlmSpec) -> AsyncGenerator[Event, None]:
    """The events of an answer. Closing it ends the model's work. Raises ProviderError."""
    stops = Stops(request.stop)
    calls = 0
    yield Started()
    async with chat_model(spec).stream(to_request(request, spec)) as parts:
        async for part in parts:
            match part:
                case TextPart(text):
                    if said := stops.push(text):
                        yield TextDelta(said)
                    if stops.found is not None:
                        yield Finished("stop_sequence", None, stops.found)
                        return
                case ThinkingPart(text):
                    yield ThinkingDelta(text)
                case ToolCallPart(call):
                    yield CallStarted(calls, call.id, call.name)
                    yield CallArguments(calls, call.arguments)
                    calls += 1
                case ChatEnd(reason, usage):
                    if said := stops.rest():
                        yield TextDelta(said)
                    yield Finished(REASONS[reason], Usage(usage.input_tokens, usage.output_tokens))
                case ThoughtPart():
                    pass


class Stops:
    """Text up to a stop sequence; what may be the beginning of one is kept back."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = sequences
        self._longest = max(map(len, sequences), default=1)
        self._kept = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """What may be said of the text so far; all of it where there are no stop sequences."""
        if not self._sequences:
            return text
        text = self._kept + text
        places = [(text.find(each), each) for each in self._sequences if each in text]
        if places:
            place, self.found = min(places)
            self._kept = ""
            return text[:place]
        keep = self._longest - 1
        cut = len(text) - keep if keep else len(text)
        self._kept = text[max(0, cut) :]
        return text[: max(0, cut)]

    def rest(self) -> str:
        kept, self._kept = self._kept, ""
        return kept
