"""What a tool is to a conversation, and what comes back from one; no ORM objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from providers.types import LlmSpec

HttpMethod = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
McpTransport = Literal["streamable_http", "sse", "stdio"]


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """A value that is filled in for `{name}`, in requests to its host and to no other.

    `host` is `host:port` in lower case, as `tooling.placeholders.host_of` gives it.
    """

    name: str
    host: str
    value: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """The service behind a built-in tool, as an operator set it."""

    vendor: str
    base_url: str
    api_key: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltinTarget:
    """One of our own tools; `backend` is None where none is set or needed."""

    tool_id: str
    backend: Backend | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class HttpTarget:
    """A request to somebody's service. URL, headers and body hold `{name}` placeholders.

    Without a body template, arguments that no placeholder took go into the query of a GET or
    DELETE, and into a JSON body of the others. `result_pointer` (RFC 6901) picks a part of a JSON
    answer; empty: all of it.
    """

    method: HttpMethod
    url: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    body: str = ""
    result_pointer: str = ""
    secrets: tuple[Secret, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class McpEndpoint:
    """A server that speaks MCP, with what one caller sends along.

    `command` and `environment` are of stdio servers only, which come from the operator's file and
    from nowhere else.
    """

    server_id: str
    name: str
    transport: McpTransport
    url: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class McpTarget:
    """A tool of an MCP server, by the name that the server gives it.

    `fixed` are arguments from the caller's configuration: they go over those of the model, which
    is never shown them.
    """

    endpoint: McpEndpoint
    tool_name: str
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)


Target = BuiltinTarget | HttpTarget | McpTarget


@dataclasses.dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that an assistant may use. Client tools run on the caller's device: no `target`.

    Models call it by its `id`, which is unique among the tools of an assistant; `name` is what
    people read. `parameters` and `defaults` are JSON Schema and arguments; times in milliseconds.
    """

    id: str
    name: str
    description: str
    parameters: dict[str, Any]
    defaults: dict[str, Any]
    executor: Literal["client", "server"]
    wait_for_response: bool
    timeout_ms: int
    target: Target | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom a tool runs. `llm` is the assistant's own model, for tools that ask one."""

    owner_id: int | None
    assistant_id: str
    language: str
    time_zone: str
    user_id: int | None = None
    llm: LlmSpec | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gives back. `code` is HTTP-like; a failed call says why in `message`."""

    output: str
    code: int = 200
    message: str = "ok"
