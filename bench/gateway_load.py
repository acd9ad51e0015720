"""The load on a gateway: many connections, at a cost that leaves the processor to what is measured.

A process of its own, for `bench.gateway`. Reads a JSON job a line from standard input and prints
its findings as a line. Requests are bytes that are made once; of the answers no more is read than
where they end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import re
import sys
import time
from collections.abc import Callable
from typing import Literal, cast

import uvloop

WITHIN_S = 120.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
_GOOD, _BLANK, _LAST_CHUNK, _LINE = b"HTTP/1.1 200", b"\r\n\r\n", b"0\r\n\r\n", b"data: "
# Stands for so many bytes of padding.
PADDING = "@"


@dataclasses.dataclass(frozen=True)
class Ask:
    """One request, which is made again and again. `body` is padded to `size` bytes."""

    port: int
    path: str
    headers: dict[str, str]
    body: str
    size: int = 1024

    def rendered(self) -> bytes:
        missing = self.size - len(self.body.encode()) + len(PADDING)
        body = self.body.replace(PADDING, "A" * missing).encode()
        headers = {"host": f"127.0.0.1:{self.port}", "content-length": str(len(body))}
        headers |= {"content-type": "application/json", **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be done.

    "loop": each of the connections asks again as soon as it is answered, for so many seconds.
    "pace": all `asks` in turn, `connections` requests a second each, for so many seconds.
    "hold": each connection asks once and stays open until the next job, which is "release".
    """

    kind: Literal["loop", "pace", "hold", "release"]
    asks: list[Ask] = dataclasses.field(default_factory=list)
    connections: int = 0
    seconds: float = 0.0


@dataclasses.dataclass
class Findings:
    """What was seen; times in milliseconds, by the place of the ask in the job.

    `first_ms` is from the request to the first line of a stream, `took_ms` to the answer's end.
    """

    took_s: float = 0.0
    requests: int = 0
    lines: int = 0
    first_ms: list[list[float]] = dataclasses.field(default_factory=list)
    took_ms: list[list[float]] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)


class Client(asyncio.Protocol):
    """A connection that asks when it is told to."""

    __slots__ = (
        "_is_streaming", "_received", "_request", "_transport", "began", "done", "findings", "kind"
    )  # fmt: skip

    def __init__(
        self, request: bytes, kind: int, findings: Findings, done: Callable[[Client], None]
    ) -> None:
        self._request = request
        # Of the answer, as long as its end or first line has not come.
        self._received = b""
        self._is_streaming = False
        self.kind = kind
        self.findings = findings
        self.done = done
        # Of the request; 0 when none is under way.
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no subclass.
        self._transport = cast(asyncio.Transport, transport)

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def ask(self) -> None:
        self.began = time.perf_counter()
        self._transport.write(self._request)

    def close(self) -> None:
        self.began = 0.0
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.began:
            self._fail(b"the connection was closed: " + self._received)

    def data_received(self, data: bytes) -> None:
        if not self._is_streaming:
            data = self._received + data
            self._received = data
            head = data.find(_BLANK)
            if head < 0:
                return
            if not data.startswith(_GOOD):
                self._fail(data)
                return
            if found := _LENGTH.search(data, 0, head):
                if len(data) - head - len(_BLANK) >= int(found[1]):
                    self._finish()
                return
            if data.find(_LINE, head) < 0 and not data.endswith(_LAST_CHUNK):
                return
            self.findings.first_ms[self.kind].append((time.perf_counter() - self.began) * 1000)
            self._is_streaming = True
        self.findings.lines += data.count(_LINE)
        if data.endswith(_LAST_CHUNK):
            self._finish()

    def _finish(self) -> None:
        self.findings.took_ms[self.kind].append((time.perf_counter() - self.began) * 1000)
        self.findings.requests += 1
        self._received, self._is_streaming, self.began = b"", False, 0.0
        self.done(self)

    def _fail(self, answer: bytes) -> None:
        self.findings.failures.append(answer[:500].decode("latin-1"))
        self._received, self._is_streaming, self.began = b"", False, 0.0
        self._transport.abort()
        self.done(self)


