"""One WebSocket: frames in and out, and every failure as what this package calls it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidMessage,
    InvalidStatus,
    WebSocketException,
)
from websockets.protocol import State

from ai_video_assistant._settings import USER_AGENT, Settings
from ai_video_assistant.errors import (
    ConversationAuthError,
    ConversationError,
    ConversationLostError,
    ProtocolError,
    TooManyConversationsError,
)
from ai_video_assistant.voice.options import Options
from ai_video_assistant.voice.protocol import ABNORMAL, Closed

CLOSE_TIMEOUT_S = 2.0
LARGEST_FRAME = 4 * 1024 * 1024
# Statuses of a refused handshake, as a proxy may send them; the product always accepts first.
_REFUSED: dict[int, type[ConversationError]] = {
    401: ConversationAuthError,
    429: TooManyConversationsError,
}


class SocketClosedError(Exception):
    """The socket is closed."""

    def __init__(self, closed: Closed) -> None:
        super().__init__(closed.code)
        self.closed = closed


class Socket:
    """An open WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, settings: Settings, options: Options) -> Socket:
        """Raises ConversationError."""
        query = urlencode({"assistant_id": options.assistant_id})
        headers = {k: v for k, v in settings.all_headers.items() if k.lower() != "user-agent"}
        try:
            connection = await connect(
                f"{settings.ws_url}/ws?{query}",
                additional_headers=headers,
                user_agent_header=USER_AGENT,
                compression=None,
                open_timeout=options.connect_timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=options.ping_interval_s,
                ping_timeout=options.ping_interval_s,
                max_size=LARGEST_FRAME,
            )
        except InvalidStatus as error:
            raise _refused(settings, error.response.status_code) from None
        except (OSError, TimeoutError, InvalidMessage) as error:
            message = f"{settings.ws_url} cannot be reached: {error or type(error).__name__}"
            raise ConversationLostError(
                message, code="connection.failed", is_retryable=True
            ) from error
        except WebSocketException as error:
            raise ProtocolError(str(error), code="connection.handshake") from error
        return cls(connection)

    def check_open(self) -> None:
        """Raises SocketClosedError if nothing can be sent."""
        if self._connection.state is not State.OPEN:
            raise SocketClosedError(self._how_closed())

    async def send(self, frame: str | bytes) -> None:
        """Sends a frame; if the socket breaks meanwhile, nobody knows whether it arrived.

        It is on its way before anything is awaited: frames keep their order, and giving up the
        waiting takes none back. Raises SocketClosedError where it certainly was not sent.
        """
        self.check_open()
        with suppress(ConnectionClosed):
            await self._connection.send(frame)

    async def send_json(self, message: dict[str, Any]) -> None:
        """The same with a message."""
        await self.send(json.dumps(message, ensure_ascii=False))

    async def receive(self) -> str | bytes:
        """The next frame. Raises SocketClosedError."""
        try:
            return await self._connection.recv()
        except ConnectionClosed:
            raise SocketClosedError(self._how_closed()) from None

    async def close(self, code: int = 1000) -> None:
        """Closes it, in order if the other side takes part."""
        await self._connection.close(code)

    def _how_closed(self) -> Closed:
        """By the close frame that came; a socket that this side gave up counts as lost."""
        received = self._connection.protocol.close_rcvd
        if received is None:
            return Closed(ABNORMAL)
        return Closed(received.code, received.reason)


def _refused(settings: Settings, status: int) -> ConversationError:
    kind = _REFUSED.get(status) or (ConversationLostError if status >= 500 else ProtocolError)
    # No wrong key is told of like this: another address, or something between, says so.
    hint = "; is the address right?" if kind is ProtocolError else ""
    return kind(
        f"{settings.ws_url}/ws refused the WebSocket with {status}{hint}",
        code="connection.handshake",
        is_retryable=status == 429 or status >= 500,
    )
