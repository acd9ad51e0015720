"""How fast, how steady and how cheap the voice path is, measured from outside over real sockets.

    make bench            or    python -m bench.voice --calls 1,20,40,80 --turns 3

Starts vendors with fixed delays, the product with one web process, and a load process, each on its
own; measures, prints a table, stops everything. Voice to voice runs from the last voiced sample
that a caller sent to the first sound of the answer that it received.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from websockets.asyncio.client import connect

from bench.callers import Findings, Job
from bench.product import Product, running_product
from bench.programs import ROOT
from bench.vendors import Vendors, running_vendors

QUESTION = "What is the weather in Berlin today?"
END_OF_TURN_MS = 200
INTERRUPTION_MS = 100
WARM_UP_ROUNDS = 50
# A turn takes about this long; a run may take five times that before it is given up.
TURN_S = 10


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    calls: int
    findings: Findings
    core_per_call: float
    rss_mb: float
    streams: dict[str, int]

    def figures(self) -> list[str]:
        found = self.findings
        return [
            str(self.calls),
            _ms(found.voice_to_voice, 50),
            _ms(found.voice_to_voice, 95),
            f"{len(found.failures)} of {found.attempted}",
            _ms(found.to_silence, 95),
            f"{self.core_per_call:.4f}",
            f"{self.rss_mb:.0f} MB",
            f"{self.streams.get('llm cancelled', 0)} + {self.streams.get('tts cancelled', 0)}",
            _ms(found.send_lag, 95),
        ]


HEADINGS = [
    "calls",
    "v2v p50",
    "v2v p95",
    "failed turns",
    "silence p95",
    "core/call",
    "memory",
    "closed llm + tts",
    "load lag p95",
]


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of the values do not exceed; NaN without values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -(-len(ordered) * percent // 100) - 1)]


def measure(product: Product, vendors: Vendors, job: Job) -> Row:
    """One run of the load process, with what it cost the web process."""
    before = vendors.counts()
    with subprocess.Popen(
        [sys.executable, "-m", "bench.callers"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as load:
        try:
            assert load.stdin is not None
            assert load.stdout is not None
            load.stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
            load.stdin.flush()
            load.stdout.readline()
            began, used = time.monotonic(), _cpu_s(product.web)
            turns = job.turns + 2 * job.interruptions
            output, _ = load.communicate(timeout=60 + 5 * TURN_S * turns)
            took_s, used = time.monotonic() - began, _cpu_s(product.web) - used
        finally:
            load.kill()
    return Row(
        calls=job.calls,
        findings=Findings(**json.loads(output)),
        core_per_call=used / took_s / job.calls,
        rss_mb=_rss_mb(product.web),
        streams={name: count - before.get(name, 0) for name, count in vendors.counts().items()},
    )


async def connect_and_leave(product: Product, url: str, rounds: int) -> None:
    """That many calls, one after the other, of which nothing should be left."""
    headers = {"Authorization": f"Bearer {product.key}"}
    for _ in range(rounds):
        async with connect(url, additional_headers=headers, compression=None) as socket:
            await socket.send(json.dumps({"type": "session.start"}))
            async with asyncio.timeout(20):
                async for message in socket:
                    if isinstance(message, str) and json.loads(message)["type"] == (
                        "session.started"
                    ):
                        break
            await socket.send(bytes(640) * 5)


def make_assistant(product: Product, vendors: Vendors, prompt: str) -> str:
    """An assistant that thinks, hears and speaks through the vendors; its id."""
    row = {
        "vendor": "openai_compatible",
        "base_url": vendors.base_url,
        "api_key": "bench",
        "enabled": True,
    }
    llm = product.post("/llm", name="Bench", type="text", model_name="bench", **row)
    asr = product.post("/asr", name="Bench", language="en", model_name="bench", **row)
    voice = product.post(
        "/voices", name="Bench", language="en", model="bench", voice_key="bench", **row
    )
    assistant = product.post(
        "/assistants",
        name="Bench",
        prompt=prompt,
        language="en",
        firstTurnMode="user_first",
        llmModelId=llm["id"],
        asrModelId=asr["id"],
        voice=voice["id"],
        endOfTurnSilenceMs=END_OF_TURN_MS,
        interruptionSensitivity=INTERRUPTION_MS,
    )
    return str(assistant["id"])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _rss_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def _ms(values: Sequence[float], percent: int) -> str:
    return f"{percentile(values, percent):.0f} ms" if values else "-"


def _machine() -> str:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    cores = len(os.sched_getaffinity(0))
    memory_gb = psutil.virtual_memory().total / 2**30
    return (
        f"{model}, {cores} cores, {memory_gb:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _print_table(rows: Sequence[Row]) -> None:
    table = [HEADINGS, *[row.figures() for row in rows]]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    for line in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    for row in rows:
        stages = ", ".join(
            f"{name} {statistics.median(values):.0f}"
            for name, values in row.findings.stages.items()
        )
        print(f"{row.calls} calls, medians of the product's own measure: {stages or 'none'}")
        for failure in row.findings.failures[:5]:
            print(f"  failed: {failure}")


def run(calls: Sequence[int], turns: int, interruptions: int, rounds: int) -> list[Row]:
    """Measures and prints; the rows of the table."""
    with running_vendors() as vendors, running_product() as product:
        # Each interruption takes two turns: one to be interrupted, and the one that does it.
        long_turns = ",".join(str(turns + 1 + 2 * number) for number in range(interruptions))
        url = product.voice_url(make_assistant(product, vendors, f"Answer. long:{long_turns}"))
        speech = base64.b64encode(product.speech(QUESTION)).decode()
        floor = END_OF_TURN_MS + vendors.floor_ms
        print(f"machine: {_machine()}")
        print(f"idle web process: {_rss_mb(product.web):.0f} MB; floor of v2v: {floor} ms")
        rows: list[Row] = []
        for count in calls:
            job = Job(url, product.key, speech, count, turns, interruptions)
            rows.append(measure(product, vendors, job))
            print(f"measured {count} calls", flush=True)
        _print_table(rows)
        if rounds:
            asyncio.run(connect_and_leave(product, url, WARM_UP_ROUNDS))
            before = _rss_mb(product.web)
            asyncio.run(connect_and_leave(product, url, rounds))
            print(f"{rounds} calls that came and went: {_rss_mb(product.web) - before:+.1f} MB")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", default="1,20,40,80", help="concurrent calls, comma-separated")
    parser.add_argument("--turns", type=int, default=3, help="turns of each call")
    parser.add_argument("--interruptions", type=int, default=2, help="interrupted turns of each")
    parser.add_argument("--rounds", type=int, default=200, help="connect and disconnect rounds")
    options = parser.parse_args()
    calls = [int(text) for text in options.calls.split(",")]
    run(calls, options.turns, options.interruptions, options.rounds)


if __name__ == "__main__":
    main()
