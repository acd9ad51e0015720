"""What a server says it can do."""

from __future__ import annotations

import dataclasses
from typing import Any, NotRequired, TypedDict


class ToolWords(TypedDict):
    """What a model reads of a tool."""

    description: str
    input_schema: dict[str, Any]


class ToolRow(TypedDict):
    """A tool as `McpServer.tools` keeps it; `before` is how it was approved, if it has changed."""

    name: str
    description: str
    input_schema: dict[str, Any]
    digest: str
    before: NotRequired[ToolWords]


@dataclasses.dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool in a server's list. `digest` changes with anything that a model would read of it."""

    name: str
    description: str
    input_schema: dict[str, Any]
    digest: str

    @property
    def row(self) -> ToolRow:
        return ToolRow(
            name=self.name,
            description=self.description,
            input_schema=self.input_schema,
            digest=self.digest,
        )
