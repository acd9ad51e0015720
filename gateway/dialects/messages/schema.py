"""What a client of `POST /v1/messages` may write.

Structure is checked by the types, what they cannot say by `parse`. Fields that nobody here knows
are passed over, blocks of an unknown type are refused: a part of the conversation would be missing.
Large values stay where they are in the body (`msgspec.Raw`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from django.utils.translation import gettext as _
from msgspec import Meta, Raw

from gateway.dialects.reading import (
    Body,
    ModelName,
    check_parts,
    invalid,
    is_object,
    is_string,
    read,
)

MIN_THINKING_TOKENS = 1024

_Filled = Annotated[str, Meta(min_length=1)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_CacheControl = dict[str, Any] | None


# --- Where pictures and documents come from ------------------------------------------------------


class ImageBytes(msgspec.Struct, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Raw


class DocumentBytes(msgspec.Struct, tag="base64"):
    media_type: str
    data: Raw


class Url(msgspec.Struct, tag="url"):
    url: _Filled


class File(msgspec.Struct, tag="file"):
    """A file that lies with the vendor."""

    file_id: str


class PlainText(msgspec.Struct, tag="text"):
    data: str
    media_type: str = "text/plain"


class OwnContent(msgspec.Struct, tag="content"):
    content: str | list[Text | Image]


# --- Blocks --------------------------------------------------------------------------------------


class Text(msgspec.Struct, tag="text"):
    text: str
    cache_control: _CacheControl = None


class Image(msgspec.Struct, tag="image"):
    source: ImageBytes | Url | File


class Document(msgspec.Struct, tag="document"):
    source: DocumentBytes | Url | File | PlainText | OwnContent
    title: str | None = None
    context: str | None = None


class SearchResult(msgspec.Struct, tag="search_result"):
    source: str
    title: str
    content: list[Text]


class ToolUse(msgspec.Struct, tag="tool_use"):
    id: _Filled
    name: _Filled
    input: Raw


class ToolReference(msgspec.Struct, tag="tool_reference"):
    tool_name: str


class BrowserState(msgspec.Struct, tag="browser_state"):
    pass


class ToolResult(msgspec.Struct, tag="tool_result"):
    tool_use_id: _Filled
    content: (
        str | list[Text | Image | Document | SearchResult | ToolReference | BrowserState] | None
    ) = None
    is_error: bool | None = None


class Thinking(msgspec.Struct, tag="thinking"):
    thinking: str
    signature: str = ""


class RedactedThinking(msgspec.Struct, tag="redacted_thinking"):
    data: str


class ServerBlock(msgspec.Struct):
    """What tools that run at the vendor were asked, and what they answered."""


class ServerToolUse(ServerBlock, tag="server_tool_use"):
    pass


class WebSearchResult(ServerBlock, tag="web_search_tool_result"):
    pass


class WebFetchResult(ServerBlock, tag="web_fetch_tool_result"):
    pass


class CodeResult(ServerBlock, tag="code_execution_tool_result"):
    pass


class BashResult(ServerBlock, tag="bash_code_execution_tool_result"):
    pass


class EditorResult(ServerBlock, tag="text_editor_code_execution_tool_result"):
    pass


class ToolSearchResult(ServerBlock, tag="tool_search_tool_result"):
    pass


class McpToolUse(ServerBlock, tag="mcp_tool_use"):
    pass


class McpToolResult(ServerBlock, tag="mcp_tool_result"):
    pass


class ContainerUpload(ServerBlock, tag="container_upload"):
    pass


Block = (
    Text
    | Image
    | Document
    | SearchResult
    | ToolUse
    | ToolResult
    | Thinking
    | RedactedThinking
    | ServerToolUse
    | WebSearchResult
    | WebFetchResult
    | CodeResult
    | BashResult
    | EditorResult
    | ToolSearchResult
    | McpToolUse
    | McpToolResult
    | ContainerUpload
)


class Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


# --- Beside the messages -------------------------------------------------------------------------


class Tool(msgspec.Struct):
    """A tool of the client's, or (by its type) one that the vendor knows or runs."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None

    @property
    def is_custom(self) -> bool:
        return self.type in (None, "custom")


class AutoChoice(msgspec.Struct, tag="auto"):
    disable_parallel_tool_use: bool | None = None


class AnyChoice(msgspec.Struct, tag="any"):
    disable_parallel_tool_use: bool | None = None


class NamedChoice(msgspec.Struct, tag="tool"):
    name: _Filled
    disable_parallel_tool_use: bool | None = None


class NoChoice(msgspec.Struct, tag="none"):
    pass


