"""Real MCP servers for tests: made with the SDK's server side, over HTTP on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.utilities.types import Image
from mcp.types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclasses.dataclass
class Seen:
    """What reached a server: requests with headers, calls that run, and how they ended."""

    requests: list[tuple[str, str, dict[str, str]]] = dataclasses.field(default_factory=list)
    bodies: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=list)
    started: threading.Event = dataclasses.field(default_factory=threading.Event)
    cancelled: threading.Event = dataclasses.field(default_factory=threading.Event)

    @property
    def methods(self) -> list[str]:
        """The MCP methods that were asked for, in their order."""
        return [body["method"] for body in self.bodies if "method" in body]

    def header(self, name: str) -> set[str | None]:
        return {headers.get(name) for _verb, _path, headers in self.requests}


@dataclasses.dataclass
class Peer:
    """A server that is listening."""

    base_url: str
    server: MCPServer
    seen: Seen
    # Status that every request is refused with, if any.
    refuses: int | None = None
    refuses_posts: int | None = None
    redirects_to: str | None = None

    @property
    def url(self) -> str:
        return f"{self.base_url}/mcp"

    @property
    def sse_url(self) -> str:
        return f"{self.base_url}/sse"


def make_server(seen: Seen) -> MCPServer:
    """A server with a tool for everything that a result can be."""
    server = MCPServer("orders", instructions="Look up orders.")

    @server.tool()
    def order_status(number: str, verbose: bool = False) -> str:
        """Tells where an order is."""
        seen.calls.append(("order_status", {"number": number, "verbose": verbose}))
        return f"Order {number} is on its way."

    @server.tool()
    def count(numbers: list[int]) -> dict[str, Any]:
        """Adds numbers."""
        return {"sum": sum(numbers), "of": len(numbers)}

    @server.tool()
    def picture() -> Image:
        """Draws."""
        return Image(data=PIXEL, format="png")

    @server.tool()
    def everything() -> CallToolResult:
        """Gives a block of each kind."""
        return CallToolResult(
            content=[
                TextContent(type="text", text="first"),
                AudioContent(type="audio", data="AAAA", mime_type="audio/wav"),
                ResourceLink(type="resource_link", name="manual", uri="https://a.test/m.pdf"),
                EmbeddedResource(
                    type="resource",
                    resource=TextResourceContents(uri="file:///a.txt", text="inside"),
                ),
            ],
            structured_content={"total": 3},
        )

    @server.tool()
    def broken() -> str:
        """Fails."""
        raise ValueError("the shelf is empty")

    @server.tool()
    async def slow(context: Context[Any, Any]) -> str:
        """Takes for ever."""
        seen.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.cancelled.set()
            raise
        return "never"

    @server.tool()
    def big(size: int) -> str:
        """Says much."""
        return "x" * size

    return server


class _Recorder:
    """Notes what comes in, and refuses it where the test wants that."""

    def __init__(self, app: ASGIApp, peer: Peer) -> None:
        self._app = app
        self._peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self._peer.seen.requests.append((scope["method"], scope["path"], headers))
        status = self._peer.refuses or (
            self._peer.refuses_posts if scope["method"] == "POST" else None
        )
        if self._peer.redirects_to:
            location = [(b"location", self._peer.redirects_to.encode())]
            await _answer(send, 307, location)
        elif status:
            await _answer(send, status, [])
        else:
            await self._app(scope, self._noting(receive), send)

    def _noting(self, receive: Receive) -> Receive:
        body = bytearray()

        async def noting() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if body and not message.get("more_body"):
                self._peer.seen.bodies.append(json.loads(bytes(body)))
                body.clear()
            return message

        return noting


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """Serves an ASGI application in a thread; its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)


class _Both:
    """Streamable HTTP under /mcp, SSE under /sse and /messages, with the first's lifespan."""

    def __init__(self, streamable: ASGIApp, sse: ASGIApp) -> None:
        self._streamable = streamable
        self._sse = sse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_sse = scope["type"] == "http" and scope["path"].startswith(("/sse", "/messages"))
        await (self._sse if is_sse else self._streamable)(scope, receive, send)


@contextlib.contextmanager
def running_peer(server: MCPServer | None = None, **options: Any) -> Iterator[Peer]:
    """A server of the SDK, over both transports."""
    seen = Seen()
    server = server or make_server(seen)
    app = _Both(server.streamable_http_app(**options), server.sse_app())
    peer = Peer("", server, seen)
    with listening(_Recorder(app, peer)) as base_url:
        peer.base_url = base_url
        yield peer


class Odd:
    """A server that answers every request with the same bytes."""

    def __init__(self, content_type: str, body: bytes) -> None:
        self._content_type = content_type
        self._body = body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"content-type", self._content_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})
