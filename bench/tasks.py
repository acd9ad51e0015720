"""How fast background tasks are accepted, begin, tell of themselves and stop; what they leave.

    make bench BENCH=tasks        or      python -m bench.tasks --users 100 --runs 2000

Starts the product with one web process and one worker process for tasks, and a scripted vendor. One
user after another sends a message and waits for the first event of its task ("to 202", "first
event"). Then all at once send one and, when all are accepted, poll it twice a second, while the
vendor streams; each checks that it got every event once and in order. What the web process takes of
a processor is told apart for messages and for polls. Some tasks are stopped while the vendor
streams: until it sees its connection closed. At last many short tasks come and go, and what the
worker has grown by since the first of them is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import httpx
import psutil

from bench.product import Product, running_product
from bench.programs import ROOT, running
from bench.users import Users, make_users
from bench.voice import machine, percentile
from bench.watchers import ACCEPTED, Connection, Findings, Job

POLLS_PER_S = 2.0
TO_202_MS, FIRST_EVENT_MS, EVENTS_A_SECOND, TO_CLOSED_MS = 50, 150, 500, 1000
WARM_UP_RUNS = 300
_WORD = "word "


@dataclasses.dataclass(frozen=True)
class Taken:
    """Seconds of a processor under load: the worker's, and the web's for messages and for polls."""

    worker_s: float
    messages_s: float
    polls_s: float


@dataclasses.dataclass(frozen=True)
class Result:
    """The figures of one measurement; times in milliseconds."""

    begun: Findings
    load: Findings
    taken: Taken
    to_closed: list[float]
    growth_mb: float | None

    @property
    def failures(self) -> list[str]:
        return self.begun.failures + self.load.failures

    def lines(self) -> Iterator[str]:
        """What is printed."""
        yield f"POST to 202             {_spread(self.begun.to_accepted)}  (p95 < {TO_202_MS})"
        first_event = _spread(self.begun.to_first_event)
        yield f"202 to first event      {first_event}  (p50 < {FIRST_EVENT_MS})"
        rate = self.load.events / self.load.took_s
        yield (
            f"events a second         {rate:.0f} for {self.load.took_s:.0f} s, "
            f"of {self.load.tasks} tasks at once, "
            f"{self.load.chunks / self.load.took_s:.0f} of text  (> {EVENTS_A_SECOND})"
        )
        yield f"  a poll then           {_spread(self.load.poll)}"
        yield f"  POST to 202 then      {_spread(self.load.to_accepted)}"
        for name, cpu_s, count in (
            ("worker, an event", self.taken.worker_s, self.load.events),
            ("web, a message", self.taken.messages_s, self.load.tasks),
            ("web, a poll", self.taken.polls_s, len(self.load.poll)),
        ):
            each_ms = cpu_s / count * 1000
            yield f"  {name:<20}  {cpu_s:.1f} s of a processor, {each_ms:.2f} ms each"
        yield f"cancel to closed stream {_spread(self.to_closed)}  (< {TO_CLOSED_MS})"
        if self.growth_mb is not None:
            yield f"the worker grew by      {self.growth_mb:+.1f} MB"
        yield f"failures                {len(self.failures)}"
        yield from (f"  {failure}" for failure in self.failures[:5])


class Vendor:
    """The scripted vendor, in a process of its own."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._origin = base_url.removesuffix("/v1")

    def behave(self, *, words: int, first_ms: float, word_ms: float) -> str:
        """From now on it says so many words; what it says."""
        reply = _WORD * words
        behaviour = {"reply": reply, "llm_first_ms": first_ms, "llm_token_ms": word_ms}
        script = {"behaviour": behaviour}
        httpx.post(f"{self._origin}/script", json=script, timeout=10).raise_for_status()
        return reply

    def cancelled(self) -> int:
        """Streams that were closed before their end, so far."""
        stats = httpx.get(f"{self._origin}/stats", timeout=10).json()
        return int(stats["chat"]["cancelled"])


