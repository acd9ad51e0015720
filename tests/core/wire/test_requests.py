"""What arrives at the server is what was asked for, and nothing that a value brought along."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from core.errors import InvalidRequest
from core.wire import Origin, Timeouts, Wire, WireError, parse_origin
from tests.core.wire.servers import Peer, Server, answer, answering, serving

MEGABYTE = 1024 * 1024


async def test_it_sends_method_path_headers_and_body(client: Wire) -> None:
    async with serving(answering(answer(b"ok"))) as server:
        origin = parse_origin(f"http://127.0.0.1:{server.port}/v1/")
        await client.send(
            "POST",
            origin,
            "/chat?x=1",
            headers=[(b"Authorization", b"Bearer key"), (b"content-type", b"application/json")],
            body=[b'{"a":', memoryview(b"1"), b"}"],
        )
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/v1/chat?x=1", b'{"a":1}')
    assert asked.headers == {
        "host": f"127.0.0.1:{server.port}",
        "Authorization": "Bearer key",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "content-length": "7",
    }


async def test_it_says_how_long_a_body_is_only_where_there_may_be_one(client: Wire) -> None:
    async with serving(answering(answer(b"ok"))) as server:
        for method in ("GET", "DELETE", "POST", "PUT"):
            await (await client.send(method, server.origin, "/", headers=())).read(10)
    assert [asked.headers.get("content-length") for asked in server.asked] == [None, None, "0", "0"]


async def test_it_leaves_the_encoding_to_who_names_one(client: Wire) -> None:
    async with serving(answering(answer(b"ok"))) as server:
        await client.send("GET", server.origin, "/", headers=[(b"Accept-Encoding", b"gzip")])
    assert server.asked[0].headers["Accept-Encoding"] == "gzip"
    assert "accept-encoding" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/\r\nx: y", []),
        ("GET", "/ HTTP/1.1\r\nx: y\r\nz: /", []),
        ("GET", "/a b", []),
        ("GET", "/\u4f60", []),
        ("GET", "/\ud800", []),
        ("GET", "//\x00", []),
        ("GET", "x", []),
        ("GET\r\n", "/", []),
        ("get", "/", []),
        ("GET", "/", [(b"x", b"a\r\ny: z")]),
        ("GET", "/", [(b"x", b"a\ny: z")]),
        ("GET", "/", [(b"x", b"a\r\n\r\nGET / HTTP/1.1")]),
        ("GET", "/", [(b"x", b"a\x00")]),
        ("GET", "/", [(b"x y", b"a")]),
        ("GET", "/", [(b"x: y\r\nz", b"a")]),
        ("GET", "/", [(b"", b"a")]),
        ("GET", "/", [(b"Host", b"elsewhere")]),
        ("GET", "/", [(b"content-length", b"1")]),
        ("GET", "/", [(b"Transfer-Encoding", b"chunked")]),
        ("GET", "/", [(b"connection", b"close")]),
        ("GET", "/", [(b"upgrade", b"h2c")]),
    ],
)
async def test_it_sends_nothing_that_would_be_another_request(
    client: Wire, method: str, path: str, headers: list[tuple[bytes, bytes]]
) -> None:
    async with serving(answering(answer(b"ok"))) as server:
        with pytest.raises(WireError) as failed:
            await client.send(method, server.origin, path, headers=headers)
        assert server.connections == 0
        await client.send("GET", server.origin, "/", headers=[(b"x", b"a: \xe9\t~")])
        assert server.connections == 1
    assert failed.value.stage == "send"


@pytest.mark.parametrize(
    "body",
    [
        [bytes(10)] * 1000,
        [b"[", memoryview(bytes(range(256)) * 4096 * 20), b"]"],
        [memoryview(bytes(70_000)), memoryview(bytes(70_000))],
        [b"x" * 60_000, b"y" * 60_000, b"", b"z"],
    ],
)
async def test_large_bodies_arrive_whole(client: Wire, body: Sequence[bytes | memoryview]) -> None:
    async with serving(answering(answer(b"ok"))) as server:
        for _time in range(2):
            response = await client.send("POST", server.origin, "/", headers=(), body=body)
            assert await response.read(10) == b"ok"
    assert [asked.body == b"".join(body) for asked in server.asked] == [True, True]
    assert client.stats.reused == 1


async def test_a_slow_server_holds_up_the_sender(client: Wire) -> None:
    """Of a large request little is in memory; the rest is written as the server takes it."""
    go_on = asyncio.Event()
    body = memoryview(bytes(20 * MEGABYTE))

    async def handle(server: Server, peer: Peer) -> None:
        await peer.head()
        await go_on.wait()
        await peer.reader.readexactly(len(body))
        await peer.send(answer(b"ok"))

    async with serving(handle) as server:
        sending = asyncio.ensure_future(
            client.send("POST", server.origin, "/", headers=(), body=[body])
        )
        while not (written := _unsent(client)):
            await asyncio.sleep(0)
        assert written < MEGABYTE
        assert not sending.done()
        go_on.set()
        response = await sending
        assert await response.read(10) == b"ok"


def _unsent(client: Wire) -> int:
    """Bytes that wait in the transport, once it has asked to be spared."""
    for pool in client._pools.values():
        for connection in pool._connections:
            if connection._is_write_paused and connection._transport is not None:
                return connection._transport.get_write_buffer_size()
    return 0


async def test_a_server_that_takes_nothing_is_given_up(client: Wire) -> None:
    async def handle(server: Server, peer: Peer) -> None:
        await peer.head()
        await asyncio.Event().wait()

    async with serving(handle) as server:
        with pytest.raises(WireError) as failed:
            await client.send(
                "POST",
                server.origin,
                "/",
                headers=(),
                body=[memoryview(bytes(20 * MEGABYTE))],
                timeouts=Timeouts(write_s=0.05),
            )
    assert (failed.value.stage, failed.value.is_timeout) == ("send", True)


async def test_an_answer_may_come_before_the_request_is_written(client: Wire) -> None:
    """The rest is not sent, and the connection not used again."""

    async def handle(server: Server, peer: Peer) -> None:
        _method, path, _headers = await peer.head()
        if path == "/":
            await peer.send(answer(b"too large", status="413 Payload Too Large"))
            await peer.until_closed()
        await peer.send(answer(b"ok"))

    async with serving(handle) as server:
        response = await client.send(
            "POST", server.origin, "/", headers=(), body=[memoryview(bytes(20 * MEGABYTE))]
        )
        assert (response.status, await response.read(100)) == (413, b"too large")
        await client.send("GET", server.origin, "/next", headers=())
        assert server.connections == 2


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("https://api.example/v1/", Origin("https", "api.example", 443, "/v1"), "api.example"),
        ("http://api.example", Origin("http", "api.example", 80), "api.example"),
        ("http://[::1]:8000/a/b", Origin("http", "::1", 8000, "/a/b"), "[::1]:8000"),
        ("HTTPS://API.Example:80", Origin("https", "api.example", 80), "api.example:80"),
        ("http://b\u00fccher.example", Origin("http", "xn--bcher-kva.example", 80),
         "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_it_reads_base_urls(url: str, origin: Origin, authority: str) -> None:
    assert parse_origin(url) == origin
    assert parse_origin(url).authority == authority


@pytest.mark.parametrize(
    "url",
    ["", "api.example", "ftp://api.example", "http://", "http:///v1", "http://u:p@api.example",
     "http://api.example?x=1", "http://api.example/#x", "http://a b/", "http://api.example:70000",
     "http://api.example\\@other", "http://api.example:0", "http://[::1", "http://a\r\nb"],
)  # fmt: skip
def test_it_refuses_what_is_no_base_url(url: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_origin(url)
