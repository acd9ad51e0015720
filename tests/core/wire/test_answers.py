"""Whatever shape an answer has, and however it is cut, its head and body arrive as they are."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ResponseTooLarge
from core.wire import Wire, WireError
from core.wire.connection import Connection
from core.wire.response import Response
from core.wire.types import Timeouts
from tests.core.wire.servers import Peer, Server, answer, answering, chunked, serving

EXTENDED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b'5;name="a;b";x\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n0\r\nX-Sum: 12\r\nX-More: y\r\n\r\n'
)
INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
)  # fmt: skip
# Each is a complete answer after which the connection can be used again, with its body.
SHAPES = {
    "length": (answer(b"hello, world"), b"hello, world"),
    "empty": (answer(), b""),
    "chunks": (chunked(b"hello", b", ", b"world"), b"hello, world"),
    "no chunk": (chunked(), b""),
    "extensions and trailers": (EXTENDED, b"hello, world"),
    "interim": (INTERIM + answer(b"hello"), b"hello"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: x\r\n\r\n", b""),
    "binary": (answer(bytes(range(256)) * 3), bytes(range(256)) * 3),
}


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("shape", SHAPES)
async def test_it_reads_every_shape_however_it_is_cut(client: Wire, shape: str, size: int) -> None:
    data, body = SHAPES[shape]

    async def handle(server: Server, peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*(data[at : at + size] for at in range(0, len(data), size)))

    async with serving(handle) as server:
        for _time in range(2):
            async with await client.send("GET", server.origin, "/", headers=()) as response:
                assert b"".join([piece async for piece in response]) == body
        assert response.status in {200, 204, 304}
        assert server.connections == 1
    assert client.stats.reused == 1


class Pipe(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False

    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return 0


class Keeper:
    """Counts what is given back."""

    def __init__(self) -> None:
        self.kept = 0

    def released(self, connection: Connection) -> None:
        self.kept += 1

    def lost(self, connection: Connection) -> None:
        pass


def test_no_cut_changes_an_answer() -> None:
    loop = asyncio.new_event_loop()

    @given(shape=st.sampled_from(sorted(SHAPES)), data=st.data())
    def check(shape: str, data: st.DataObject) -> None:
        raw, body = SHAPES[shape]
        cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1))))
        edges = [0, *cuts, len(raw)]

        async def read() -> bytes:
            keeper = Keeper()
            connection = Connection(keeper, loop)
            connection.connection_made(Pipe())
            asking = loop.create_task(
                connection.exchange([b"x"], is_head=False, timeouts=Timeouts())
            )
            await asyncio.sleep(0)
            for start, end in itertools.pairwise(edges):
                connection.data_received(raw[start:end])
            response: Response = await asking
            assert keeper.kept == 1
            connection.abort()
            return await response.read(10_000)

        assert loop.run_until_complete(read()) == body

    try:
        check()
    finally:
        loop.close()


async def test_it_reads_a_body_until_the_connection_ends(client: Wire) -> None:
    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhel", b"lo")

    async with serving(handle) as server:
        for _time in range(2):
            response = await client.send("GET", server.origin, "/", headers=())
            assert await response.read(100) == b"hello"
        assert server.connections == 2


async def test_it_takes_no_body_of_an_answer_to_head(client: Wire) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
    async with serving(answering(head, answer(b"next"))) as server:
        response = await client.send("HEAD", server.origin, "/", headers=())
        assert response.header(b"content-length") == b"12"
        assert await response.read(100) == b""
        response = await client.send("GET", server.origin, "/", headers=())
        assert await response.read(100) == b"next"
        assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        answer(b"hello", "Connection: close"),
        answer(b"hello").replace(b"HTTP/1.1", b"HTTP/1.0"),
        answer(b"hello") + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        answer(b"hello") + b"rubbish",
    ],
)
async def test_it_keeps_no_connection_that_ends_or_says_too_much(client: Wire, data: bytes) -> None:
    async with serving(answering(data)) as server:
        for _time in range(2):
            response = await client.send("GET", server.origin, "/", headers=())
            assert await response.read(100) == b"hello"
        assert server.connections == 2
    assert client.stats.repeated == 0


async def test_it_keeps_a_connection_of_an_old_server_that_says_so(client: Wire) -> None:
    old = answer(b"hello", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with serving(answering(old)) as server:
        for _time in range(2):
            response = await client.send("GET", server.origin, "/", headers=())
            assert await response.read(100) == b"hello"
        assert server.connections == 1


async def test_it_gives_headers_in_order_and_in_lower_case(client: Wire) -> None:
    data = answer(b"", "X-Two: 2", "Set-Cookie: a", "SET-COOKIE: b", "X-Latin: caf\xe9")
    async with serving(answering(data)) as server:
        response = await client.send("GET", server.origin, "/", headers=())
    assert [name for name, _value in response.headers] == [
        b"content-length", b"x-two", b"set-cookie", b"set-cookie", b"x-latin",
    ]  # fmt: skip
    assert response.header(b"set-cookie") == b"a"
    assert response.header(b"x-none") is None


async def test_it_decompresses_nothing(client: Wire) -> None:
    data = answer(b"\x1f\x8b raw", "Content-Encoding: gzip")
    async with serving(answering(data)) as server:
        response = await client.send("GET", server.origin, "/", headers=())
        assert response.header(b"content-encoding") == b"gzip"
        assert await response.read(100) == b"\x1f\x8b raw"


async def test_it_gives_a_read_as_one_piece_and_at_once(client: Wire) -> None:
    read = asyncio.Event()

    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        head, first, rest = chunked(b"a", b"b", b"c").partition(b"1\r\na\r\n1\r\nb\r\n")
        await peer.send(head + first)
        await read.wait()
        await peer.send(rest)

    async with serving(handle) as server:
        async with await client.send("GET", server.origin, "/", headers=()) as response:
            assert await anext(response) == b"ab"
            read.set()
            assert [piece async for piece in response] == [b"c"]


async def test_it_reads_no_more_than_the_limit(client: Wire) -> None:
    async with serving(answering(answer(b"x" * 1000))) as server:
        response = await client.send("GET", server.origin, "/", headers=())
        assert len(await response.read(1000)) == 1000
        response = await client.send("GET", server.origin, "/", headers=())
        with pytest.raises(ResponseTooLarge):
            await response.read(999)


RUBBISH = {
    "no http": b"hello\r\n\r\n",
    "http/2": b"HTTP/2 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\n\r\n"
    ),
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "another protocol": (
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    ),
    "large head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 201 + b"\r\n",
    "endless interim": b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n" * 4000,
}  # fmt: skip


@pytest.mark.parametrize("what", RUBBISH)
async def test_it_refuses_rubbish_in_place_of_a_head(client: Wire, what: str) -> None:
    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(RUBBISH[what])
        await peer.until_closed()

    async with serving(handle) as server:
        with pytest.raises(WireError) as failed:
            await client.send("GET", server.origin, "/", headers=())
    assert (failed.value.stage, failed.value.is_timeout) == ("head", False)


@pytest.mark.parametrize(
    "rest", [b"zz\r\n", b"1\r\nxx\r\n", b"1;" + b"e" * 70_000, b"0\r\nX: " + b"t" * 70_000]
)
async def test_it_refuses_rubbish_in_place_of_a_chunk(client: Wire, rest: bytes) -> None:
    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(chunked(b"hello").removesuffix(b"0\r\n\r\n"), rest)
        await peer.until_closed()

    async with serving(handle) as server:
        response = await client.send("GET", server.origin, "/", headers=())
        assert (await anext(response)).startswith(b"hello")
        with pytest.raises(WireError) as failed:
            await response.read(100)
    assert failed.value.stage == "body"
