"""What was given to the connection and may be lost with it. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

# The server tells every 50 s what it has got, so that only a torrent comes near it.
MAX_MESSAGES = 1000

Message = dict[str, Any]


class Outbox:
    """The messages of a session from the first that the server may not have received.

    Both sides count them. Of too many the oldest is forgotten, as if it had been received.
    """

    def __init__(self) -> None:
        self._received = 0
        self._messages: deque[Message] = deque()

    def add(self, message: Message) -> None:
        """Keeps a message that is given to the connection now."""
        self._messages.append(message)
        if len(self._messages) > MAX_MESSAGES:
            self.note_received(self._received + 1)

    def note_received(self, count: int) -> None:
        """The server has received so many, or by now more: what it says may be old."""
        while self._received < count and self._messages:
            self._messages.popleft()
            self._received += 1

    def to_repeat(self, received: int | None) -> list[Message]:
        """What a new connection is given first, when the server has received so many.

        Nothing, where it does not say: better lost than done twice.
        """
        if received is None:
            self._messages.clear()
        else:
            self.note_received(received)
            self._received = received
        return list(self._messages)
