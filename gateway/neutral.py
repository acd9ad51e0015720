"""The form between the dialects: what a client asks of a model, and what the model tells.

A request of one dialect for a model of the other is decoded to `Request`, encoded for the model,
and the answer comes back as events. Whatever either dialect can say has a place here, so that what
the other cannot express is found and named (`Inexpressible`). Fields that no dialect here knows,
and hints without a say in the answer, have none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal, Self, assert_never

import msgspec

Role = Literal["user", "assistant"]
# Why an answer ended. "end": the model had said all it wanted.
Reason = Literal[
    "end", "length", "stop_sequence", "tool_calls", "refusal", "paused", "context_window"
]
# What a request may ask for beside its messages. Each dialect names them in its own words.
Feature = Literal[
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty",
    "presence_penalty", "logit_bias", "logprobs", "response_format", "reasoning_effort", "thinking",
    "tool_choice", "parallel_tools", "strict_tools", "server_tools", "documents", "image_urls",
    "tool_result_images", "images", "tools", "prefill", "user", "modalities", "prediction",
    "verbosity", "moderation",
]  # fmt: skip


# --- What is asked -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Words. `is_cacheable`: the client marked the end of what may be kept for later requests."""

    text: str
    is_cacheable: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """A picture: base64 text with its media type (image/png …), or an https URL.

    `place` is where it stands in the client's request.
    """

    media_type: str = ""
    data: str = dataclasses.field(default="", repr=False)
    url: str = ""
    detail: str = ""
    place: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A document: base64 text with its media type, an URL, or its plain text; `place` as above."""

    title: str = ""
    media_type: str = ""
    data: str = dataclasses.field(default="", repr=False)
    url: str = ""
    text: str = ""
    place: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class ToolUse:
    """A call as the model wrote it: `arguments` is JSON text, not validated."""

    id: str
    name: str
    arguments: str


@dataclasses.dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered to the call `tool_use_id`."""

    tool_use_id: str
    content: tuple[Text | Image | Document, ...]
    is_error: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Thought:
    """What the model thought; only its vendor can check the signature."""

    text: str
    signature: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class HiddenThought:
    """A thought that the vendor keeps to itself, to be given back as it came."""

    data: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """The model's words when it declined."""

    text: str


Block = Text | Image | Document | ToolUse | ToolResult | Thought | HiddenThought | Refusal


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message; neighbours of one role have been merged. Tool results are the user's."""

    role: Role
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]
    is_strict: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools are called: as the model likes, at least one, the named one, or none."""

    kind: Literal["auto", "any", "named", "none"]
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Thinking:
    """Whether the model is to think first. `budget_tokens` None: as it sees fit."""

    is_on: bool
    budget_tokens: int | None = None
    effort: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ResponseFormat:
    """What the answer's text must be: any JSON object, or JSON of a schema."""

    kind: Literal["json_object", "json_schema"]
    name: str = ""
    schema: dict[str, Any] | None = None
    is_strict: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request in no dialect. None and empty values were not asked for.

    `others` are features that have no place of their own here, by feature, as the client wrote
    them: the encoder of the other dialect refuses those that it cannot express.
    """

    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    thinking: Thinking | None = None
    response_format: ResponseFormat | None = None
    user: str = ""
    is_streamed: bool = False
    others: dict[Feature, Any] = dataclasses.field(default_factory=dict)


# Of these, `others` says where they stand.
_PLACED: frozenset[Feature] = frozenset({"images", "documents"})


class Inexpressible(Exception):
    """A feature was asked for that the model's dialect has no words for.

    The edge turns it into an InvalidRequest that names the client's own parameter: the `place` in
    its request, where that is known.
    """

    def __init__(self, feature: Feature, place: str = "") -> None:
        super().__init__(feature)
        self.feature = feature
        self.place = place

    @classmethod
    def other(cls, feature: Feature, value: Any) -> Self:
        """The refusal of one of a request's `others`."""
        return cls(feature, value if feature in _PLACED else "")


# --- What is answered ----------------------------------------------------------------------------


# Made for every piece of every answer; a dataclass that is frozen takes ten times as long to make.
class _Told(msgspec.Struct, frozen=True, gc=False):
    """Something that a model, or its vendor, says."""


