"""The only writer to a client's socket: numbers the messages and keeps them in order."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from realtime.backlog import Backlog
from realtime.messages import (
    AudioEnded,
    AudioSegment,
    AudioSegmentEnded,
    ServerMessage,
    SessionStarted,
)
from realtime.pacing import BYTES_PER_MS

logger = logging.getLogger(__name__)

MAX_WAITING = 2000
STUCK_AFTER_S = 20.0


class Wire(Protocol):
    """A connected socket. A method raises OSError or RuntimeError when the client is gone."""

    async def send_text(self, text: str) -> None: ...

    async def send_audio(self, pcm: bytes) -> None: ...

    async def close(self, code: int) -> None: ...


# The text frame of a message with this number.
Encode = Callable[[ServerMessage, int], str]


@dataclasses.dataclass(frozen=True, slots=True)
class _Audio:
    turn: int
    pcm: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class _Again:
    """A frame that has its number already."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Close:
    code: int


_Item = ServerMessage | _Audio | _Again | _Close


class Sender:
    """What waits to be sent. Nothing here blocks but `run`, which one task awaits.

    A message gets its number when it leaves, so that numbers never skip, whatever is dropped. What
    follows a session.started that offers to be resumed is kept for a while. Between `detach` and
    `attach` there is nobody to send to: messages are numbered and kept, sound is dropped.
    """

    def __init__(self, wire: Wire, encode: Encode) -> None:
        self._wire = wire
        self._encode = encode
        self._waiting: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._seq = 0
        self._audio_bytes = 0
        self._sending_since: float | None = None
        self._is_closed = False
        self._is_detached = False
        self._backlog: Backlog | None = None

    @property
    def audio_ms(self) -> int:
        """How much sound waits for the socket: more than a little means that the client is slow."""
        return self._audio_bytes // BYTES_PER_MS

    @property
    def is_stuck(self) -> bool:
        """Whether the client has stopped reading."""
        since = self._sending_since
        is_late = since is not None and time.monotonic() - since > STUCK_AFTER_S
        return is_late or len(self._waiting) > MAX_WAITING

    def send(self, message: ServerMessage) -> None:
        self._put(message)

    def send_audio(self, turn: int, pcm: bytes) -> None:
        """Adds whole frames of a turn's voice."""
        if not self._is_detached:
            self._audio_bytes += len(pcm)
            self._put(_Audio(turn, pcm))

    def drop_audio(self, turn: int) -> None:
        """Takes back the turn's sound that has not left, with the marks that belong to it."""
        kept = [item for item in self._waiting if not _is_sound(item, turn)]
        self._waiting = deque(kept)
        self._audio_bytes = sum(len(item.pcm) for item in kept if isinstance(item, _Audio))

    def close(self, code: int) -> None:
        """Closes the socket after what waits; nothing is accepted after it."""
        if not self._is_closed:
            self._put(_Close(code))
            self._is_closed = True

    def detach(self) -> None:
        """The socket is lost. `run` must not be running any more."""
        self._is_detached = True
        self._sending_since = None
        waiting, self._waiting = self._waiting, deque()
        self._audio_bytes = 0
        for item in waiting:
            self._put(item)

    def can_resume(self, last_seq: int) -> bool:
        """Whether all that was sent after that number is still known."""
        return self._backlog is not None and self._backlog.covers(last_seq)

    def attach(self, wire: Wire, last_seq: int, greeting: Callable[[int], ServerMessage]) -> None:
        """Goes on at another socket: with a greeting, what was missed, and what comes from now on.

        `greeting` is told how many messages were missed; it takes no number. `last_seq` must be
        resumable, and `run` is to be started again.
        """
        if self._backlog is None:
            raise RuntimeError("nothing was kept of this session")
        missed = self._backlog.since(last_seq)
        self._wire = wire
        self._is_detached = False
        self._put(_Again(self._encode(greeting(len(missed)), last_seq)))
        for frame in missed:
            self._put(_Again(frame))

    async def run(self) -> None:
        """Sends until the socket is closed, by us or by the client."""
        while not self._is_detached:
            while self._waiting:
                if not await self._send_next():
                    return
            self._wake.clear()
            await self._wake.wait()

    def _put(self, item: _Item) -> None:
        if self._is_closed:
            return
        if not self._is_detached:
            self._waiting.append(item)
            self._wake.set()
        elif not isinstance(item, _Audio | _Again | _Close):
            # What was to be sent again is known already.
            self._numbered(item)

    def _numbered(self, message: ServerMessage) -> str:
        """The frame of the message that is the next to leave."""
        self._seq += 1
        frame = self._encode(message, self._seq)
        if self._backlog is not None:
            self._backlog.add(frame)
        elif isinstance(message, SessionStarted) and message.resume is not None:
            # Without this one: it tells of a token that is spent by the time it is wanted again.
            self._backlog = Backlog(self._seq)
        return frame

    async def _send_next(self) -> bool:
        item = self._waiting.popleft()
        self._sending_since = time.monotonic()
        try:
            match item:
                case _Audio(pcm=pcm):
                    self._audio_bytes -= len(pcm)
                    await self._wire.send_audio(pcm)
                case _Again(text):
                    await self._wire.send_text(text)
                case _Close(code):
                    await self._wire.close(code)
                    return False
                case message:
                    await self._wire.send_text(self._numbered(message))
        except (OSError, RuntimeError) as error:
            logger.debug("the client is gone: %s", error)
            return False
        self._sending_since = None
        return True


def _is_sound(item: _Item, turn: int) -> bool:
    sounds = _Audio | AudioSegment | AudioSegmentEnded | AudioEnded
    return isinstance(item, sounds) and item.turn == turn
