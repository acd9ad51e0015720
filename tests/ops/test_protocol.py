"""What a web process writes to a client's connection, and in how many pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from config.supervisor.protocol import Protocol

LENGTH = (b"content-length", b"5")
REQUEST = "{method} / HTTP/1.1\r\nhost: test\r\n{more}\r\n"


class Transport(asyncio.Transport):
    """A client's connection that keeps what was written to it, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def writelines(self, pieces: Iterable[Any]) -> None:
        self.writes.append(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def start(status: int, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def written(
    *events: dict[str, Any],
    method: str = "GET",
    more: str = "",
    body: bytes = b"",
    breaks: bool = False,
) -> list[bytes]:
    """The writes of an application that sends these events, for one request."""
    is_done = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if more:
            await receive()
        try:
            for event in events:
                await send(event)
            if breaks:
                raise RuntimeError("The application broke.")
        finally:
            # After the server has seen to what the application left undone.
            asyncio.get_running_loop().call_soon(is_done.set)

    config = uvicorn.Config(application, interface="asgi3", lifespan="off", log_config=None)
    config.load()
    transport = Transport()
    protocol = Protocol(config, ServerState(), {}, asyncio.get_running_loop())
    protocol.connection_made(transport)
    try:
        protocol.data_received(REQUEST.format(method=method, more=more).encode())
        if body:
            await asyncio.sleep(0)
            protocol.data_received(body)
        async with asyncio.timeout(10):
            await is_done.wait()
    finally:
        protocol.connection_lost(None)
    return transport.writes


async def test_a_whole_answer_leaves_in_one_write() -> None:
    (write,) = await written(start(200, LENGTH), piece(b"hello"))
    head, _blank, body = write.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 5" in head
    assert body == b"hello"


async def test_a_body_in_pieces_follows_its_head() -> None:
    writes = await written(start(200, LENGTH), piece(b"he", more=True), piece(b"llo"))
    assert len(writes) == 2
    assert b"".join(writes).endswith(b"\r\n\r\nhello")


async def test_the_head_of_a_stream_waits_for_nothing() -> None:
    writes = await written(start(200), piece(b"one", more=True), piece(b""))
    assert writes[0].endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert writes[1:] == [b"3\r\none\r\n", b"0\r\n\r\n"]


@pytest.mark.parametrize(
    ("status", "headers", "method"),
    [
        (200, [LENGTH], "HEAD"),
        (204, [], "GET"),
        (304, [], "GET"),
        (200, [(b"content-length", b"0")], "GET"),
    ],
)
async def test_an_answer_without_a_body_is_held_back_by_nothing(
    status: int, headers: list[tuple[bytes, bytes]], method: str
) -> None:
    writes = await written(start(status, *headers), piece(b""), method=method)
    text = b"".join(writes)
    assert text.startswith(b"HTTP/1.1 %d " % status)
    assert text.endswith(b"\r\n\r\n")


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    more = "expect: 100-continue\r\ncontent-length: 3\r\n"
    writes = await written(
        start(200, LENGTH), piece(b"hello"), method="POST", more=more, body=b"abc"
    )
    assert writes[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert writes[1].endswith(b"\r\n\r\nhello")
    assert len(writes) == 2


async def test_an_application_that_breaks_before_the_body_is_an_error() -> None:
    (write,) = await written(start(200, LENGTH), breaks=True)
    assert write.startswith(b"HTTP/1.1 500 ")
    assert write.endswith(b"\r\n\r\nInternal Server Error")


async def test_an_application_that_breaks_within_the_body_is_cut_off() -> None:
    writes = await written(start(200, LENGTH), piece(b"he", more=True), breaks=True)
    assert b"".join(writes).endswith(b"\r\n\r\nhe")


async def test_an_application_that_never_sends_its_body_is_an_error() -> None:
    (write,) = await written(start(200, LENGTH))
    assert write.startswith(b"HTTP/1.1 500 ")
