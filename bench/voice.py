"""How fast, how steady and how cheap the voice path is, measured from outside over real sockets.

    make bench            or    python -m bench.voice --calls 1,20,40,80 --turns 3

Starts vendors with fixed delays, the product with one web process, and a load process, each on its
own; measures, prints a table, stops everything. Voice to voice runs from the last voiced sample
that a caller sent to the first sound of the answer that it received ("then": of the answers to
interruptions, while a long text is being written for every call); silence from the first voiced
sample of an interruption to the message that clears the answer. "closed" counts the vendors'
streams that ended with it, "starved" the time in which no processor was free for the web process.
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
from bench.vendors import LONG_ANSWER, SHORT_ANSWER, Vendors, running_vendors

QUESTION = "What is the weather in Berlin today?"
END_OF_TURN_MS = 200
INTERRUPTION_MS = 100
FLOOR_MS = END_OF_TURN_MS + Vendors.floor_ms
WARM_UP_ROUNDS = 50
# A turn takes half as long; more than this, and the load is ended.
TURN_WITHIN_S = 20


@dataclasses.dataclass(frozen=True)
class Run:
    """What the load process found, and what that cost the web process."""

    findings: Findings
    took_s: float
    cpu_s: float
    # How long the web process could have run, had there been a free processor.
    starved_s: float
    rss_mb: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: calls that were heard out, and calls that were interrupted."""

    calls: int
    heard_out: Run
    interrupted: Run
    cancelled: tuple[int, int]

    @property
    def failures(self) -> list[str]:
        """What went wrong, a line for each turn."""
        return self.heard_out.findings.failures + self.interrupted.findings.failures

    def figures(self) -> dict[str, str]:
        """The line, by heading."""
        runs = (self.heard_out, self.interrupted)
        attempted = sum(run.findings.attempted for run in runs)
        send_lag = [ms for run in runs for ms in run.findings.send_lag]
        took_s = sum(run.took_s for run in runs)
        waits, waits_after = (run.findings.voice_to_voice for run in runs)
        return {
            "calls": str(self.calls),
            "v2v p50": _ms(waits, 50),
            "v2v p95": _ms(waits, 95),
            "failed": f"{len(self.failures)} of {attempted}",
            "silence p95": _ms(self.interrupted.findings.to_silence, 95),
            "then v2v p95": _ms(waits_after, 95),
            "closed llm, tts": f"{self.cancelled[0]}, {self.cancelled[1]}",
            "core/call": f"{sum(run.cpu_s for run in runs) / took_s / self.calls:.4f}",
            "memory": f"{max(run.rss_mb for run in runs):.0f} MB",
            "load lag p95": _ms(send_lag, 95),
            "starved": f"{sum(run.starved_s for run in runs) / took_s:.0%}",
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[-(-len(ordered) * percent // 100) - 1]


class Bench:
    """A running product with an assistant to call."""

    def __init__(self, product: Product, vendors: Vendors) -> None:
        self._product = product
        self._vendors = vendors
        self._speech = base64.b64encode(product.speech(QUESTION)).decode()
        self._url = product.voice_url(_make_assistant(product, vendors.base_url))

    def first_turn_ms(self) -> float:
        """How long the first caller after the start waits."""
        return self._load(calls=1, turns=1).findings.voice_to_voice[0]

    def measure(self, calls: int, *, turns: int, interruptions: int) -> Row:
        """A line of the table."""
        self._vendors.answer(SHORT_ANSWER)
        heard_out = self._load(calls=calls, turns=turns)
        self._vendors.answer(LONG_ANSWER)
        before = self._vendors.cancelled()
        interrupted = self._load(calls=calls, interruptions=interruptions)
        llm, tts = self._vendors.cancelled()
        return Row(calls, heard_out, interrupted, (llm - before[0], tts - before[1]))

    def growth_mb(self, rounds: int) -> float:
        """How much memory that many calls leave behind, when as many have been before."""
        asyncio.run(self._come_and_go(WARM_UP_ROUNDS))
        before = _rss_mb(self._product.web)
        asyncio.run(self._come_and_go(rounds))
        return _rss_mb(self._product.web) - before

    def _load(self, *, calls: int, turns: int = 0, interruptions: int = 0) -> Run:
        job = Job(self._url, self._product.key, self._speech, calls, turns, interruptions)
        web = self._product.web
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
                load.stdout.readline()  # all are connected
                began, cpu_s, starved_s = time.monotonic(), _cpu_s(web), _starved_s(web)
                within_s = 60 + TURN_WITHIN_S * (turns + interruptions + 1)
                output, _ = load.communicate(timeout=within_s)
                took_s = time.monotonic() - began
            finally:
                load.kill()
        return Run(
            findings=Findings(**json.loads(output)),
            took_s=took_s,
            cpu_s=_cpu_s(web) - cpu_s,
            starved_s=_starved_s(web) - starved_s,
            rss_mb=_rss_mb(web),
        )

    async def _come_and_go(self, rounds: int) -> None:
        headers = {"Authorization": f"Bearer {self._product.key}"}
        for _ in range(rounds):
            async with (
                connect(self._url, additional_headers=headers, compression=None) as socket,
                asyncio.timeout(20),
            ):
                await socket.send(json.dumps({"type": "session.start"}))
                while json.loads(await socket.recv())["type"] != "session.started":
                    pass
                await socket.send(bytes(5 * 640))


def _make_assistant(product: Product, vendors_url: str) -> str:
    """An assistant that thinks, hears and speaks through the vendors; its id."""
    row = {"vendor": "openai_compatible", "base_url": vendors_url, "api_key": "bench"}
    llm = product.post("/llm", name="Bench", type="text", model_name="bench", **row)
    asr = product.post("/asr", name="Bench", language="en", model_name="bench", **row)
    voice = product.post(
        "/voices", name="Bench", language="en", model="bench", voice_key="bench", **row
    )
    assistant = product.post(
        "/assistants",
        name="Bench",
        prompt="Answer.",
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


def _starved_s(process: psutil.Process) -> float:
    """How long its main thread has waited for a processor; 0 where the system doesn't tell."""
    try:
        schedstat = Path(f"/proc/{process.pid}/schedstat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(schedstat.split()[1]) / 1e9


def _rss_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def _ms(values: Sequence[float], percent: int) -> str:
    return f"{percentile(values, percent):.0f} ms" if values else "-"


def machine() -> str:
    """The machine's figures."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    memory_gb = psutil.virtual_memory().total / 2**30
    return (
        f"{model}, {psutil.cpu_count()} cores, {memory_gb:.0f} GB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f}"
    )


def _print_table(rows: Sequence[Row]) -> None:
    lines = [row.figures() for row in rows]
    table = [list(lines[0]), *[list(line.values()) for line in lines]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))


def _print_details(row: Row) -> None:
    stages = ", ".join(
        f"{name} {statistics.median(values):.0f}"
        for name, values in row.heard_out.findings.stages.items()
    )
    print(f"{row.calls} calls: the product's own medians: {stages or 'none'}")
    for failure in row.failures[:5]:
        print(f"  failed: {failure}")


def run(calls: Sequence[int], *, turns: int, interruptions: int, rounds: int) -> list[Row]:
    """Measures and prints; the rows of the table."""
    with running_vendors() as vendors, running_product() as product:
        bench = Bench(product, vendors)
        print(f"machine: {machine()}")
        print(f"floor of v2v: {FLOOR_MS} ms; idle web process: {_rss_mb(product.web):.0f} MB")
        print(f"first turn after the start: {bench.first_turn_ms():.0f} ms", flush=True)
        rows: list[Row] = []
        for count in calls:
            rows.append(bench.measure(count, turns=turns, interruptions=interruptions))
            print(f"measured {count} calls", flush=True)
        _print_table(rows)
        for row in rows:
            _print_details(row)
        if rounds:
            print(f"{rounds} calls that came and went leave {bench.growth_mb(rounds):+.1f} MB")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", default="1,20,40,80", help="concurrent calls, comma-separated")
    parser.add_argument("--turns", type=int, default=3, help="turns of each call")
    parser.add_argument("--interruptions", type=int, default=2, help="interruptions of each call")
    parser.add_argument("--rounds", type=int, default=200, help="calls that come and go at once")
    options = parser.parse_args()
    run(
        [int(count) for count in options.calls.split(",")],
        turns=options.turns,
        interruptions=options.interruptions,
        rounds=options.rounds,
    )


if __name__ == "__main__":
    main()
