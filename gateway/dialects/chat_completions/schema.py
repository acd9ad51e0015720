"""`POST /v1/chat/completions`: what a client asks, checked as far as it concerns every model.

What one vendor takes and another does not is left to the vendor where the request is passed on, and
to `decode` where it is not. Large and foreign parts are kept as the bytes they came in.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from django.utils.translation import gettext as _
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from core.errors import InvalidRequest
from gateway.dialects.reading import (
    Body,
    ModelName,
    check_parts,
    invalid,
    is_object,
    is_string,
    read,
)

# How far into an image's address one must look to know what it is.
_HEAD_CHARS = 256
_DATA_URL = re.compile(rb'"data:image/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,[^"]', re.I)
_WEB_URL = re.compile(rb'"https?://[^"]', re.I)

Penalty = Annotated[float, Meta(ge=-2, le=2)] | None
Count = Annotated[int, Meta(ge=1)] | None
Name = Annotated[str, Meta(min_length=1)]


# --- Messages ------------------------------------------------------------------------------------


class Text(Struct, tag_field="type", tag="text", frozen=True):
    text: str


class ImageUrl(Struct, frozen=True):
    """`url` is the JSON text of the address, quotes included: a picture may have 50 MB."""

    url: Raw
    detail: str | None = None


class Image(Struct, tag_field="type", tag="image_url", frozen=True):
    image_url: ImageUrl


class RefusalPart(Struct, tag_field="type", tag="refusal", frozen=True):
    refusal: str


class Function(Struct, frozen=True):
    """A call of a function: its arguments are JSON text as the model wrote it."""

    name: Name
    arguments: str


class Custom(Struct, frozen=True):
    name: str
    input: str


class ToolCall(Struct, frozen=True):
    id: Name
    type: Literal["function", "custom"] = "function"
    function: Function | None = None
    custom: Custom | None = None


Texts = str | Annotated[list[Text], Meta(min_length=1)]
TextsAndImages = str | Annotated[list[Text | Image], Meta(min_length=1)]


class System(Struct, tag_field="role", tag="system", frozen=True):
    content: Texts


class Developer(Struct, tag_field="role", tag="developer", frozen=True):
    content: Texts


class User(Struct, tag_field="role", tag="user", frozen=True):
    content: TextsAndImages


class Assistant(Struct, tag_field="role", tag="assistant", frozen=True):
    content: str | list[Text | RefusalPart] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    audio: Any = None


class ToolMessage(Struct, tag_field="role", tag="tool", frozen=True):
    tool_call_id: str
    content: TextsAndImages


class FunctionMessage(Struct, tag_field="role", tag="function", frozen=True):
    name: str
    content: str | None


Message = System | Developer | User | Assistant | ToolMessage | FunctionMessage


# --- Parameters ----------------------------------------------------------------------------------


class ToolFunction(Struct, frozen=True):
    """`parameters` is the JSON text of a schema, empty where none was given."""

    name: Name
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None


class Tool(Struct, frozen=True):
    """A function, or a tool of another type, which only its vendor knows."""

    type: str
    function: ToolFunction | None = None


class Named(Struct, frozen=True):
    name: Name


class ChooseFunction(Struct, tag_field="type", tag="function", frozen=True):
    function: Named


class ChooseCustom(Struct, tag_field="type", tag="custom", frozen=True):
    custom: Named


class AllowedTool(Struct, frozen=True):
    type: str = "function"
    function: Named | None = None


class AllowedTools(Struct, frozen=True):
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1)]


class ChooseAllowed(Struct, tag_field="type", tag="allowed_tools", frozen=True):
    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | ChooseFunction | ChooseCustom | ChooseAllowed


class TextFormat(Struct, tag_field="type", tag="text", frozen=True):
    pass


class JsonObject(Struct, tag_field="type", tag="json_object", frozen=True):
    pass


class JsonSchema(Struct, frozen=True):
    name: Name
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema", frozen=True):
    json_schema: JsonSchema


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class Asked(Struct):
    """One request. `parse` makes `max_tokens` the limit that counts, whatever it was called."""

    model: ModelName
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: Count = None
    max_completion_tokens: Count = None
    is_streamed: bool | None = msgspec.field(default=None, name="stream")
    stream_options: StreamOptions | UnsetType | None = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: int | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    response_format: TextFormat | JsonObject | JsonSchemaFormat | None = None
    seed: int | None = None
    frequency_penalty: Penalty = None
    presence_penalty: Penalty = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    moderation: Any = None
    user: str | None = None
    safety_identifier: str | None = None

    @property
    def stream(self) -> bool:
        return bool(self.is_streamed)

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the chunk with the usage at a stream's end."""
        options = self.stream_options
        return isinstance(options, StreamOptions) and bool(options.include_usage)

    @property
    def max_tokens_param(self) -> str:
        """How the client called the limit, for errors about it."""
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"


