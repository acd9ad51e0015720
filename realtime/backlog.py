"""What a client was sent last, for when it comes back and has missed some of it. Pure."""

from __future__ import annotations

import sys
from collections import deque
from itertools import islice

# Fewer than may wait for a socket.
MAX_FRAMES = 1500
MAX_BYTES = 1_000_000


class Backlog:
    """The text frames after number `after`, without gaps; of too many, the oldest are forgotten."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._frames: deque[str] = deque()
        self._bytes = 0

    @property
    def last_seq(self) -> int:
        """The number of the newest frame."""
        return self._after + len(self._frames)

    def add(self, frame: str) -> None:
        """Keeps the frame with the next number."""
        self._frames.append(frame)
        self._bytes += sys.getsizeof(frame)
        while len(self._frames) > MAX_FRAMES or self._bytes > MAX_BYTES:
            self._bytes -= sys.getsizeof(self._frames.popleft())
            self._after += 1

    def covers(self, seq: int) -> bool:
        """Whether everything after that number is here."""
        return self._after <= seq <= self.last_seq

    def since(self, seq: int) -> list[str]:
        """The frames after that number, which must be covered."""
        return list(islice(self._frames, seq - self._after, None))