class Usage(_Told, frozen=True):
    """Tokens. `input_tokens` are all that was read, cached ones included.

    Anthropic counts the cached ones apart, OpenAI within: the dialects convert.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


MOST_TOKENS = 2**31 - 1


def token_count(told: int | None) -> int:
    """A number of tokens as a vendor told it, within what it can be; 0 where it told none.

    Anybody may have an upstream of their own, and limits and prices are reckoned with it.
    """
    if not told or told < 0:
        return 0
    return told if told < MOST_TOKENS else MOST_TOKENS


class Started(_Told, frozen=True):
    """The model has begun; what it has read, where it says so at the start."""

    usage: Usage | None = None


class TextDelta(_Told, frozen=True):
    text: str


class ThinkingDelta(_Told, frozen=True):
    text: str


class ThoughtSigned(_Told, frozen=True):
    """The thought that was just told is complete and signed."""

    signature: str


class ThoughtHidden(_Told, frozen=True):
    """A thought of which only the vendor's own cipher is told."""

    data: str


class RefusalDelta(_Told, frozen=True):
    text: str


class CallStarted(_Told, frozen=True):
    """A tool call begins. `call` counts the calls of the answer from 0; calls may interleave."""

    call: int
    id: str
    name: str


class CallArguments(_Told, frozen=True):
    """A piece of the JSON text of a call's arguments."""

    call: int
    text: str


class Finished(_Told, frozen=True):
    """The last event of an answer that came to its end."""

    reason: Reason
    usage: Usage | None
    stop_sequence: str | None = None


class Failed(_Told, frozen=True):
    """The last event of an answer that did not. `type` as in the dialects' error objects."""

    type: str
    message: str
    status: int = 502


# What an answer consists of.
Piece = (
    TextDelta
    | ThinkingDelta
    | ThoughtSigned
    | ThoughtHidden
    | RefusalDelta
    | CallStarted
    | CallArguments
)
Event = Started | Piece | Finished | Failed


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: the stream, collected."""

    blocks: tuple[Block, ...]
    reason: Reason
    usage: Usage | None
    stop_sequence: str | None = None


class Incomplete(Exception):
    """The events ended with a failure, or without an end."""

    def __init__(self, failure: Failed) -> None:
        super().__init__(failure.message)
        self.failure = failure


_CUT_OFF = Failed("upstream_error", "The model's answer broke off.")


def collect(events: Iterable[Event]) -> Answer:
    """The answer that events tell of. Raises Incomplete."""
    blocks = _Blocks()
    for event in events:
        match event:
            case Finished(reason, usage, stop_sequence):
                return Answer(blocks.whole(), reason, usage, stop_sequence)
            case Failed():
                raise Incomplete(event)
            case Started():
                pass
            case _:
                blocks.add(event)
    raise Incomplete(_CUT_OFF)


class _Blocks:
    """Blocks as they grow: a block with the pieces of its text, which are joined once."""

    def __init__(self) -> None:
        self._blocks: list[tuple[Block, list[str]]] = []
        self._calls: dict[int, list[str]] = {}

    def add(self, event: Piece) -> None:
        match event:
            case TextDelta(text):
                self._extend(Text(""), text)
            case ThinkingDelta(text):
                self._extend(Thought(""), text)
            case RefusalDelta(text):
                self._extend(Refusal(""), text)
            case ThoughtSigned(signature):
                self._sign(signature)
            case ThoughtHidden(data):
                self._blocks.append((HiddenThought(data), []))
            case CallStarted(call, id_, name):
                self._calls[call] = []
                self._blocks.append((ToolUse(id_, name, ""), self._calls[call]))
            case CallArguments(call, text):
                self._calls[call].append(text)
            case _:
                assert_never(event)

    def whole(self) -> tuple[Block, ...]:
        return tuple(_with_text(block, "".join(pieces)) for block, pieces in self._blocks)

    def _extend(self, empty: Text | Thought | Refusal, more: str) -> None:
        last = self._blocks[-1][0] if self._blocks else None
        is_signed = isinstance(last, Thought) and last.signature
        if type(last) is not type(empty) or is_signed:
            self._blocks.append((empty, []))
        self._blocks[-1][1].append(more)

    def _sign(self, signature: str) -> None:
        last, pieces = self._blocks[-1] if self._blocks else (None, [])
        if isinstance(last, Thought) and not last.signature:
            self._blocks[-1] = dataclasses.replace(last, signature=signature), pieces
        else:
            self._blocks.append((Thought("", signature), []))


def _with_text(block: Block, text: str) -> Block:
    match block:
        case Text() | Thought() | Refusal():
            return dataclasses.replace(block, text=text)
        case ToolUse():
            return dataclasses.replace(block, arguments=text)
        case _:
            return block
