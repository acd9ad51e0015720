"""Events between the connection and those who read them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from ai_video_assistant.errors import ConversationError
from ai_video_assistant.voice.events import AudioChunk, Event

# Of events that nobody reads: sound is dropped first, as most of them are sound.
MAX_EVENTS = 4000


class Feed:
    """Events for one reader, who may be slow, or never come."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._failure: ConversationError | None = None
        self._is_over = False
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        """Adds the event; of too many, the oldest sound is dropped, else the oldest."""
        if len(self._events) >= MAX_EVENTS:
            oldest_sound = next(
                (i for i, kept in enumerate(self._events) if isinstance(kept, AudioChunk)), 0
            )
            del self._events[oldest_sound]
        self._events.append(event)
        self._news.set()

    def end(self, failure: ConversationError | None) -> None:
        """Nothing comes any more; a failure is raised to the reader behind the last event."""
        self._failure = failure
        self._is_over = True
        self._news.set()

    async def read(self) -> AsyncIterator[Event]:
        """The events as they come, until the end. Raises ConversationError."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._is_over:
                if self._failure is not None:
                    raise self._failure
                return
            self._news.clear()
            await self._news.wait()
