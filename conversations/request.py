"""What one turn is asked."""

from __future__ import annotations

import dataclasses
from typing import Literal

from providers.types import ChatMessage, ImagePart

MAX_MODEL_CALLS = 10

Thinking = Literal["default", "never", "first", "always"]


@dataclasses.dataclass(frozen=True, slots=True)
class SentDocument:
    """The text of a file that came with the user's words."""

    name: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class TurnRequest:
    """What one turn is asked. An empty `text` asks the assistant to open the conversation, unless
    something was sent along.

    `instructions` go behind the assistant's own prompt, `documents` are what was sent along, for
    the model to read as data. A model that can be told thinks in no call, in the first, or in all;
    with `thinking_interval` after every so many calls as well. A call that breaks off in a way that
    may pass is tried `max_attempts` times. With `asks_intents` it is asked to say of each call of a
    tool what it is for.
    """

    turn: int
    text: str
    history: tuple[ChatMessage, ...]
    variables: dict[str, str]
    system_override: str | None = None
    conversation_id: str = ""
    # Where another service keeps the conversation: its id there, "" before it has one.
    remote_id: str = ""
    instructions: str = ""
    documents: tuple[SentDocument, ...] = ()
    images: tuple[ImagePart, ...] = ()
    thinking: Thinking = "default"
    thinking_interval: int | None = None
    max_model_calls: int = MAX_MODEL_CALLS
    max_attempts: int = 1
    asks_intents: bool = False

    @property
    def is_long(self) -> bool:
        """Whether it may take more calls of the model than somebody waits for who is talking."""
        return self.max_model_calls > MAX_MODEL_CALLS

    def wants_thinking(self, number: int) -> bool | None:
        """Whether the model shall think in its call of this number; None leaves it to the model."""
        match self.thinking:
            case "default":
                return None
            case "never":
                return False
            case "always":
                return True
            case "first":
                every = self.thinking_interval
                return number == 1 or (every is not None and (number - 1) % max(1, every) == 0)
