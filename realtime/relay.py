"""A client whose session lives in another web process: its frames are passed on both ways.

The other process has the session, its slot and its record; here is only the socket. When this side
goes away the session has lost its client, who may come back by any process. Without word from the
other side the client is sent away with "going away", and learns when it comes back what has become
of the session.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from contextlib import ExitStack

from pydantic import TypeAdapter

from accounts.principals import Principal
from realtime import neighbours
from realtime.admission import GOING_AWAY, resume_expired
from realtime.line import close_socket
from realtime.messages import ResumeSession
from realtime.pipes import Kind, Pipe
from realtime.sender import STUCK_AFTER_S, Wire

logger = logging.getLogger(__name__)

OPEN_WITHIN_S = 5.0

_relays: set[Relay] = set()


@dataclasses.dataclass(frozen=True, slots=True)
class Handover:
    """A caller, as this process recognised them, and the session that they want to go on with."""

    assistant_id: str
    principal: Principal | None
    resume: ResumeSession
    language: str


HANDOVERS = TypeAdapter(Handover)


class Relay:
    """Between a client's socket here and its session there.

    `take` waits until it is known where frames go, and while the other process is slow. `open`
    comes first; then `run` is the rest of it.
    """

    def __init__(self, wire: Wire, home: str) -> None:
        self._wire = wire
        self._home = home
        self._pipe: Pipe | None = None
        self._is_settled = asyncio.Event()
        self._is_over = False

    async def open(self, handover: Handover) -> None:
        """Has the session's process take the client over. Raises Refused when it does not."""
        with ExitStack() as undo:
            try:
                async with asyncio.timeout(OPEN_WITHIN_S):
                    pipe = await neighbours.connect(self._home)
                    undo.callback(pipe.close)
                    await pipe.send(Kind.HANDOVER, HANDOVERS.dump_json(handover))
                    answer = await pipe.receive()
            except OSError as error:
                logger.debug("the process of a session cannot be reached: %s", error)
                raise resume_expired() from None
            if answer is None or answer.kind is not Kind.TAKEN:
                raise resume_expired()
            undo.pop_all()
        self._pipe = pipe
        self._is_settled.set()
        _relays.add(self)

    async def run(self) -> None:
        """Passes on what the session sends, until one of the three is gone."""
        try:
            if self._pipe is not None:
                await self._pass_on(self._pipe)
        except (OSError, RuntimeError) as error:
            logger.debug("the client is gone: %s", error)
        finally:
            self.end()

    async def take(self, text: str | None, pcm: bytes | None) -> None:
        """Passes a frame of the client on; after the end, drops it."""
        await self._is_settled.wait()
        if self._pipe is None or self._is_over:
            return
        try:
            async with asyncio.timeout(STUCK_AFTER_S):
                if text is not None:
                    await self._pipe.send(Kind.TEXT, text.encode())
                elif pcm is not None:
                    await self._pipe.send(Kind.AUDIO, pcm)
        except OSError as error:
            logger.debug("the process of a session is gone: %s", error)
            self._pipe.close()

    def leave(self, *, may_return: bool) -> None:
        """The socket is gone; the client may come back by another, unless it closed this one."""
        if self._pipe is not None and not self._is_over and not may_return:
            try:
                self._pipe.put(Kind.CLOSE)
            except ConnectionError as error:
                logger.debug("the process of a session is gone: %s", error)
        self.end()

    def end(self) -> None:
        """Passes nothing on any more. For the session its client is lost, unless it has left."""
        self._is_over = True
        self._is_settled.set()
        _relays.discard(self)
        if self._pipe is not None:
            self._pipe.close()

    async def stop(self) -> None:
        """Sends the client away, who may come back by another process."""
        self.end()
        await close_socket(self._wire, GOING_AWAY)

    async def _pass_on(self, pipe: Pipe) -> None:
        while not self._is_over and (frame := await pipe.receive()) is not None:
            match frame.kind:
                case Kind.TEXT:
                    await self._wire.send_text(frame.payload.decode())
                case Kind.AUDIO:
                    await self._wire.send_audio(frame.payload)
                case Kind.CLOSE:
                    await self._wire.close(int.from_bytes(frame.payload))
                    return
        if not self._is_over:
            await close_socket(self._wire, GOING_AWAY)


async def stop_all() -> None:
    """Sends all clients away whose sessions live elsewhere."""
    await asyncio.gather(*(relay.stop() for relay in list(_relays)))
