"""Everything that decides what happens next in a call, and one step in the making. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from conversations.events import Executor
from conversations.types import MessageEntry
from realtime.choices import Option
from realtime.events import Effect, Moment, Plan, Send
from realtime.messages import ServerMessage
from realtime.replies import InputTimes, Reply

Phase = Literal[
    "connecting", "ready", "listening", "user_speaking", "thinking", "speaking", "closed"
]

MAX_ENTRIES = 400


@dataclasses.dataclass(frozen=True, slots=True)
class Awaited:
    """An utterance whose transcript is awaited.

    It began a turn; or it was said while a choice was open: as an `answer`, in silence or by hand,
    or as an `aside` over the sound of a reply, too short to interrupt it.
    """

    utterance: int
    turn: int
    start_ms: int
    end_ms: int
    kind: Literal["turn", "answer", "aside"] = "turn"


@dataclasses.dataclass(frozen=True, slots=True)
class OpenTool:
    """A call without an outcome yet. `has_waiter`: a running reply waits for it.

    Only a choice that the device waits for has `options`.
    """

    call_id: str
    name: str
    turn: int
    executor: Executor
    waits: bool
    timeout_ms: int
    asked_at_ms: float
    options: tuple[Option, ...] = ()
    has_waiter: bool = True
    is_answered: bool = False

    @property
    def is_open_choice(self) -> bool:
        return bool(self.options) and not self.is_answered


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """All that decides what happens next in one call."""

    phase: Phase = "connecting"
    plan: Plan = dataclasses.field(default_factory=Plan)
    began_at_ms: float = 0.0
    turn: int = 0
    utterance: int = 0
    # Whether an utterance is going on, whether there is voice right now, and whether it is being
    # recognised: speech over a reply is not, until it interrupts.
    in_utterance: bool = False
    is_voiced: bool = False
    is_heard: bool = False
    awaited: tuple[Awaited, ...] = ()
    words: tuple[MessageEntry, ...] = ()
    times: InputTimes = dataclasses.field(default_factory=InputTimes)
    reply: Reply | None = None
    replied_turn: int = -1
    tools: tuple[OpenTool, ...] = ()
    accepted_ids: frozenset[str] = frozenset()
    entries: tuple[MessageEntry, ...] = ()
    has_run_opener_calls: bool = False

    @property
    def is_started(self) -> bool:
        return self.phase not in ("connecting", "ready", "closed")

    @property
    def open_choices(self) -> tuple[OpenTool, ...]:
        """What the user may choose now, in the order of the questions."""
        return tuple(tool for tool in self.tools if tool.is_open_choice)

    @property
    def is_choosing(self) -> bool:
        """Whether the live reply waits for a choice."""
        return any(map(self.waits_for, self.open_choices))

    def waits_for(self, tool: OpenTool) -> bool:
        """Whether the live reply waits for this call."""
        return self.reply is not None and self.reply.turn == tool.turn and tool.has_waiter

    def may_sound(self, turn: int) -> bool:
        """Whether audio of this turn may be sent now."""
        return self.reply is not None and self.reply.turn == turn and self.reply.audio == "playing"


class Draft:
    """One step in the making: the session as it becomes, and the effects in order."""

    def __init__(self, session: Session, moment: Moment) -> None:
        self.session = session
        self.moment = moment
        self.effects: list[Effect] = []

    def change(self, **fields: Any) -> None:
        self.session = dataclasses.replace(self.session, **fields)

    def change_reply(self, reply: Reply, **fields: Any) -> None:
        self.change(reply=dataclasses.replace(reply, **fields))

    def do(self, *effects: Effect) -> None:
        self.effects += effects

    def send(self, *sent: ServerMessage) -> None:
        self.effects += [Send(message) for message in sent]

    def keep(self, *entries: MessageEntry) -> None:
        """Adds entries to what the model is told of the conversation."""
        self.change(entries=(*self.session.entries, *entries)[-MAX_ENTRIES:])

    def live(self, turn: int) -> Reply | None:
        """The live reply if it is that turn's; what a stale turn still sends finds None."""
        reply = self.session.reply
        return reply if reply is not None and reply.turn == turn else None


Handler = Callable[[Draft, Any], None]


def since_start(session: Session, at_ms: float) -> int:
    """A moment as milliseconds of the call."""
    return max(0, round(at_ms - session.began_at_ms))