class Load:
    """Does one job after another."""

    def __init__(self) -> None:
        self._held: list[Client] = []

    async def do(self, job: Job) -> Findings:
        findings = Findings(
            first_ms=[[] for _ in job.asks],
            took_ms=[[] for _ in job.asks],
        )
        began = time.perf_counter()
        async with asyncio.timeout(job.seconds + WITHIN_S):
            match job.kind:
                case "loop":
                    await self._loop(job, findings)
                case "pace":
                    await self._pace(job, findings)
                case "hold":
                    await self._hold(job, findings)
                case "release":
                    for client in self._held:
                        client.close()
                    self._held.clear()
        findings.took_s = time.perf_counter() - began
        return findings

    async def _loop(self, job: Job, findings: Findings) -> None:
        loop = asyncio.get_running_loop()
        until = time.perf_counter() + job.seconds
        ended = loop.create_future()
        left = job.connections

        def again(client: Client) -> None:
            nonlocal left
            if time.perf_counter() < until and not findings.failures:
                client.ask()
                return
            client.close()
            left -= 1
            if not left:
                ended.set_result(None)

        clients = [
            await _connect(
                job.asks[number % len(job.asks)], number % len(job.asks), findings, again
            )
            for number in range(job.connections)
        ]
        for client in clients:
            client.ask()
        await ended

    async def _pace(self, job: Job, findings: Findings) -> None:
        """Requests go out by the clock, whether the ones before are answered or not."""
        idle: list[list[Client]] = [[] for _ in job.asks]

        def rest(client: Client) -> None:
            idle[client.kind].append(client)

        step_s = 1 / (job.connections * len(job.asks))
        count = int(job.seconds / step_s)
        began = time.perf_counter()
        for number in range(count):
            kind = number % len(job.asks)
            await asyncio.sleep(began + number * step_s - time.perf_counter())
            # Servers close what was idle for a while.
            idle[kind] = [client for client in idle[kind] if client.is_open]
            if not idle[kind]:
                idle[kind].append(await _connect(job.asks[kind], kind, findings, rest))
            idle[kind].pop().ask()
        while findings.requests + len(findings.failures) < count:
            await asyncio.sleep(0.01)
        for client in (each for clients in idle for each in clients):
            client.close()

    async def _hold(self, job: Job, findings: Findings) -> None:
        """Until every stream has begun."""

        def ended(client: Client) -> None:
            findings.failures.append("a stream ended by itself")

        for _ in range(job.connections):
            client = await _connect(job.asks[0], 0, findings, ended)
            client.ask()
            self._held.append(client)
        while len(findings.first_ms[0]) < job.connections and not findings.failures:
            await asyncio.sleep(0.01)


async def _connect(
    ask: Ask, kind: int, findings: Findings, done: Callable[[Client], None]
) -> Client:
    request = _rendered(ask)
    _transport, client = await asyncio.get_running_loop().create_connection(
        lambda: Client(request, kind, findings, done), "127.0.0.1", ask.port
    )
    return client


_requests: dict[str, bytes] = {}


def _rendered(ask: Ask) -> bytes:
    """The request's bytes; the same ones for every connection."""
    key = repr(ask)
    if key not in _requests:
        if len(_requests) > 2:
            _requests.clear()
        _requests[key] = ask.rendered()
    return _requests[key]


def _job(line: str) -> Job:
    fields = json.loads(line)
    return Job(**{**fields, "asks": [Ask(**ask) for ask in fields["asks"]]})


async def main() -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    load = Load()
    # A collection of the load's own garbage would look like a delay of what is measured.
    gc.freeze()
    gc.disable()
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        findings = await load.do(_job(line))
        print(json.dumps(dataclasses.asdict(findings)), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
