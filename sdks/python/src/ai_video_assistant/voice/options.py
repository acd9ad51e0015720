"""How a conversation is opened and kept."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, slots=True)
class Reconnect:
    """What becomes of a conversation whose connection breaks.

    For `within_s` seconds, and as long as the server keeps the session, it is taken up again where
    it was. Where that fails, `is_fresh` lets another begin that knows nothing of it.
    """

    is_on: bool = True
    within_s: float = 60.0
    is_fresh: bool = False

    @classmethod
    def of(cls, asked: bool | Reconnect) -> Reconnect:
        """What True and False stand for."""
        return asked if isinstance(asked, Reconnect) else cls(is_on=asked)


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What `connect` was asked for."""

    assistant_id: str
    output: Literal["audio", "text"] | None
    variables: dict[str, str]
    overrides: dict[str, Any]
    source: str
    channel: str
    user_id: str | None
    capabilities: tuple[str, ...]
    reconnect: Reconnect
    connect_timeout_s: float
    reply_timeout_s: float
    ping_interval_s: float

    def start_frame(self) -> dict[str, Any]:
        """The message that starts the session."""
        overrides = dict(self.overrides)
        if self.output is not None:
            overrides["output"] = {"mode": self.output}
        wanted = (*self.capabilities, *(("resume",) if self.reconnect.is_on else ()))
        metadata: dict[str, Any] = {
            "source": self.source,
            "channel": self.channel,
            "dynamicVariables": self.variables,
            "overrides": overrides,
            "capabilities": list(dict.fromkeys(wanted)),
        }
        if self.user_id is not None:
            metadata["history"] = {"userId": self.user_id}
        # The server is strict about what it does not know; what is empty need not be said.
        return {
            "type": "session.start",
            "metadata": {name: value for name, value in metadata.items() if value},
        }
