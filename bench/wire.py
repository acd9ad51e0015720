"""What a request and a streamed piece take of the processor, with `core.wire` and with httpx.

    make bench BENCH=wire        or    python -m bench.wire --requests 20000 --concurrent 32

The server is a process of its own: it answers a POST of 1 KB with 0.4 KB, or with a stream of
pieces that are each written by themselves. Both clients get the same load in turn, on uvloop, in
rounds; the cheapest round counts, because others on the machine only make a round dearer. "µs" is
processor time of this process; for streams of what is above one with a single piece, by the piece.
"sockets" is the floor: bytes written and read on uvloop, with nothing of HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import cast

# No database is asked and no Redis, but the settings want to know where they are.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
os.environ.setdefault("SECRET_KEY", "bench-" * 10)

import django
import httpx
import uvloop
from django.apps import apps
from django.conf import settings

if not apps.ready:
    django.setup()

from bench.programs import running
from bench.voice import machine
from core.wire import Origin, wire

BODY = b'{"model":"m","messages":[' + b" " * 1000 + b"]}"
ANSWER = b"x" * 400
PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
PIECES = 50
GAP_S = 0.002
HEADERS = [
    (b"authorization", b"Bearer sk-0123456789"),
    (b"content-type", b"application/json"),
    (b"accept", b"text/event-stream"),
    (b"user-agent", b"bench"),
]
ROUNDS = 3

# Asks once on a path, and gives the size of the body.
Ask = Callable[[str], Awaitable[int]]


# --- The server ----------------------------------------------------------------------------------


class Vendor(asyncio.Protocol):
    """Answers what `BODY` asks for, with as little work as can be."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no subclass.
        self._transport = cast(asyncio.Transport, transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < len(BODY):
            return
        self._received = b""
        path = head.split(b" ", 2)[1]
        if path == b"/plain":
            self._write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            self._write(b"content-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
            return
        self._write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        self._write(b"transfer-encoding: chunked\r\n\r\n")
        self._stream(int(path.rpartition(b"/")[2]))

    def _write(self, data: bytes) -> None:
        self._transport.write(data)

    def _stream(self, left: int) -> None:
        if not left:
            self._write(b"0\r\n\r\n")
            return
        self._write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        asyncio.get_running_loop().call_later(GAP_S, self._stream, left - 1)


async def serve() -> None:
    """Until it is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Vendor, "127.0.0.1", 0, backlog=1000)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


# --- The clients ---------------------------------------------------------------------------------


def by_wire(port: int) -> Ask:
    """A request as the gateway makes it."""
    origin = Origin("http", "127.0.0.1", port)
    client = wire()

    async def ask(path: str) -> int:
        response = await client.send("POST", origin, path, headers=HEADERS, body=[BODY])
        size = 0
        async for piece in response:
            size += len(piece)
        return size

    return ask


def by_httpx(port: int, client: httpx.AsyncClient) -> Ask:
    """The same with httpx."""
    headers = [(name.decode(), value.decode()) for name, value in HEADERS]

    async def ask(path: str) -> int:
        size = 0
        async with client.stream(
            "POST", f"http://127.0.0.1:{port}{path}", headers=headers, content=BODY
        ) as response:
            async for piece in response.aiter_raw():
                size += len(piece)
        return size

    return ask


class Floor(asyncio.Protocol):
    """Writes bytes and waits for how the answer ends."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        if self.done is not None and data.endswith((ANSWER, b"0\r\n\r\n")):
            self.done.set_result(None)
            self.done = None


Idle = list[tuple[asyncio.Transport, Floor]]


def by_sockets(port: int, idle: Idle) -> Ask:
    """What a request takes that is none."""
    loop = asyncio.get_running_loop()

    async def ask(path: str) -> int:
        if idle:
            transport, protocol = idle.pop()
        else:
            transport, protocol = await loop.create_connection(Floor, "127.0.0.1", port)
        done = protocol.done = loop.create_future()
        transport.write(f"POST {path} HTTP/1.1\r\n\r\n".encode() + BODY)
        await done
        idle.append((transport, protocol))
        return len(ANSWER) if path == "/plain" else int(path.rpartition("/")[2]) * len(PIECE)

    return ask


# --- Measuring -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one request took, in microseconds, and how many there were in a second."""

    processor_us: float
    a_second: float


async def round_of(ask: Ask, path: str, *, size: int, requests: int, concurrent: int) -> Cost:
    """Many requests, some at once."""
    left = requests

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            assert await ask(path) == size

    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrent):
            group.create_task(work())
    spent_s = time.process_time() - processor
    return Cost(spent_s * 1e6 / requests, requests / (time.perf_counter() - wall))


async def latency_us(ask: Ask, requests: int) -> float:
    """The middle of single requests, on the clock."""
    times = []
    for _ in range(requests):
        start = time.perf_counter()
        await ask("/plain")
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


@dataclasses.dataclass(frozen=True)
class Result:
    """The figures of one client."""

    request: Cost
    piece_us: float
    latency_us: float


async def measure_one(ask: Ask, *, requests: int, streams: int, concurrent: int) -> Result:
    """One round of everything."""
    plain = await round_of(
        ask, "/plain", size=len(ANSWER), requests=requests, concurrent=concurrent
    )
    one = await round_of(ask, "/stream/1", size=len(PIECE), requests=streams, concurrent=concurrent)
    many = await round_of(
        ask, f"/stream/{PIECES}", size=PIECES * len(PIECE), requests=streams, concurrent=concurrent
    )
    piece_us = (many.processor_us - one.processor_us) / (PIECES - 1)
    return Result(plain, piece_us, await latency_us(ask, min(requests, 500)))


async def measure(port: int, *, requests: int, streams: int, concurrent: int) -> dict[str, Result]:
    """All clients, alternately."""
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        # httpx is so slow that a tenth of the requests will do.
        idle: Idle = []
        clients = {
            "sockets": (by_sockets(port, idle), 1),
            "core.wire": (by_wire(port), 1),
            "httpx": (by_httpx(port, client), 10),
        }
        found: dict[str, list[Result]] = {name: [] for name in clients}
        for _ in range(ROUNDS):
            for name, (ask, share) in clients.items():
                result = await measure_one(
                    ask,
                    requests=max(requests // share, concurrent),
                    streams=max(streams // share, concurrent),
                    concurrent=concurrent,
                )
                found[name].append(result)
        for transport, _protocol in idle:
            transport.abort()
    return {name: _cheapest(results) for name, results in found.items()}


def _cheapest(results: list[Result]) -> Result:
    return Result(
        min((each.request for each in results), key=lambda cost: cost.processor_us),
        min(each.piece_us for each in results),
        min(each.latency_us for each in results),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=20_000, help="small requests a round")
    parser.add_argument("--streams", type=int, default=1000, help="streams a round")
    parser.add_argument("--concurrent", type=int, default=32, help="requests at once")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    settings.OUTBOUND_RULES_SOURCE = ""
    print(f"machine: {machine()}", flush=True)
    with running([sys.executable, "-m", "bench.wire", "--serve"], until="ready") as vendor:
        port = int(vendor.ready_line.split()[1])
        results = uvloop.run(
            measure(
                port,
                requests=options.requests,
                streams=options.streams,
                concurrent=options.concurrent,
            )
        )
    print(f"{'':>10}  µs a request   requests/s   µs a piece   one alone, on the clock")
    for name, result in results.items():
        print(
            f"{name:>10}  {result.request.processor_us:12.1f}  {result.request.a_second:11.0f}"
            f"  {result.piece_us:11.2f}  {result.latency_us:9.0f} µs"
        )


if __name__ == "__main__":
    main()
