"""What happens while a chat is answered: one frozen class for each kind of event."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class ChatChunk:
    """More of the answer, and all of it so far."""

    text: str
    accumulated: str


@dataclasses.dataclass(frozen=True, slots=True)
class ChatToolEvent:
    """A tool starts, ends or fails; `id` is that of its call. `sources` are those of a search."""

    status: str
    title: str
    message: str
    id: str = ""
    tool: str = ""
    sources: tuple[Mapping[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ChatFailure:
    """The model failed, or the server is being stopped. Perhaps an apology follows as text.

    At the end of the events ChatFailedError is raised.
    """

    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class UnknownChatEvent:
    """Something that a newer server says."""

    type: str
    data: Any


ChatEvent = ChatChunk | ChatToolEvent | ChatFailure | UnknownChatEvent
