"""Server-sent events out of bytes. Pure."""

from __future__ import annotations

import codecs
import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event; `id` and `event` are empty where it has none."""

    data: str
    id: str = ""
    event: str = ""


class EventLines:
    """Gathers pieces of a stream, cut anywhere, to events. An event cut off is none."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._fields: dict[str, str] = {}
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """The events that the piece completes."""
        text = self._rest + self._decoder.decode(piece)
        # A return at the very end may be half of an end of a line.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = rest + held
        for line in lines:
            if (event := self._take(line)) is not None:
                yield event

    def _take(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name:
            self._fields[name] = value
        return None

    def _complete(self) -> ServerSentEvent | None:
        data, fields = self._data, self._fields
        self._data, self._fields = [], {}
        if not data:
            return None
        return ServerSentEvent("\n".join(data), fields.get("id", ""), fields.get("event", ""))
