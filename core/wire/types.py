"""What callers of the wire say and are told. Pure; imports nothing but types."""

from __future__ import annotations

import dataclasses
from typing import Literal

Stage = Literal["connect", "send", "head", "body"]
Scheme = Literal["http", "https"]
Headers = list[tuple[bytes, bytes]]

DEFAULT_PORTS: dict[str, int] = {"http": 80, "https": 443}


class WireError(Exception):
    """A request failed on its way; nothing of the parser's or the socket's errors is left in it.

    `stage` is what the request was at: opening a connection, being sent, waiting for the answer's
    head, or reading its body. The text is for logs; it says nothing of headers or bodies.
    """

    def __init__(self, message: str, *, stage: Stage, is_timeout: bool = False) -> None:
        super().__init__(message)
        self.stage: Stage = stage
        self.is_timeout = is_timeout


class ConnectionLost(WireError):
    """The server, or somebody between, ended the connection before the answer was complete."""


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a server is, and the path below which it answers ("" or "/v1", no slash at its end).

    `host` is ASCII, without the brackets of an IPv6 address.
    """

    scheme: Scheme
    host: str
    port: int
    prefix: str = ""

    @property
    def authority(self) -> str:
        """The value of the host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each wait may take. None of them bounds their sum.

    `connect_s` covers the wait for a free connection, the name, TCP and TLS; `head_s` is from the
    request written to the answer's head; `idle_s` is the longest silence while somebody waits for
    a piece of the body; `write_s` the longest time in which the server takes nothing of a request.
    """

    connect_s: float = 5.0
    head_s: float = 120.0
    idle_s: float = 60.0
    write_s: float = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the pool of each origin."""

    connections: int = 1000
    idle_connections: int = 256
    idle_s: float = 20.0


@dataclasses.dataclass(slots=True)
class Stats:
    """What has happened since the wire was made."""

    opened: int = 0
    requests: int = 0
    reused: int = 0
    repeated: int = 0
