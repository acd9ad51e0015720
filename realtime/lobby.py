"""What a client sends before it is known who calls."""

from __future__ import annotations

import asyncio
from collections import deque

from realtime.messages import ClientMessage, Problem

MAX_MESSAGES = 64


class Lobby:
    """Keeps the first messages of a client in order; of too many, the rest is dropped."""

    def __init__(self) -> None:
        self._items: deque[ClientMessage | Problem] = deque()
        self._has_any = asyncio.Event()

    def put(self, item: ClientMessage | Problem) -> None:
        if len(self._items) < MAX_MESSAGES:
            self._items.append(item)
            self._has_any.set()

    def close(self) -> None:
        """Nothing more will come; nobody needs to wait."""
        self._has_any.set()

    @property
    def is_empty(self) -> bool:
        return not self._items

    async def first(self, within_s: float) -> ClientMessage | None:
        """The first message, which stays; None where none comes, or sound was first."""
        try:
            async with asyncio.timeout(within_s):
                await self._has_any.wait()
        except TimeoutError:
            return None
        first = self._items[0] if self._items else None
        return None if isinstance(first, Problem) else first

    def take_all(self) -> list[ClientMessage | Problem]:
        """All that came, in order."""
        items = list(self._items)
        self._items.clear()
        return items
