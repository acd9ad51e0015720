"""What the chat adds to the model's own time to the first token, and what a stream costs.

    make bench BENCH=chat            or    python -m bench.chat --streams 1,50,200

Starts a vendor with fixed delays, the product with one web process, and a load process, each on its
own. Every client asks once, in a dialog of its own and at a moment of its own in the first seconds;
each answer lasts longer than that, so that in the end all are being written at once. "added" is
the time to the first piece of text over what those waited for who, in the same seconds, asked the
vendor directly (its median); "gap p99" the worst waits between two pieces, of the median client.
"closed after" runs from a client's hanging up (or from its POST /chat/stop) to the vendor's
noticing that its stream was closed.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx

from bench.chatters import PRODUCTS_PIECE, Findings, Job, open_stream
from bench.process import Usage, usage_of
from bench.product import Product, running_product
from bench.programs import ROOT, running
from bench.voice import machine, percentile

FIRST_TOKEN_MS = 200
TOKEN_MS = 100
WORDS = 120
ANSWER = " ".join(f"word{number}" for number in range(WORDS))
DIRECT_SHARE = 0.1
WARM_UP = 20
ANSWERS_WITHIN_S = 150


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    streams: int
    findings: Findings
    usage: Usage

    @property
    def added(self) -> list[float]:
        direct = statistics.median(self.findings.direct_first_piece)
        return [first - direct for first in self.findings.first_piece]

    def figures(self) -> dict[str, str]:
        """The line, by heading."""
        findings, usage = self.findings, self.usage
        return {
            "streams": str(self.streams),
            "direct p50": _ms(findings.direct_first_piece, 50),
            "added p50": _ms(self.added, 50),
            "added p95": _ms(self.added, 95),
            "gap p99": _ms(findings.gap_p99, 50),
            "failed": f"{len(findings.failures)}",
            "cpu/answer": f"{usage.cpu_s * 1000 / self.streams:.0f} ms",
            "core/stream": f"{usage.cpu_s / usage.took_s / self.streams:.4f}",
            "memory": f"{usage.rss_mb:.0f} MB",
            "load lag p95": _ms(findings.load_lag, 95),
            "starved": f"{usage.starved_s / usage.took_s:.0%}",
        }


class Vendor:
    """The running model vendor."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._stats = f"{base_url.removesuffix('/v1')}/stats"
        self._client = httpx.AsyncClient(trust_env=False)

    async def cancelled(self) -> int:
        """Streams that were closed before their end, so far."""
        stats = (await self._client.get(self._stats)).json()
        return int(stats["chat"]["cancelled"])


@contextmanager
def running_vendor() -> Iterator[str]:
    """Starts the vendor and stops it again; its base URL."""
    options = {"reply": ANSWER, "llm-first-ms": FIRST_TOKEN_MS, "llm-token-ms": TOKEN_MS}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with running([sys.executable, "-m", "providers.fakes", *arguments], until="ready") as fakes:
        yield fakes.ready_line.split()[1]


class Bench:
    """A running product with an assistant to chat with."""

    def __init__(self, product: Product, vendor_url: str) -> None:
        self._product = product
        self._vendor_url = vendor_url
        row = {"vendor": "openai_compatible", "base_url": vendor_url, "api_key": "bench"}
        llm = product.post("/llm", name="Bench", type="text", model_name="bench", **row)
        assistant = product.post(
            "/assistants", name="Bench", prompt="Answer.", language="en", llmModelId=llm["id"]
        )
        self._assistant_id = str(assistant["id"])

    def dialog(self) -> str:
        """A new dialog."""
        made = self._product.post("/dialog", name="Bench", agent_id=self._assistant_id)
        return str(made["dialog_id"])

    def measure(self, streams: int) -> Row:
        """A line of the table."""
        job = Job(
            base_url=self._product.base_url,
            key=self._product.key,
            dialogs=[self.dialog() for _ in range(streams)],
            vendor_url=self._vendor_url,
            direct=max(5, int(streams * DIRECT_SHARE)),
            pieces=WORDS,
        )
        with usage_of(self._product.web) as usage:
            load = subprocess.run(
                [sys.executable, "-m", "bench.chatters"],
                cwd=ROOT,
                input=json.dumps(dataclasses.asdict(job)) + "\n",
                stdout=subprocess.PIPE,
                text=True,
                timeout=ANSWERS_WITHIN_S,
                check=True,
            )
        return Row(streams, Findings(**json.loads(load.stdout)), usage())

    async def closed_after(self, times: int, *, by_stop: bool) -> list[float]:
        """Milliseconds from leaving, or stopping, to the end of the vendor's stream."""
        vendor = Vendor(self._vendor_url)
        return [await self._closed_after(vendor, by_stop=by_stop) for _ in range(times)]

    async def _closed_after(self, vendor: Vendor, *, by_stop: bool) -> float:
        dialog_id = await asyncio.to_thread(self.dialog)
        before = await vendor.cancelled()
        body: dict[str, object] = {"user_input": "Hello", "dialog_id": dialog_id}
        url = f"{self._product.base_url}/api/v1/chat"
        reader, writer = await open_stream(url, self._product.key, body)
        async with asyncio.timeout(20):
            await reader.readuntil(PRODUCTS_PIECE)
            began = time.perf_counter()
            if by_stop:
                await asyncio.to_thread(self._product.post, "/chat/stop", dialog_id=dialog_id)
            else:
                writer.transport.abort()
            await _until(vendor.cancelled, lambda count: count > before)
        took_ms = (time.perf_counter() - began) * 1000
        writer.close()
        return took_ms


async def _until(ask: Callable[[], Awaitable[int]], is_met: Callable[[int], bool]) -> None:
    while not is_met(await ask()):
        await asyncio.sleep(0.002)


def _ms(values: Sequence[float], percent: int) -> str:
    return f"{percentile(values, percent):.1f} ms" if values else "-"


def _print_table(rows: Sequence[Row]) -> None:
    lines = [row.figures() for row in rows]
    table = [list(lines[0]), *[list(line.values()) for line in lines]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))


def run(streams: Sequence[int], *, leaves: int) -> list[Row]:
    """Measures and prints; the rows of the table."""
    with running_vendor() as vendor_url, running_product() as product:
        bench = Bench(product, vendor_url)
        print(f"machine: {machine()}", flush=True)
        bench.measure(WARM_UP)
        rows = []
        for count in streams:
            rows.append(bench.measure(count))
            print(f"measured {count} streams", flush=True)
        _print_table(rows)
        for row in rows:
            for failure in row.findings.failures[:5]:
                print(f"  failed: {failure}")
        if leaves:
            for name, by_stop in (("client gone", False), ("stopped", True)):
                waits = asyncio.run(bench.closed_after(leaves, by_stop=by_stop))
                print(f"{name}: closed after p50 {_ms(waits, 50)}, p95 {_ms(waits, 95)}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", default="1,50,200", help="concurrent answers, comma-separated")
    parser.add_argument("--leaves", type=int, default=20, help="answers that are broken off")
    options = parser.parse_args()
    run([int(count) for count in options.streams.split(",")], leaves=options.leaves)


if __name__ == "__main__":
    main()
