"""Small HTTP servers on loopback, whose every byte a test decides."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from core.wire import Origin


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """One connection, seen from its server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> Asked:
        """The next request. Raises IncompleteReadError when there is none."""
        method, path, headers = await self.head()
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Asked(method, path, headers, body)

    async def head(self) -> tuple[str, str, dict[str, str]]:
        """The head of the next request."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _version = lines[0].split(" ")
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        return method, path, dict(pairs)

    async def send(self, *pieces: bytes) -> None:
        """Writes each piece by itself; the client has the time to read it."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            for _turn in range(3):
                await asyncio.sleep(0)

    def reset(self) -> None:
        """Ends the connection as a server does that died."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        """Returns when the client has closed, whatever it still said."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass


Handler = Callable[[Peer], Awaitable[None]]


class Server:
    """Where it listens, and what it was asked."""

    def __init__(self, port: int, *, scheme: str, host: str) -> None:
        self.port = port
        self.origin = Origin("https" if scheme == "https" else "http", host, port)
        self.connections = 0
        self.asked: list[Asked] = []
        self.closed = 0
        self.tasks: set[asyncio.Task[None]] = set()


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[Server, Peer], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    limit: int = 65_536,
) -> AsyncIterator[Server]:
    """Has a handler for each connection; errors of handlers fail the test."""
    failures: list[BaseException] = []

    async def run(peer: Peer) -> None:
        try:
            await handler(server, peer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)
        finally:
            server.closed += 1
            peer.writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        task = asyncio.get_running_loop().create_task(run(Peer(reader, writer)))
        server.tasks.add(task)
        task.add_done_callback(server.tasks.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, limit=limit)
    port = listening.sockets[0].getsockname()[1]
    server = Server(port, scheme="https" if tls else "http", host=host)
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(server.tasks):
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        await asyncio.sleep(0)
    if failures:
        raise failures[0]


def answering(*answers: bytes) -> Callable[[Server, Peer], Awaitable[None]]:
    """Gives these bytes, one after another, to the requests of a connection; the last for ever."""

    async def handle(server: Server, peer: Peer) -> None:
        for number in range(10_000):
            server.asked.append(await peer.request())
            await peer.send(answers[min(number, len(answers) - 1)])

    return handle


def answer(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """An answer with a content-length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*pieces: bytes, trailer: bytes = b"", headers: Iterable[str] = ()) -> bytes:
    """An answer in chunks."""
    lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers, "", ""]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return "\r\n".join(lines).encode() + chunks + b"0\r\n" + trailer + b"\r\n"
