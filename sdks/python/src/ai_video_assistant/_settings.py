"""Where the server is and how it is asked."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from urllib.parse import urlsplit

from ai_video_assistant.errors import ConfigurationError

KEY_VARIABLE = "AI_VIDEO_ASSISTANT_API_KEY"
DEFAULT_API_URL = "http://localhost:8080"
# The server sends a comment every 15 seconds while a stream is silent.
STREAM_SILENCE_S = 45.0


def _version() -> str:
    try:
        return metadata.version("ai-video-assistant")
    except metadata.PackageNotFoundError:  # used from a checkout
        return "0"


USER_AGENT = f"ai-video-assistant-python/{_version()} python/{platform.python_version()}"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What both clients are made with."""

    api_url: str
    ws_url: str
    api_key: str | None = dataclasses.field(repr=False)
    timeout_s: float
    max_retries: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise ConfigurationError("timeout must be more than 0 seconds")
        if self.max_retries < 0:
            raise ConfigurationError("max_retries must not be negative")

    @classmethod
    def of(
        cls,
        *,
        api_url: str | None,
        ws_url: str | None,
        api_key: str | None,
        timeout: float,
        max_retries: int,
        headers: Mapping[str, str] | None,
    ) -> Settings:
        """Raises ConfigurationError for what cannot work."""
        base = _base(api_url or DEFAULT_API_URL, ("http", "https"), "/api/v1")
        socket = _base(ws_url or f"ws{base[len('http') :]}", ("ws", "wss"), "/ws")
        key = api_key if api_key is not None else os.environ.get(KEY_VARIABLE)
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigurationError("the API key has characters that no key has")
        return cls(base, socket, key or None, timeout, max_retries, dict(headers or {}))

    @property
    def all_headers(self) -> dict[str, str]:
        """What every request says of itself."""
        own = {"User-Agent": USER_AGENT}
        if self.api_key:
            own["Authorization"] = f"Bearer {self.api_key}"
        given = {name.lower() for name in self.headers}
        kept = {name: value for name, value in own.items() if name.lower() not in given}
        return kept | dict(self.headers)


def _base(url: str, schemes: tuple[str, ...], path: str) -> str:
    """The address of the server, also where the whole address of an API was given."""
    shown = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_whole = parts.port != 0 and not (parts.query or parts.fragment or " " in url)
        is_address = parts.scheme in schemes and bool(host) and is_whole
    except ValueError:  # a port that is no number, half of an IPv6 address, "a..b"
        is_address = False
    if not is_address:
        raise ConfigurationError(f"{url!r} is no address that begins with {shown}")
    return url.rstrip("/").removesuffix(path).rstrip("/")
