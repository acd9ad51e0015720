"""Clients that ask and take nothing, or little, of their answers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from gateway import exchange
from gateway.models import UsageRecord
from providers.fakes import Behaviour, FakeUpstream, Step
from tests.gateway.conftest import PATIENCE_S, Records

pytestmark = pytest.mark.django_db(transaction=True)
HI = [{"role": "user", "content": "Hi"}]
# More than the buffers of both ends hold.
LARGE = 24 * 2**20


async def ask_and_take_nothing(address: str, key: str, body: dict[str, Any]) -> socket.socket:
    """The connection of a client that sends its request and reads no byte of the answer."""
    host, port = address.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    await asyncio.get_running_loop().sock_sendall(client, head.encode() + content)
    return client


def large_stream() -> Step:
    chunk = {"choices": [{"index": 0, "delta": {"content": "x" * 60_000}}]}
    event = f"data: {json.dumps(chunk)}\n\n"
    raw = event * (LARGE // len(event)) + "data: [DONE]\n\n"
    return Step(raw=raw, content_type="text/event-stream")


async def only_record(recorded: Records) -> UsageRecord:
    async with asyncio.timeout(PATIENCE_S):
        while not (rows := await recorded()):
            await asyncio.sleep(0.05)
    row: UsageRecord = rows[0]
    return row


@pytest.mark.parametrize("stalled_after_s", [0.2, 60.0])
async def test_who_takes_nothing_of_a_stream_is_given_up(
    address: str, alice_key: str, openai_model: str, upstream: FakeUpstream, recorded: Records,
    monkeypatch: pytest.MonkeyPatch, stalled_after_s: float,
) -> None:  # fmt: skip
    monkeypatch.setattr(exchange, "_STALLED_AFTER_S", stalled_after_s)
    upstream.script("chat", large_stream())
    asked = {"model": openai_model, "messages": HI, "stream": True}
    client = await ask_and_take_nothing(address, alice_key, asked)
    if stalled_after_s < 1:
        row = await only_record(recorded)
        assert (row.status, row.is_aborted, row.is_estimated) == (200, True, True)
        assert row.output_tokens < LARGE / 4
    else:
        # Whoever is slow is waited for: it gets all of it in the end.
        received = b""
        async with asyncio.timeout(PATIENCE_S):
            while not received.endswith(b"0\r\n\r\n"):
                piece = await asyncio.get_running_loop().sock_recv(client, 2**20)
                assert piece
                received = received[-100:] + piece
        assert not (await only_record(recorded)).is_aborted
    client.close()


async def test_answers_that_nobody_takes_let_no_more_in(
    address: str, alice_key: str, openai_model: str, client: httpx.AsyncClient,
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    flight = exchange.BytesInFlight(limit=LARGE // 2)
    monkeypatch.setattr(exchange, "_in_flight", flight)
    monkeypatch.setattr(exchange, "_STALLED_AFTER_S", 1.0)
    upstream.set_behaviour(Behaviour(reply="x" * LARGE))
    asked = {"model": openai_model, "messages": HI}
    stalled = await ask_and_take_nothing(address, alice_key, asked)
    async with asyncio.timeout(PATIENCE_S):
        while not flight.taken:
            await asyncio.sleep(0.01)
    refused = await client.post("chat/completions", json=asked)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    # When it is given up, what it held is free.
    upstream.set_behaviour(Behaviour())
    async with asyncio.timeout(PATIENCE_S):
        while flight.taken:
            await asyncio.sleep(0.05)
    assert (await client.post("chat/completions", json=asked)).status_code == 200
    stalled.close()


async def test_a_large_answer_comes_whole(
    client: httpx.AsyncClient, openai_model: str, upstream: FakeUpstream
) -> None:
    words = "".join(f"{number} " for number in range(300_000))
    upstream.set_behaviour(Behaviour(reply=words))
    answer = await client.post("chat/completions", json={"model": openai_model, "messages": HI})
    assert answer.json()["choices"][0]["message"]["content"] == words
    assert int(answer.headers["content-length"]) == len(answer.content)


class Untaken:
    """A client's connection on which the last piece of an answer waits for ever."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def receive(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def send(self, event: Any) -> None:
        if event["type"] == "http.response.body":
            if not event.get("more_body"):
                await asyncio.get_running_loop().create_future()
            self.sent.append(event["body"])


async def answer_whole(ours: exchange.Exchange) -> None:
    with ours.watched():
        await ours.json(b"x" * (exchange._PIECE_BYTES + 1))


async def answer_in_pieces(ours: exchange.Exchange) -> None:
    with ours.watched():
        await ours.write(b"x" * exchange._PIECE_BYTES)
        await ours.end_stream()


@pytest.mark.parametrize("answer", [answer_whole, answer_in_pieces])
async def test_who_does_not_take_the_last_piece_is_given_up(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[exchange.Exchange], Awaitable[None]]
) -> None:
    monkeypatch.setattr(exchange, "_STALLED_AFTER_S", 0.01)
    client: Any = Untaken()
    scope: Any = {"method": "POST", "path": "/v1/messages", "headers": []}
    ours = exchange.Exchange(scope, client.receive, client.send)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(exchange.ClientGone):
            await answer(ours)
    assert [len(piece) for piece in client.sent] == [exchange._PIECE_BYTES]
    ours.let_go()
