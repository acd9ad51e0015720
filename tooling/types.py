"""What a tool is to a conversation, and what comes back from one."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that an assistant may use. Client tools run on the caller's device.

    Models call it by its `id`; `name` is what people read.
    """

    id: str
    name: str
    description: str
    parameters: dict[str, Any]
    defaults: dict[str, Any]
    executor: Literal["client", "server"]
    wait_for_response: bool
    timeout_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom a tool runs."""

    owner_id: int | None
    assistant_id: str
    language: str
    time_zone: str


@dataclasses.dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gives back. `code` is HTTP-like; a failed call says why in `message`."""

    output: str
    code: int = 200
    message: str = "ok"
