"""Every way in which a request can fail is one error that says where; nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from core.wire import ConnectionLost, Response, Timeouts, Wire, WireError
from core.wire.response import BUFFERED_BYTES
from tests.core.wire.servers import Peer, Server, answer, answering, chunked, serving

MEGABYTE = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def after(*pieces: bytes, then: Callable[[Peer], object]) -> Any:
    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        done = then(peer)
        if isinstance(done, Coroutine):
            await done

    return handle


def hang_up(peer: Peer) -> None:
    peer.writer.close()


def reset(peer: Peer) -> None:
    peer.reset()


async def silence(peer: Peer) -> None:
    await peer.until_closed()


USUAL = Timeouts()


async def read(client: Wire, server: Server, timeouts: Timeouts = USUAL) -> bytes:
    response = await client.send("POST", server.origin, "/", headers=(), timeouts=timeouts)
    return await response.read(100)


@pytest.mark.parametrize("end", [hang_up, reset])
@pytest.mark.parametrize(
    ("said", "stage"),
    [
        ([], "head"),
        ([b"HTTP/1.1 200"], "head"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], "head"),
        ([HEAD], "body"),
        ([HEAD, b"12345"], "body"),
        ([CHUNKED_HEAD, b"5\r\n12345\r\n"], "body"),
        ([CHUNKED_HEAD, b"5\r\n12345\r\n0\r\n"], "body"),
    ],
)
async def test_an_answer_that_breaks_off_fails_where_it_was(
    client: Wire, said: list[bytes], stage: str, end: Callable[[Peer], None]
) -> None:
    async with serving(after(*said, then=end)) as server:
        with pytest.raises(ConnectionLost) as failed:
            await read(client, server)
        assert server.connections == 1
    assert (failed.value.stage, failed.value.is_timeout) == (stage, False)


async def test_what_came_before_the_end_can_still_be_read(client: Wire) -> None:
    async with serving(after(HEAD, b"12345", then=hang_up)) as server:
        response = await client.send("GET", server.origin, "/", headers=())
        assert await anext(response) == b"12345"
        for _time in range(2):
            with pytest.raises(ConnectionLost):
                await anext(response)


@pytest.mark.parametrize(
    ("said", "stage"),
    [([], "head"), ([b"HTTP/1.1 100 Continue\r\n\r\n"], "head"), ([HEAD, b"123"], "body"),
     ([CHUNKED_HEAD, b"1\r\n"], "body")],
)  # fmt: skip
async def test_a_silent_server_is_given_up(client: Wire, said: list[bytes], stage: str) -> None:
    async with serving(after(*said, then=silence)) as server:
        with pytest.raises(WireError) as failed:
            await read(client, server, Timeouts(head_s=0.05, idle_s=0.05))
    assert (failed.value.stage, failed.value.is_timeout) == (stage, True)


async def test_a_reader_that_takes_its_time_is_no_silence(client: Wire) -> None:
    """Only a reader that waits counts the time."""
    go_on = asyncio.Event()

    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD, b"12345")
        await go_on.wait()
        await peer.send(b"67890")

    async with serving(handle) as server:
        timeouts = Timeouts(idle_s=0.1)
        response = await client.send("GET", server.origin, "/", headers=(), timeouts=timeouts)
        assert await anext(response) == b"12345"
        # Longer than the longest silence.
        await _passed(0.3)
        go_on.set()
        assert await anext(response) == b"67890"


async def _passed(seconds: float) -> None:
    passed = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, passed.set_result, None)
    await passed


async def test_a_slow_reader_holds_up_the_server(client: Wire) -> None:
    body = bytes(20 * MEGABYTE)
    stuck = asyncio.Event()

    async def handle(server: Server, peer: Peer) -> None:
        while True:
            await peer.request()
            peer.writer.write(answer(body))
            stuck.set()
            await peer.writer.drain()

    async with serving(handle) as server:
        async with await client.send("GET", server.origin, "/", headers=()) as response:
            await stuck.wait()
            while not response._is_paused:
                await asyncio.sleep(0)
            for _turn in range(100):
                await asyncio.sleep(0)
            # One read may go beyond the bound.
            assert response._buffered <= BUFFERED_BYTES + 262_144
            assert await response.read(len(body)) == body
        again = await client.send("GET", server.origin, "/", headers=())
        await again.aclose()
        assert client.stats.reused == 1


# --- Kept connections that have died -----------------------------------------------------------


def dying_at_the_second(end: Callable[[Peer], None], *, saying: bytes = b"") -> Any:
    """Ends the first connection at its second request, which it has read."""

    async def handle(server: Server, peer: Peer) -> None:
        number = server.connections
        server.asked.append(await peer.request())
        await peer.send(answer(b"one"))
        server.asked.append(await peer.request())
        if number == 1:
            await peer.send(saying)
            end(peer)
            return
        await peer.send(answer(b"two"))

    return handle


@pytest.mark.parametrize("end", [hang_up, reset])
async def test_a_kept_connection_that_dies_unanswered_is_replaced_once(
    client: Wire, end: Callable[[Peer], None]
) -> None:
    async with serving(dying_at_the_second(end)) as server:
        assert await read(client, server) == b"one"
        assert await read(client, server) == b"one"
        assert server.connections == 2
    assert (client.stats.repeated, client.stats.opened) == (1, 2)


async def test_who_must_not_ask_twice_is_told(client: Wire) -> None:
    async with serving(dying_at_the_second(hang_up)) as server:
        assert await read(client, server) == b"one"
        with pytest.raises(ConnectionLost):
            await client.send("POST", server.origin, "/", headers=(), may_repeat=False)
        assert server.connections == 1


async def test_a_request_that_was_answered_in_part_is_not_repeated(client: Wire) -> None:
    async with serving(dying_at_the_second(hang_up, saying=b"HTTP/1.1 2")) as server:
        assert await read(client, server) == b"one"
        with pytest.raises(ConnectionLost):
            await read(client, server)
        assert server.connections == 1


async def test_a_silent_kept_connection_is_not_replaced(client: Wire) -> None:
    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"one"))
        await peer.until_closed()

    async with serving(handle) as server:
        assert await read(client, server) == b"one"
        with pytest.raises(WireError) as failed:
            await read(client, server, Timeouts(head_s=0.05))
        assert failed.value.is_timeout
        assert server.connections == 1


@pytest.mark.parametrize("last", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_a_kept_connection_that_its_server_closed_is_not_lent(
    client: Wire, last: bytes
) -> None:
    go_on = asyncio.Event()

    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"one"))
        await go_on.wait()
        await peer.send(last)
        hang_up(peer)

    async with serving(handle) as server:
        assert await read(client, server) == b"one"
        (pool,) = client._pools.values()
        assert len(pool._idle) == 1
        go_on.set()
        while not pool.is_unused:
            await asyncio.sleep(0)
        assert await read(client, server) == b"one"
    assert (client.stats.reused, client.stats.repeated, client.stats.opened) == (0, 0, 2)


# --- Leaving -----------------------------------------------------------------------------------


async def test_closing_early_reaches_the_server_and_keeps_nothing(client: Wire) -> None:
    gone = asyncio.Event()

    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED_HEAD, b"5\r\nhello\r\n")
        await peer.until_closed()
        gone.set()

    async with serving(handle) as server:
        async with await client.send("GET", server.origin, "/", headers=()) as response:
            assert await anext(response) == b"hello"
        await gone.wait()
        with pytest.raises(WireError):
            await anext(response)
        await response.aclose()


async def test_closing_late_keeps_the_connection(client: Wire) -> None:
    async with serving(answering(chunked(b"hello"))) as server:
        for _time in range(3):
            async with await client.send("GET", server.origin, "/", headers=()) as response:
                assert await anext(response) == b"hello"
                assert [piece async for piece in response] == []
        assert server.connections == 1


@pytest.mark.parametrize("stage", ["send", "head", "body"])
async def test_being_cancelled_closes_the_connection(client: Wire, stage: str) -> None:
    reached, gone = asyncio.Event(), asyncio.Event()

    async def handle(server: Server, peer: Peer) -> None:
        if stage == "send":
            await peer.head()
            reached.set()
            # Nothing more is read until the client is gone.
            await gone.wait()
            return
        await peer.request()
        if stage == "body":
            await peer.send(HEAD, b"123")
        reached.set()
        await peer.until_closed()
        gone.set()

    body = [memoryview(bytes(20 * MEGABYTE))] if stage == "send" else []

    async def ask(server: Server) -> Response:
        response = await client.send("POST", server.origin, "/", headers=(), body=body)
        await response.read(100)
        return response

    async with serving(handle) as server:
        asking = asyncio.ensure_future(ask(server))
        await reached.wait()
        for _turn in range(10):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        (pool,) = client._pools.values()
        while not pool.is_unused:
            await asyncio.sleep(0)
        if stage == "send":
            gone.set()
        await gone.wait()


async def test_closing_the_client_ends_what_is_under_way(client: Wire) -> None:
    asked = asyncio.Event()

    async def handle(server: Server, peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.until_closed()

    async with serving(handle) as server:
        asking = asyncio.ensure_future(client.send("GET", server.origin, "/", headers=()))
        await asked.wait()
        await client.close()
        with pytest.raises(WireError):
            await asking
        with pytest.raises(WireError):
            await client.send("GET", server.origin, "/", headers=())
        assert server.connections == 1
