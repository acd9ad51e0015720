"""A very small HTTP/1.1 server: one request at a time per connection, light on the processor."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


@dataclasses.dataclass(slots=True)
class Request:
    """A request, read to its end."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def form(self) -> tuple[dict[str, str], dict[str, bytes]]:
        """The fields and the files of a multipart body."""
        _, _, boundary = self.headers.get("content-type", "").partition("boundary=")
        fields: dict[str, str] = {}
        files: dict[str, bytes] = {}
        for part in self.body.split(b"--" + boundary.strip('"').encode())[1:-1]:
            head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
            text = head.decode("utf-8", "replace")
            name = text.partition('name="')[2].partition('"')[0]
            if "filename=" in text:
                files[name] = content
            else:
                fields[name] = content.decode("utf-8", "replace")
        return fields, files


class Reply:
    """The way back to one client. Writing to a client that has gone does nothing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_chunked = False
        self.has_started = False
        # A body is cut into pieces of so many bytes; 0: it is written as it comes.
        self.piece_bytes = 0

    def send(
        self,
        status: int = 200,
        *,
        body: bytes = b"",
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        """A whole answer."""
        self._head(status, content_type, {"content-length": str(len(body)), **(headers or {})})
        for piece in self._pieces(body):
            self._transport.write(piece)

    def json(self, value: object, *, status: int = 200) -> None:
        """A whole answer in JSON."""
        self.send(status, body=json.dumps(value).encode())

    def start(self, content_type: str) -> None:
        """Begins an answer of unknown length."""
        self._is_chunked = True
        self._head(200, content_type, {"transfer-encoding": "chunked"})

    def write(self, data: bytes) -> None:
        """More of an answer that was begun."""
        for piece in self._pieces(data):
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def finish(self) -> None:
        """Ends an answer that was begun."""
        if self._is_chunked:
            self._transport.write(b"0\r\n\r\n")

    def _pieces(self, data: bytes) -> list[bytes]:
        size = self.piece_bytes or len(data) or 1
        return [data[at : at + size] for at in range(0, len(data), size)]

    def break_off(self) -> None:
        """Cuts the connection in the middle of whatever is being said."""
        self._transport.abort()

    def _head(self, status: int, content_type: str, headers: dict[str, str]) -> None:
        self.has_started = True
        lines = [
            f"HTTP/1.1 {status} {_PHRASES.get(status, 'Status')}",
            f"content-type: {content_type}",
            f"date: {formatdate(usegmt=True)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self._transport.write("\r\n".join(lines).encode() + b"\r\n\r\n")


Handler = Callable[[Request, Reply], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client: parses its requests and runs the handler; a client that leaves cancels it."""

    def __init__(self, handler: Handler, open_connections: set[Connection]) -> None:
        self._handler = handler
        self._open = open_connections
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's class.
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What the parser calls.
    def on_message_begin(self) -> None:
        self._url, self._headers = b"", {}
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None
        request = Request(
            self._parser.get_method().decode(),
            urlsplit(self._url.decode("latin-1")).path,
            self._headers,
            bytes(self._body),
        )
        self._task = asyncio.ensure_future(self._handler(request, Reply(self._transport)))
