"""The door of `/ws`: decodes frames, hands them to the call, and writes what the call sends.

A bare ASGI application: a Channels consumer goes to another thread and back (to close old database
connections) and starts two tasks before it hands over a frame, which at 50 frames a second and call
takes more time than all the rest, and makes frames late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.utils import translation
from django.utils.translation import gettext as _

from realtime import ear
from realtime.admission import SUBPROTOCOL, read_handshake
from realtime.dialects import ws_v1
from realtime.messages import BadMessage, Problem, Stage
from realtime.pipeline import Call
from realtime.sender import Wire

CLOSED = 1000
CLOSED_WITHOUT_CODE = 1005
TOO_BIG = 1009

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def voice(scope: Scope, receive: Receive, send: Send) -> None:
    """One client, from its handshake to the end of its call."""
    await receive()  # websocket.connect
    ear.warm_up()
    handshake = read_handshake(scope)
    # Accepted whoever it is: a browser cannot read why a handshake failed.
    subprotocol = SUBPROTOCOL if handshake.offers_bearer else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    socket = VoiceSocket(send)
    # The call's tasks inherit the language.
    with translation.override(handshake.language):
        call = Call(socket, handshake, ws_v1.encode)
        running = asyncio.create_task(_run(call))
        # Neither, when this process ends.
        is_lost = has_left = False
        try:
            while (message := await receive())["type"] == "websocket.receive":
                if socket.is_closed:
                    continue
                text, pcm = message.get("text"), message.get("bytes")
                if call.relay is None:
                    take(call.resumed or call, socket, text=text, pcm=pcm)
                else:
                    await call.relay.take(text, pcm)
            has_left = _was_closed(message)
            is_lost = not has_left
        finally:
            if call.relay is not None:
                call.relay.leave(may_return=not has_left)
            (call.resumed or call).leave(socket, may_return=is_lost)
            # Also as long as the session goes on at other sockets.
            await running


async def _run(call: Call) -> None:
    await call.run()
    if call.relay is not None:
        await call.relay.run()


def _was_closed(message: dict[str, Any]) -> bool:
    """Whether the client said that it closes; a page that is left says 1001, and may come back."""
    code = message.get("code")
    # uvicorn reports 1005 for a lost connection, too, but then without a reason, be it empty.
    return code == CLOSED or (code == CLOSED_WITHOUT_CODE and "reason" in message)


async def no_such_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses the handshake (HTTP 403) of a path that has no socket."""
    await receive()  # websocket.connect
    await send({"type": "websocket.close"})


def take(call: Call, wire: Wire, *, text: str | None, pcm: bytes | None) -> None:
    """Hands a frame to the call, unless its client has left this socket for another.

    Awaits nothing, so that nothing is late.
    """
    if not call.is_at(wire):
        return
    if text is not None:
        _take_text(call, text)
    elif pcm is not None:
        _take_audio(call, pcm)


def _take_text(call: Call, text: str) -> None:
    if len(text) > ws_v1.MAX_TEXT_BYTES or len(text.encode()) > ws_v1.MAX_TEXT_BYTES:
        message = _("A text message may have %(bytes)d bytes.")
        _refuse(call, "protocol.invalid_message", message % {"bytes": ws_v1.MAX_TEXT_BYTES})
        return
    try:
        call.receive(ws_v1.decode(text))
    except ws_v1.BadFrame as bad:
        call.receive(BadMessage(bad.problem))


def _take_audio(call: Call, pcm: bytes) -> None:
    if len(pcm) > ws_v1.MAX_BINARY_BYTES:
        message = _("An audio message may have %(bytes)d bytes.")
        _refuse(call, "audio.frame_size_mismatch", message % {"bytes": ws_v1.MAX_BINARY_BYTES})
        return
    try:
        ws_v1.check_audio(pcm)
        call.hear(pcm)
    except ws_v1.BadFrame as bad:
        call.complain(bad.problem)


def _refuse(call: Call, code: str, message: str) -> None:
    stage: Stage = "audio" if code.startswith("audio") else "protocol"
    call.stop("too_big", TOO_BIG, Problem(code, message, stage))


class VoiceSocket:
    """The accepted socket, as the call writes to it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_closed = False

    async def send_text(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def send_audio(self, pcm: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": pcm})

    async def close(self, code: int) -> None:
        self.is_closed = True
        await self._send({"type": "websocket.close", "code": code})
