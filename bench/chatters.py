"""The load: N clients who chat over real sockets, and some who ask the vendor directly.

A process of its own. Reads one JSON job from standard input and prints its findings. Clients speak
plain HTTP/1.1 on bare sockets: a client library would cost more than what is measured.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import json
import random
import sys
import time
from urllib.parse import urlsplit

import uvloop

# What follows a piece of the answer, of the product's and of the vendor's stream.
PRODUCTS_PIECE = b'"type":"response_chunk"'
VENDORS_PIECE = b'"delta": {"content"'
# Of a chunked body.
_END = b"0\r\n\r\n"
ENDS_WITHIN_S = 60.0
SPREAD_S = 8.0


@dataclasses.dataclass(frozen=True)
class Job:
    """What the clients do. Each asks in its own dialog; `direct` many more ask the vendor."""

    base_url: str
    key: str
    dialogs: list[str]
    vendor_url: str
    direct: int
    pieces: int


@dataclasses.dataclass
class Findings:
    """What all clients saw; times in milliseconds, from the request to the first piece."""

    failures: list[str] = dataclasses.field(default_factory=list)
    first_piece: list[float] = dataclasses.field(default_factory=list)
    direct_first_piece: list[float] = dataclasses.field(default_factory=list)
    gap_p99: list[float] = dataclasses.field(default_factory=list)
    load_lag: list[float] = dataclasses.field(default_factory=list)


class StreamFailed(Exception):
    """The answer is not what it should be; the message says how."""


async def open_stream(
    url: str, key: str, body: dict[str, object]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends the request; the answer is to be read."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)
    content = json.dumps(body).encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode() + content)
    return reader, writer


async def _read(reader: asyncio.StreamReader, piece: bytes) -> tuple[list[float], bytes]:
    """When the pieces came, and all that came."""
    clock = time.perf_counter
    arrived: list[float] = []
    received = bytearray()
    while data := await reader.read(2**16):
        now = clock()
        arrived += [now] * data.count(piece)
        received += data
        if received.endswith(_END):
            break
    return arrived, bytes(received)


async def _ask(
    url: str, key: str, body: dict[str, object], *, piece: bytes, pieces: int
) -> tuple[float, list[float]]:
    """Milliseconds to the first piece, and those between pieces."""
    began = time.perf_counter()
    reader, writer = await open_stream(url, key, body)
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            arrived, received = await _read(reader, piece)
    finally:
        writer.close()
    if not received.startswith(b"HTTP/1.1 200") or len(arrived) != pieces:
        raise StreamFailed(f"{len(arrived)} of {pieces} pieces: {received[:300]!r}")
    gaps = [(later - at) * 1000 for at, later in itertools.pairwise(arrived)]
    return (arrived[0] - began) * 1000, gaps


async def _chat(job: Job, dialog_id: str, delay_s: float, findings: Findings) -> None:
    began = time.perf_counter()
    await asyncio.sleep(delay_s)
    findings.load_lag.append((time.perf_counter() - began - delay_s) * 1000)
    body: dict[str, object] = {"user_input": "What is new today?", "dialog_id": dialog_id}
    try:
        first, gaps = await _ask(
            f"{job.base_url}/api/v1/chat",
            job.key,
            body,
            piece=PRODUCTS_PIECE,
            pieces=job.pieces,
        )
    except (OSError, StreamFailed, TimeoutError) as error:
        findings.failures.append(str(error) or type(error).__name__)
        return
    findings.first_piece.append(first)
    findings.gap_p99.append(sorted(gaps)[len(gaps) * 99 // 100])


async def _ask_vendor(job: Job, delay_s: float, findings: Findings) -> None:
    await asyncio.sleep(delay_s)
    body: dict[str, object] = {
        "model": "bench",
        "stream": True,
        "messages": [{"role": "user", "content": "What is new today?"}],
    }
    first, _gaps = await _ask(
        f"{job.vendor_url}/chat/completions",
        "bench",
        body,
        piece=VENDORS_PIECE,
        pieces=job.pieces,
    )
    findings.direct_first_piece.append(first)


async def run(job: Job) -> Findings:
    """All clients, each at a moment of its own in the first seconds, until the last answer ends."""
    findings = Findings()
    spread = random.Random(len(job.dialogs))
    async with asyncio.TaskGroup() as clients:
        for dialog_id in job.dialogs:
            delay_s = spread.random() * SPREAD_S
            clients.create_task(_chat(job, dialog_id, delay_s, findings))
        for _ in range(job.direct):
            clients.create_task(_ask_vendor(job, spread.random() * SPREAD_S, findings))
    return findings


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    # A collection of the load's own garbage would look like a delay of the product.
    gc.freeze()
    gc.disable()
    print(json.dumps(dataclasses.asdict(uvloop.run(run(job)))), flush=True)


if __name__ == "__main__":
    main()
