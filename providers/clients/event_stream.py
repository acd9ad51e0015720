"""Server-sent events, from the pieces in which they arrive."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import httpx

from core.http import too_large

# A carriage return at the very end may be the first half of a line's end.
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")
_LAST_LINE_END = re.compile(rb"\r\n|\n|\r")


class ServerEvent(NamedTuple):
    """One event; `name` is "" where the server named none."""

    name: str
    data: bytes


class EventReader:
    """Cuts a stream into its events. Comments, ids and retry times are passed over."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._name = ""
        self._data: list[bytes] = []
        # About how much came since the last event, or comment, ended.
        self.held_bytes = 0

    def push(self, piece: bytes) -> list[ServerEvent]:
        """The events that this piece completes."""
        self.held_bytes += len(piece)
        self._rest.append(piece)
        # Joined only where a line ends: an endless one must not be copied for each piece.
        if b"\n" not in piece and b"\r" not in piece:
            return []
        whole = b"".join(self._rest)
        *lines, rest = _LINE_END.split(whole) if b"\r" in whole else whole.split(b"\n")
        self._rest = [rest]
        return self._taken(lines)

    def flush(self) -> list[ServerEvent]:
        """An event that nothing ended."""
        return self._taken([*_LAST_LINE_END.split(b"".join(self._rest)), b""])

    def _taken(self, lines: Iterable[bytes]) -> list[ServerEvent]:
        found: list[ServerEvent] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode(errors="replace")
            elif not line:
                if self._data:
                    found.append(ServerEvent(self._name, b"\n".join(self._data)))
                self._name, self._data, self.held_bytes = "", [], 0
        return found


async def events_of(
    response: httpx.Response, *, max_event_bytes: int, max_bytes: int
) -> AsyncIterator[ServerEvent]:
    """The events of a response. Raises ResponseTooLarge beyond either bound, and httpx's errors."""
    reader = EventReader()
    total = since_event = 0
    async for piece in response.aiter_raw():
        total += len(piece)
        since_event += len(piece)
        if total > max_bytes:
            raise too_large(max_bytes)
        for event in reader.push(piece):
            since_event = 0
            yield event
        if since_event > max_event_bytes:
            raise too_large(max_event_bytes)
    for event in reader.flush():
        yield event
