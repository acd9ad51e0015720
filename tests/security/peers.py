"""A peer on loopback that an attack tries to reach or speaks through, and a resolver that lies."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

# The twenty of studies on tools; `{port}` is where the peer listens.
HOSTILE_URLS = [
    "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/",
    "http://2130706433:{port}/", "http://0x7f.1:{port}/", "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1:{port}/", "http://100.64.0.1:{port}/", "http://[64:ff9b::7f00:1]:{port}/",
    "http://[fd00::1]:{port}/", "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1\\@example.com:{port}/", "file:///etc/passwd", "gopher://127.0.0.1:{port}/",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Seen:
    """A request as it arrived. `target` is the path with its query, as on the wire."""

    method: str
    target: str
    headers: Mapping[str, list[str]]
    body: bytes


@dataclasses.dataclass
class Reply:
    body: bytes = b'{"status": "sent"}'
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"Content-Type": "application/json"}
    )


class Peer:
    """A server that answers every request with `reply` and remembers all that reached it."""

    def __init__(self) -> None:
        self.reply = Reply()
        self.seen: list[Seen] = []
        self.connections = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(peer) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - the handler has a self
        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                peer.connections += 1
                super().setup()

            def answer(self) -> None:
                headers: dict[str, list[str]] = {}
                for name, value in self.headers.items():
                    headers.setdefault(name.lower(), []).append(value)
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                peer.seen.append(Seen(self.command, self.path, headers, body))
                self.send_response(peer.reply.status)
                for name, value in peer.reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(peer.reply.body)))
                self.end_headers()
                self.wfile.write(peer.reply.body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the library's

            def log_message(self, *_arguments: Any) -> None:
                """Quiet."""

        return Handler


@contextmanager
def peers(count: int) -> Iterator[list[Peer]]:
    """Several peers, on ports of their own."""
    started = [Peer().__enter__() for _number in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.__exit__()


def resolve_inwards(monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> list[str]:
    """Lets every name resolve to the address, as its owner's name server can; the names asked."""
    asked: list[str] = []
    plain = asyncio.BaseEventLoop.getaddrinfo

    async def getaddrinfo(
        self: asyncio.AbstractEventLoop, host: Any, port: Any, **options: Any
    ) -> list[Any]:
        if not isinstance(host, str) or not host.endswith(".example"):
            return await plain(self, host, port, **options)  # type: ignore[arg-type]  # a loop
        asked.append(host)
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked
