"""Server-sent events as bytes: whole ones out of pieces that were cut anywhere."""

from __future__ import annotations

import re

# A block of a hidden thought or the whole input of a call may come in one event.
MAX_EVENT_BYTES = 8 * 2**20

# Two ends of lines. Atomic, so that one "\r\n" is never taken for two.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class TooLong(Exception):
    """An event went on for longer than is kept in memory."""


class EventSplitter:
    """Cuts a stream into its events, every byte of them; only an unfinished one is held back."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = bytearray()

    def push(self, piece: bytes) -> list[bytes]:
        """The events that this piece completes, with the blank lines that end them.

        Raises TooLong.
        """
        if not self._rest and piece[-2:] == b"\n\n" and b"\r" not in piece:
            # As most come: whole events, one or some.
            return [event + b"\n\n" for event in piece[:-2].split(b"\n\n")]
        # The blank line may have begun in an earlier piece; what was searched is not once more.
        searched = max(0, len(self._rest) - 3)
        self._rest += piece
        events = []
        done = 0
        for blank in _BLANK_LINE.finditer(self._rest, searched):
            events.append(bytes(self._rest[done : blank.end()]))
            done = blank.end()
        del self._rest[:done]
        if len(self._rest) > self._max_event_bytes:
            raise TooLong
        return events

    def rest(self) -> bytes:
        """What has come of an event that nothing ended."""
        return bytes(self._rest)


def data_of(event: bytes) -> bytes:
    """What an event says: its data lines. Comments and pings of the transport say nothing."""
    lines = event.splitlines()
    return b"\n".join([line[5:].removeprefix(b" ") for line in lines if line[:5] == b"data:"])


def event(name: str, data: bytes) -> bytes:
    """An event with a name, as Anthropic's clients need them."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
