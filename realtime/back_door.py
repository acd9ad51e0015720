"""The door for the other web processes, which bring back clients of the sessions of this one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from django.utils import translation
from pydantic import ValidationError

from realtime import neighbours
from realtime.admission import Caller, Refused, Whose
from realtime.consumer import take
from realtime.pipeline import Call, call_to_resume
from realtime.pipes import Kind, Pipe
from realtime.relay import HANDOVERS, OPEN_WITHIN_S, Handover

logger = logging.getLogger(__name__)


class PipeSocket:
    """A client's socket in another process, as the call writes to it."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.is_closed = False

    async def send_text(self, text: str) -> None:
        await self._pipe.send(Kind.TEXT, text.encode())

    async def send_audio(self, pcm: bytes) -> None:
        await self._pipe.send(Kind.AUDIO, pcm)

    async def close(self, code: int) -> None:
        self.is_closed = True
        try:
            self._pipe.put(Kind.CLOSE, code.to_bytes(2))
        finally:
            self._pipe.close()


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    """Lets the other processes in. Where that is impossible, sessions are resumed here alone."""
    with ExitStack() as door:
        try:
            listener = door.enter_context(neighbours.listening())
        except OSError as error:
            logger.warning("a call is resumed only where its own process is reached: %s", error)
            yield
            return
        async with asyncio.TaskGroup() as group:
            visits: set[asyncio.Task[None]] = set()

            def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                visit = group.create_task(_receive(Pipe(reader, writer)))
                visits.add(visit)
                visit.add_done_callback(visits.discard)

            server = await asyncio.start_unix_server(let_in, sock=listener)
            try:
                yield
            finally:
                server.close()
                for visit in visits:
                    visit.cancel()


async def _receive(pipe: Pipe) -> None:
    """One client that another process has, from its handover on."""
    try:
        handover = await _handover(pipe)
        if handover is not None:
            with translation.override(handover.language):
                await _go_on(pipe, handover)
    except ConnectionError as error:
        logger.debug("another process is gone: %s", error)
    except Exception:
        # The outer edge: the door stays open for others.
        logger.exception("a client of another process could not be served")
    finally:
        pipe.close()


async def _handover(pipe: Pipe) -> Handover | None:
    try:
        async with asyncio.timeout(OPEN_WITHIN_S):
            frame = await pipe.receive()
        if frame is None or frame.kind is not Kind.HANDOVER:
            return None
        return HANDOVERS.validate_json(frame.payload)
    except (TimeoutError, ValidationError) as error:
        # Without what was sent, in which there is a token.
        logger.warning("a client of another process is not announced: %s", type(error).__name__)
        return None


async def _go_on(pipe: Pipe, handover: Handover) -> None:
    caller = Caller(handover.principal)
    try:
        call = call_to_resume(Whose.of(handover.assistant_id, caller), handover.resume)
    except Refused:
        await pipe.send(Kind.REFUSED)
        return
    pipe.put(Kind.TAKEN)
    socket = PipeSocket(pipe)
    call.take_over(socket, caller, handover.resume)
    has_left = False
    try:
        has_left = await _take_all(call, pipe, socket)
    finally:
        call.leave(socket, may_return=not has_left)


async def _take_all(call: Call, pipe: Pipe, socket: PipeSocket) -> bool:
    """Hands what the client sends to its call, until it is gone: whether it has left for good."""
    while (frame := await pipe.receive()) is not None:
        match frame.kind:
            case Kind.TEXT if not socket.is_closed:
                take(call, socket, text=frame.payload.decode(), pcm=None)
            case Kind.AUDIO if not socket.is_closed:
                take(call, socket, text=None, pcm=frame.payload)
            case Kind.CLOSE:
                return True
    return False