class ThinkingAsked(msgspec.Struct):
    """`type` is enabled, disabled, adaptive, or a newer one, which is passed over."""

    type: str
    budget_tokens: Annotated[int, Meta(ge=MIN_THINKING_TOKENS)] | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class OutputFormat(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: OutputFormat | None = None


class Asked(msgspec.Struct):
    """A request as it came. `max_tokens` is None only where tokens are counted."""

    model: ModelName
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = None
    system: str | list[Text] | None = None
    temperature: _Share | None = None
    top_p: _Share | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[_Filled] | None = None
    tools: list[Tool] | None = None
    tool_choice: AutoChoice | AnyChoice | NamedChoice | NoChoice | None = None
    thinking: ThinkingAsked | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    mcp_servers: list[Any] | None = None
    container: Any = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to tell what it took; in this dialect each does."""
        return True


_DECODER = msgspec.json.Decoder(Asked)


def parse(body: Body) -> Asked:
    """A request for an answer. Raises InvalidRequest, whose `param` says where."""
    asked = parse_count(body)
    if asked.max_tokens is None:
        raise invalid(_("This field is required."), "max_tokens")
    budget = asked.thinking.budget_tokens if asked.thinking else None
    if budget is not None and budget >= asked.max_tokens:
        raise invalid(_("This must be less than max_tokens."), "thinking.budget_tokens")
    return asked


def parse_count(body: Body) -> Asked:
    """A request whose tokens are to be counted: as `parse`, without max_tokens."""
    asked = read(body, _DECODER)
    check_parts(message.content for message in asked.messages)
    _check_blocks(asked.messages)
    _check_pairs(asked.messages)
    _check_tools(asked)
    if asked.thinking and asked.thinking.type == "enabled" and asked.thinking.budget_tokens is None:
        raise invalid(_("This field is required."), "thinking.budget_tokens")
    return asked


def _check_blocks(messages: list[Message]) -> None:
    for number, message in enumerate(messages):
        if isinstance(message.content, str):
            continue
        for position, block in enumerate(message.content):
            _check_block(block, message.role, f"messages[{number}].content[{position}]")


def _check_block(block: Block, role: str, place: str) -> None:
    if role == "system" and not isinstance(block, Text):
        raise invalid(_("Messages of the system have text only."), f"{place}.type")
    if role == "user" and isinstance(block, ToolUse | Thinking | RedactedThinking):
        raise invalid(_("Only the assistant's messages have such blocks."), f"{place}.type")
    if role == "assistant" and isinstance(block, ToolResult):
        raise invalid(_("Only the user's messages have such blocks."), f"{place}.type")
    if isinstance(block, ToolUse) and not is_object(block.input):
        raise invalid(_("This must be an object."), f"{place}.input")
    _check_bytes(block, place)


def _check_bytes(block: Block, place: str) -> None:
    if isinstance(block, Image | Document):
        source = block.source
        if isinstance(source, ImageBytes | DocumentBytes) and not is_string(source.data):
            raise invalid(_("This must be a string."), f"{place}.source.data")
        if isinstance(source, OwnContent) and isinstance(source.content, list):
            for position, inner in enumerate(source.content):
                _check_bytes(inner, f"{place}.source.content[{position}]")
    elif isinstance(block, ToolResult) and isinstance(block.content, list):
        for position, part in enumerate(block.content):
            if isinstance(part, Image | Document):
                _check_bytes(part, f"{place}.content[{position}]")


def _check_pairs(messages: list[Message]) -> None:
    """Each call is answered in the user's next messages, each answer has its call just before."""
    calls: set[str] = set()  # ids in the assistant's last messages
    unanswered: dict[str, str] = {}  # id to place
    last_role = "user"
    for number, message in enumerate(messages):
        if message.role == "assistant" and last_role == "user":
            _check_answered(unanswered)
            calls = set()
        if message.role != "system":
            last_role = message.role
        if isinstance(message.content, str):
            continue
        for position, block in enumerate(message.content):
            if isinstance(block, ToolUse):
                place = f"messages[{number}].content[{position}]"
                if block.id in calls:
                    raise invalid(_("Each call needs an id of its own."), f"{place}.id")
                calls.add(block.id)
                unanswered[block.id] = place
            elif isinstance(block, ToolResult):
                if block.tool_use_id not in calls:
                    param = f"messages[{number}].content[{position}].tool_use_id"
                    text = _("The message before has no tool_use block with the id “{id}”.")
                    raise invalid(text.format(id=block.tool_use_id), param)
                unanswered.pop(block.tool_use_id, None)
    _check_answered(unanswered)


def _check_answered(unanswered: dict[str, str]) -> None:
    for call_id, place in unanswered.items():
        text = _("The next message has no tool_result block for the call “{id}”.")
        raise invalid(text.format(id=call_id), place)


def _check_tools(asked: Asked) -> None:
    names = set()
    for position, tool in enumerate(asked.tools or ()):
        place = f"tools[{position}]"
        if tool.is_custom and tool.input_schema is None:
            raise invalid(_("This field is required."), f"{place}.input_schema")
        if tool.is_custom and not tool.name:
            raise invalid(_("This field is required."), f"{place}.name")
        if tool.name and tool.name in names:
            raise invalid(_("Each tool needs a name of its own."), f"{place}.name")
        names.add(tool.name)
    choice = asked.tool_choice
    if isinstance(choice, NamedChoice) and choice.name not in names:
        text = _("There is no tool “{name}” among the tools.")
        raise invalid(text.format(name=choice.name), "tool_choice.name")
    if isinstance(choice, AnyChoice) and not names:
        raise invalid(_("There are no tools to choose from."), "tool_choice")