class Bench:
    """A running product and its users."""

    def __init__(self, product: Product, vendor: Vendor, users: Users) -> None:
        self._product, self._vendor, self._users = product, vendor, users
        self._worker = _part(product, "io@")

    def begun(self, count: int) -> Findings:
        """One task after another, on an idle product."""
        expected = self._vendor.behave(words=3, first_ms=0, word_ms=0)
        return self._watch(expected, users=count, is_one_after_the_other=True)

    def load(self, *, words: int, word_ms: float) -> tuple[Findings, Taken]:
        """All users at once, polling; and what worker and web took of the processor."""
        expected = self._vendor.behave(words=words, first_ms=100, word_ms=word_ms)
        worker, web = Clock(self._worker), Clock(self._product.web)
        messages_s: list[float] = []
        found = self._watch(
            expected,
            at_accepted=lambda: messages_s.append(web.lap_s()),
            polls_per_s=POLLS_PER_S,
        )
        return found, Taken(worker.lap_s(), messages_s[0], web.lap_s())

    def to_closed(self, count: int) -> list[float]:
        """From the request to stop a task until the vendor sees the end of its connection."""
        self._vendor.behave(words=2000, first_ms=0, word_ms=20)
        return [asyncio.run(self._stopped(key)) for key in self._users.keys[:count]]

    def growth_mb(self, runs: int) -> float:
        """How much memory so many tasks leave behind, when others have been before."""
        expected = self._vendor.behave(words=20, first_ms=0, word_ms=0)
        self._many(expected, WARM_UP_RUNS)
        before = _rss_mb(self._worker)
        self._many(expected, runs)
        return _rss_mb(self._worker) - before

    def _many(self, expected: str, runs: int) -> None:
        users = min(20, len(self._users.keys))
        found = self._watch(expected, users=users, rounds=runs // users)
        if found.failures:
            raise RuntimeError(f"{len(found.failures)} failures: {found.failures[:3]}")

    async def _stopped(self, key: str) -> float:
        connection = Connection(self._product.base_url, key)
        message = {"message": "Go on.", "model_key": self._users.model_id, "run_mode": "fast"}
        status, sent = await connection.request("POST", "/messages", message)
        assert status == 202, sent
        task_id, offset, has_text = sent["task_id"], 0, False
        while not has_text:
            _, read = await connection.request("GET", f"/tasks/{task_id}?from={offset}&wait=20")
            offset = read["data"]["next_offset"]
            has_text = any(each["type"] == "text_chunk" for each in read["data"]["events"])
        cancelled = self._vendor.cancelled()
        asked_at = time.perf_counter()
        await connection.request("POST", f"/tasks/{task_id}/cancel")
        while self._vendor.cancelled() == cancelled:
            await asyncio.sleep(0.005)
        connection.close()
        return (time.perf_counter() - asked_at) * 1000

    def _watch(
        self,
        expected: str,
        *,
        users: int | None = None,
        at_accepted: Callable[[], None] = lambda: None,
        **options: object,
    ) -> Findings:
        job = Job(
            self._product.base_url,
            self._users.keys[:users],
            self._users.model_id,
            expected,
            **options,  # type: ignore[arg-type]  # fields of the job
        )
        command = [sys.executable, "-m", "bench.watchers"]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                if line.strip() != ACCEPTED:
                    return Findings(**json.loads(line))
                at_accepted()
        raise RuntimeError("the users ended without a word")


class Clock:
    """The time of a processor that a process takes."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._last_s = _cpu_s(process)

    def lap_s(self) -> float:
        """Since the last lap."""
        now_s = _cpu_s(self._process)
        lap_s, self._last_s = now_s - self._last_s, now_s
        return lap_s


def _part(product: Product, word: str) -> psutil.Process:
    supervisor = product.web.parent()
    assert supervisor is not None
    for child in supervisor.children(recursive=True):
        if any(word in argument for argument in child.cmdline()):
            return child
    raise RuntimeError(f"the product has no process with {word}")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _rss_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"p50 {percentile(values, 50):.0f} ms, p95 {percentile(values, 95):.0f} ms"


def run(*, users: int, words: int, word_ms: float, stops: int, runs: int) -> Result:
    """Measures and prints."""
    vendor_command = [sys.executable, "-m", "providers.fakes"]
    # All users' tasks at once in one worker process.
    capacity = {"RUN_CAPACITY": str(users)}
    with running(vendor_command, until="ready") as fakes, running_product(capacity) as product:
        vendor = Vendor(fakes.ready_line.split()[1])
        bench = Bench(product, vendor, make_users(product.data, users, vendor.base_url))
        print(f"machine: {machine()}", flush=True)
        bench.begun(users)  # warms up; and gives each conversation its title
        begun = bench.begun(users)
        load, taken = bench.load(words=words, word_ms=word_ms)
        to_closed = bench.to_closed(stops)
        growth_mb = bench.growth_mb(runs) if runs else None
        result = Result(begun, load, taken, to_closed, growth_mb)
    print("\n".join(result.lines()))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=100, help="who send messages at once")
    parser.add_argument("--words", type=int, default=200, help="of each answer under load")
    parser.add_argument("--word-ms", type=float, default=100, help="between two of them")
    parser.add_argument("--stops", type=int, default=20, help="tasks that are stopped")
    parser.add_argument("--runs", type=int, default=2000, help="short tasks that come and go")
    options = parser.parse_args()
    run(
        users=options.users,
        words=options.words,
        word_ms=options.word_ms,
        stops=options.stops,
        runs=options.runs,
    )


if __name__ == "__main__":
    main()
