"""Somebody's service: a real HTTP server on loopback that answers as told and remembers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request as it arrived; `target` as on the wire, headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Reply:
    """Half of it is sent, and then nothing more (`hangs`), or the connection is cut (`breaks`)."""

    body: bytes = b'{"ok": true}'
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hangs: bool = False
    breaks: bool = False


def as_json(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value, ensure_ascii=False).encode(), status)


def moved(location: str, status: int = 302) -> Reply:
    return Reply(b"", status, headers={"Location": location})


class Service:
    """`answer` decides on each request; it may be replaced at any time."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Reply] = lambda _asked: Reply()
        self.port = 0
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[asyncio.current_task()] = writer
        try:
            while line := await reader.readline():
                method, target, _version = line.decode().split(" ", 2)
                headers = {}
                while (line := await reader.readline()).strip():
                    name, _colon, value = line.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                asked = Asked(method, target, headers, body)
                self.asked.append(asked)
                reply = self.answer(asked)
                await _send(writer, reply)
                if reply.hangs:
                    # Until the other side gives up.
                    await reader.read(1)
                if reply.hangs or reply.breaks:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.pop(asyncio.current_task(), None)
            writer.close()

    async def close(self) -> None:
        """Cuts off who is still connected."""
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._open))


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    lines = [f"HTTP/1.1 {reply.status} As told", f"Content-Length: {len(reply.body)}"]
    if reply.content_type:
        lines.append(f"Content-Type: {reply.content_type}")
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    is_whole = not (reply.breaks or reply.hangs)
    writer.write(reply.body if is_whole else reply.body[: len(reply.body) // 2])
    await writer.drain()


@asynccontextmanager
async def serving() -> AsyncIterator[Service]:
    service = Service()
    listening = await asyncio.start_server(service._serve, "127.0.0.1", 0)
    service.port = listening.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        listening.close()
        await service.close()
