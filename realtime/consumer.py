"""The door of `/ws`: decodes frames, hands them to the call, and writes what the call sends."""

from __future__ import annotations

import asyncio

from channels.generic.websocket import AsyncWebsocketConsumer
from django.utils.translation import gettext as _

from realtime.admission import SUBPROTOCOL, read_handshake
from realtime.dialects import ws_v1
from realtime.messages import Problem, Stage
from realtime.pipeline import Call

TOO_BIG = 1009


class VoiceConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One client. Nothing here awaits a model or the database, so that nothing is late."""

    async def connect(self) -> None:
        handshake = read_handshake(self.scope)
        # Accepted whoever it is: a browser cannot read why a handshake failed.
        await self.accept(SUBPROTOCOL if handshake.offers_bearer else None)
        self.call = Call(self, handshake, ws_v1.encode)
        self.running = asyncio.create_task(self.call.run())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            if text_data is not None:
                self.receive_text(text_data)
            elif bytes_data is not None:
                self.receive_audio(bytes_data)
        except ws_v1.BadFrame as bad:
            self.call.complain(bad.problem)

    def receive_text(self, text: str) -> None:
        if len(text) > ws_v1.MAX_TEXT_BYTES or len(text.encode()) > ws_v1.MAX_TEXT_BYTES:
            message = _("A text message may have %(bytes)d bytes.")
            self.refuse("protocol.invalid_message", message % {"bytes": ws_v1.MAX_TEXT_BYTES})
            return
        self.call.receive(ws_v1.decode(text))

    def receive_audio(self, pcm: bytes) -> None:
        if len(pcm) > ws_v1.MAX_BINARY_BYTES:
            message = _("An audio message may have %(bytes)d bytes.")
            self.refuse("audio.frame_size_mismatch", message % {"bytes": ws_v1.MAX_BINARY_BYTES})
            return
        ws_v1.check_audio(pcm)
        self.call.hear(pcm)

    def refuse(self, code: str, message: str) -> None:
        stage: Stage = "audio" if code.startswith("audio") else "protocol"
        self.call.stop("too_big", TOO_BIG, Problem(code, message, stage))

    async def disconnect(self, code: int) -> None:
        self.call.hang_up()
        await self.running

    async def send_text(self, text: str) -> None:
        await self.send(text_data=text)

    async def send_audio(self, pcm: bytes) -> None:
        await self.send(bytes_data=pcm)