_DECODER = msgspec.json.Decoder(Asked)


def parse(body: Body) -> Asked:
    """The request, checked. Raises InvalidRequest, which names the parameter."""
    asked = read(body, _DECODER)
    if asked.n not in (None, 1):
        raise invalid(_("Only one answer is made: this must be 1."), "n")
    if asked.max_completion_tokens is not None:
        asked.max_tokens = asked.max_completion_tokens
    check_parts(message.content for message in asked.messages)
    _check_messages(asked.messages)
    _check_tools(asked)
    return asked


# --- Checks over several fields ------------------------------------------------------------------


def _check_messages(messages: list[Message]) -> None:
    # Calls that wait for their results, with the places where they stand.
    open_calls: dict[str, str] = {}
    answered: set[str] = set()
    for index, message in enumerate(messages):
        if type(message) is ToolMessage:
            _answer(message.tool_call_id, open_calls, answered, f"messages[{index}]")
        elif open_calls:
            break
        elif type(message) is Assistant:
            open_calls = _calls(message, index)
            answered = set()
        if not isinstance(message.content, str):
            _check_images(message, index)
    if open_calls:
        call, place = next(iter(open_calls.items()))
        text = _("The call “{id}” needs a message of role “tool” with its result right after it.")
        raise invalid(text.format(id=call), place)


def _answer(call: str, open_calls: dict[str, str], answered: set[str], place: str) -> None:
    if open_calls.pop(call, None) is not None:
        answered.add(call)
        return
    if call in answered:
        text = _("There is a result of the call “{id}” already.")
    else:
        text = _("No call “{id}” stands right before this result.")
    raise invalid(text.format(id=call), f"{place}.tool_call_id")


def _calls(message: Assistant, index: int) -> dict[str, str]:
    calls: dict[str, str] = {}
    for number, call in enumerate(message.tool_calls or ()):
        place = f"messages[{index}].tool_calls[{number}]"
        if call.id in calls:
            raise invalid(_("Two calls have the id “{id}”.").format(id=call.id), f"{place}.id")
        if (call.function if call.type == "function" else call.custom) is None:
            raise invalid(_("This field is required."), f"{place}.{call.type}")
        calls[call.id] = place
    return calls


def _check_images(message: Message, index: int) -> None:
    for number, part in enumerate(message.content or ()):
        if isinstance(part, Image):
            _check_image(part, f"messages[{index}].content[{number}].image_url.url")


def _check_image(image: Image, place: str) -> None:
    text = memoryview(image.image_url.url)
    # Some clients write every slash as "\/".
    head = bytes(text[:_HEAD_CHARS]).replace(b"\\/", b"/")
    if _DATA_URL.match(head) or _WEB_URL.match(head):
        return
    if not is_string(image.image_url.url):
        raise invalid(_("This must be a string."), place)
    message = _("This must be an address (https://…) or an image (data:image/png;base64,…).")
    raise invalid(message, place)


def _check_tools(asked: Asked) -> None:
    names: set[str] = set()
    for index, tool in enumerate(asked.tools or ()):
        if tool.type != "function":
            continue
        if tool.function is None:
            raise invalid(_("This field is required."), f"tools[{index}].function")
        parameters = tool.function.parameters
        if bytes(parameters) not in (b"", b"null") and not is_object(parameters):
            place = f"tools[{index}].function.parameters"
            raise invalid(_("This must be a JSON Schema object."), place)
        names.add(tool.function.name)
    _check_choice(asked, names)


def _check_choice(asked: Asked, names: set[str]) -> None:
    choice = asked.tool_choice
    if choice == "required" and not asked.tools:
        raise invalid(_("There are no tools to choose from."), "tool_choice")
    if isinstance(choice, ChooseFunction) and choice.function.name not in names:
        raise _no_such_tool("tool_choice.function.name", choice.function.name)
    if not isinstance(choice, ChooseAllowed):
        return
    for index, allowed in enumerate(choice.allowed_tools.tools):
        if allowed.function is not None and allowed.function.name not in names:
            place = f"tool_choice.allowed_tools.tools[{index}].function.name"
            raise _no_such_tool(place, allowed.function.name)


def _no_such_tool(place: str, name: str) -> InvalidRequest:
    return invalid(_("There is no tool “{name}”.").format(name=name), place)
