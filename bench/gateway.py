"""What the gateway adds to its upstream, and what it costs, beside two other gateways.

    make bench BENCH=gateway         or    python -m bench.gateway --seconds 4

A mock upstream, the load and the product are processes of their own, all in one run. With two
processors or more the product's web process has one for itself, and everything else shares another:
only then are requests a second those of one processor. Postgres, Redis and the workers of the
product are among "everything else". The key has limits, which are far, and every request is
metered. Others who use the machine make every figure worse but the processor time, so "µs" is what
to compare; ratios come from things that were run in turn within seconds. LiteLLM's proxy and
Portkey's gateway take part where `make bench-peers` has installed them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from bench.gateway_load import Ask, Findings, Job
from bench.gateway_peers import Peer, installed_peers
from bench.process import usage_of
from bench.product import Product, running_product
from bench.programs import ROOT, running
from bench.voice import machine, percentile

CONNECTIONS = 32
STREAMS, IDLE_STREAMS = 200, 1000
LARGE_BYTES, LARGE_AT_ONCE = 50_000_000, 4
ROUNDS = 3

CHAT, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/messages", "/v1/embeddings"
_CONTENT = '{"role":"user","content":"@"}'
BODIES = {
    CHAT: '{"model":"%s","messages":[' + _CONTENT + '],"temperature":0.7,"max_tokens":100%s}',
    MESSAGES: '{"model":"%s","max_tokens":100,"messages":[' + _CONTENT + "]%s}",
    EMBEDDINGS: '{"model":"%s","input":"@","encoding_format":"base64"%s}',
}
_PICTURE = (
    '{"model":"%s","messages":[{"role":"user","content":[{"type":"image_url","image_url":'
    '{"url":"data:image/png;base64,@"}}]}]%s}'
)
OPENAI, ANTHROPIC, VECTORS = "bench-openai", "bench-anthropic", "bench-vectors"
# What is measured in a closed loop: the client's path, the model's name at the gateway.
KINDS: dict[str, tuple[str, str]] = {
    "chat completions": (CHAT, OPENAI),
    "messages": (MESSAGES, ANTHROPIC),
    "embeddings": (EMBEDDINGS, VECTORS),
    "messages over chat completions": (MESSAGES, OPENAI),
    "chat completions over messages": (CHAT, ANTHROPIC),
}


def ask(
    port: int, path: str, model: str, *, key: str = "none", more: str = "", **values: int
) -> Ask:
    """A request of 1 KB, unless `size` says otherwise."""
    return Ask(
        port, path, {"authorization": f"Bearer {key}"}, BODIES[path] % (model, more), **values
    )


# --- The processes --------------------------------------------------------------------------------


class Load:
    """The running load."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, job: Job) -> Findings:
        """Has a job done. Raises RuntimeError when a request failed."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError("the load ended")
        findings = Findings(**json.loads(line))
        if findings.failures:
            raise RuntimeError(f"{len(findings.failures)} failed: {findings.failures[0]}")
        return findings


@contextlib.contextmanager
def running_load() -> Iterator[Load]:
    """Starts the load and stops it again."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.gateway_load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield Load(process)
        finally:
            process.terminate()


def pin(process: psutil.Process, processor: int | None) -> None:
    """Gives all threads of the process, and of its children, this processor only."""
    if processor is None:
        return
    for each in (process, *process.children(recursive=True)):
        for thread in each.threads():
            os.sched_setaffinity(thread.id, {processor})


def processors() -> tuple[int | None, int | None]:
    """One for what is measured and one for everything else; None where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (None, None)


def stats_of(port: int) -> dict[str, int]:
    """What the upstream has seen since the last time."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=10) as answer:
        return dict(json.load(answer))


# --- What is measured -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Rate:
    """How many requests a second, what each took of the process, and how long one waited."""

    a_second: float
    processor_us: float
    p50_ms: float

    def __str__(self) -> str:
        cost = f"{self.processor_us:,.0f} µs" if self.processor_us else "-"
        return f"{self.a_second:,.0f}/s | {cost}"


@dataclasses.dataclass(frozen=True)
class Contender:
    """Something that answers: the upstream itself, the gateway or a peer."""

    name: str
    port: int
    process: psutil.Process | None


def closed_loop(load: Load, contender: Contender, asks: Ask, seconds: float) -> Rate:
    """All connections ask as fast as they are answered."""
    job = Job("loop", [asks], CONNECTIONS, seconds)
    if contender.process is None:
        found, cpu_s = load.do(job), 0.0
    else:
        with usage_of(contender.process) as usage:
            found = load.do(job)
        cpu_s = usage().cpu_s
    return Rate(
        found.requests / found.took_s,
        cpu_s * 1e6 / found.requests,
        statistics.median(found.took_ms[0]),
    )


def best_of(rates: Sequence[Rate]) -> Rate:
    """The cheapest round and the fastest: others on the machine only make both worse."""
    return Rate(
        max(each.a_second for each in rates),
        min(each.processor_us for each in rates),
        min(each.p50_ms for each in rates),
    )


def added_ms(load: Load, direct: Ask, through: Ask, seconds: float) -> tuple[float, float]:
    """What p50 and p99 are longer by, at 50 requests a second to each of both in turn."""
    found = load.do(Job("pace", [direct, through], 50, seconds))
    without, with_it = found.took_ms
    return tuple(percentile(with_it, p) - percentile(without, p) for p in (50, 99))  # type: ignore[return-value]  # two


@dataclasses.dataclass(frozen=True)
class Streams:
    """Many paced streams at once."""

    added_p50_ms: float
    added_p99_ms: float
    lines_a_second: float
    direct_lines_a_second: float
    line_us: float
    rss_mb: float


def streams(load: Load, direct: Ask, contender: Contender, through: Ask, seconds: float) -> Streams:
    """All begin in the same moment; each is followed by another."""
    alone = load.do(Job("loop", [direct], STREAMS, seconds))
    assert contender.process is not None
    with usage_of(contender.process) as usage:
        found = load.do(Job("loop", [through], STREAMS, seconds))
    p50, p99 = (
        percentile(found.first_ms[0], p) - percentile(alone.first_ms[0], p) for p in (50, 99)
    )
    return Streams(
        added_p50_ms=p50,
        added_p99_ms=p99,
        lines_a_second=found.lines / found.took_s,
        direct_lines_a_second=alone.lines / alone.took_s,
        line_us=usage().cpu_s * 1e6 / found.lines,
        rss_mb=usage().rss_mb,
    )


def memory_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def peak_mb(process: psutil.Process, work: Callable[[], object]) -> float:
    """The most memory that the process had meanwhile, as the kernel noted it."""
    folder = Path(f"/proc/{process.pid}")
    # Begins the noting anew.
    (folder / "clear_refs").write_text("5", encoding="ascii")
    work()
    status = (folder / "status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# --- The run --------------------------------------------------------------------------------------


class Bench:
    """A running product with models at the upstream, and a key whose limits are far."""

    def __init__(self, product: Product, load: Load, upstream_port: int) -> None:
        self.web = product.web
        self._load = load
        self._upstream_port = upstream_port
        self._port = int(product.base_url.rpartition(":")[2])
        self._direct = Contender("direct", upstream_port, None)
        self.gateway = Contender("gateway", self._port, product.web)
        made = product.post(
            "/api-keys", name="bench", scopes=["gateway"], requests_per_minute=1_000_000
        )
        self._key = made["key"]
        self._upstream = f"http://127.0.0.1:{upstream_port}/v1"
        row = {"base_url": self._upstream, "api_key": "bench", "accepts_images": True}
        for name in (OPENAI, "paced", "idle"):
            model = "bench" if name == OPENAI else name
            compatible = {**row, "vendor": "openai_compatible", "type": "text"}
            product.post("/llm", name=name, model_name=model, **compatible)
        product.post(
            "/llm", name=ANTHROPIC, type="text", model_name="bench", **row, vendor="anthropic"
        )
        product.post(
            "/llm",
            name=VECTORS,
            type="embedding",
            model_name="bench",
            dimensions=56,
            base_url=self._upstream,
            api_key="bench",
            vendor="openai_compatible",
        )

    def through(self, path: str, model: str, more: str = "") -> Ask:
        """A request to the gateway."""
        return ask(self._port, path, model, key=self._key, more=more)

    def straight(self, path: str, model: str = "bench", more: str = "") -> Ask:
        """The same to the upstream itself."""
        return ask(self._upstream_port, path, model, more=more)

    def rates(self, peers: Sequence[Peer], seconds: float) -> dict[str, dict[str, Rate]]:
        """Each kind of request by each contender, in rounds. Asserts that connections are kept."""
        found: dict[str, dict[str, list[Rate]]] = {}
        for round_number in range(ROUNDS + 1):
            for kind, (path, model) in KINDS.items():
                runs = {"direct": (self._direct, self.straight(path))} if model != kind else {}
                runs["gateway"] = (self.gateway, self.through(path, model))
                if kind == "chat completions":
                    for peer in peers:
                        one = Contender(peer.name, peer.port, psutil.Process(peer.pid))
                        asks = ask(peer.port, CHAT, "bench", key=peer.key)
                        asks = dataclasses.replace(asks, headers={**asks.headers, **peer.headers})
                        runs[peer.name] = (one, asks)
                for name, (contender, asks) in runs.items():
                    stats_of(self._upstream_port)
                    took = seconds if round_number else seconds / 4
                    rate = closed_loop(self._load, contender, asks, took)
                    if round_number:
                        found.setdefault(kind, {}).setdefault(name, []).append(rate)
                        if name == "gateway":
                            self._check_reuse(stats_of(self._upstream_port))
        return {
            kind: {name: best_of(rates) for name, rates in by_name.items()}
            for kind, by_name in found.items()
        }

    def _check_reuse(self, stats: Mapping[str, int]) -> None:
        # One is the question for these figures.
        opened = stats["opened"] - 1
        assert opened <= CONNECTIONS, f"{opened} connections for {stats['answered']} requests"
        self.opened, self.answered = opened, stats["answered"]

    def added(self, seconds: float) -> tuple[float, float]:
        return added_ms(
            self._load, self.straight(CHAT), self.through(CHAT, OPENAI), seconds=seconds
        )

    def streams(self, seconds: float) -> Streams:
        more = ',"stream":true'
        return streams(
            self._load,
            self.straight(CHAT, "paced", more),
            self.gateway,
            self.through(CHAT, "paced", more),
            seconds,
        )

    def idle_mb(self) -> float:
        """The process's memory while many streams are open and silent."""
        asks = self.through(CHAT, "idle", ',"stream":true')
        self._load.do(Job("hold", [asks], IDLE_STREAMS))
        found = memory_mb(self.web)
        self._load.do(Job("release"))
        return found

    def large_mb(self) -> float:
        """The most memory with bodies of the largest size, some at once, again and again."""
        headers = {"authorization": f"Bearer {self._key}"}
        asks = Ask(self._port, CHAT, headers, _PICTURE % (OPENAI, ""), LARGE_BYTES)
        job = Job("loop", [asks], LARGE_AT_ONCE, seconds=5)
        return peak_mb(self.web, lambda: self._load.do(job))


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print()
    for line in (headings, ["---"] * len(headings), *rows):
        print(f"| {' | '.join(line)} |")


def _print_rates(rates: Mapping[str, Mapping[str, Rate]], peers: Sequence[Peer]) -> None:
    passed = rates["chat completions"]["gateway"]
    _print_table(
        ["32 connections, one process", "requests", "processor", "direct", "× passed through"],
        [
            [
                kind,
                *str(by_name["gateway"]).split(" | "),
                f"{by_name['direct'].a_second:,.0f}/s",
                f"{by_name['gateway'].processor_us / passed.processor_us:.2f}",
            ]
            for kind, by_name in rates.items()
        ],
    )
    if not peers:
        print("\nNo peers: `make bench-peers` installs them.")
        return
    _print_table(
        ["chat completions", "requests", "processor", "gateway's requests", "processor"],
        [
            [
                peer.name,
                *str(theirs := rates["chat completions"][peer.name]).split(" | "),
                f"× {passed.a_second / theirs.a_second:.1f}",
                f"÷ {theirs.processor_us / passed.processor_us:.1f}",
            ]
            for peer in peers
        ],
    )


def run(seconds: float, *, with_peers: bool) -> None:
    """Measures and prints."""
    ours, others = processors()
    if others is not None:
        os.sched_setaffinity(0, {others})
    upstream_command = [sys.executable, "-m", "bench.gateway_upstream"]
    with (
        running(upstream_command, until="ready") as upstream,
        running_product() as product,
        running_load() as load,
        contextlib.ExitStack() as stack,
    ):
        port = int(upstream.ready_line.split()[1])
        peers = [
            stack.enter_context(peer) for peer in (installed_peers(port) if with_peers else ())
        ]
        for process in (product.web, *(psutil.Process(peer.pid) for peer in peers)):
            pin(process, ours)
        print(f"machine: {machine()}", flush=True)
        where = "a processor of its own" if ours is not None else "no processor of its own"
        print(f"web process: {where}; everything else on another", flush=True)
        bench = Bench(product, load, port)
        fresh_mb = memory_mb(product.web)
        rates = bench.rates(peers, seconds)
        _print_rates(rates, peers)
        p50, p99 = bench.added(seconds * 5)
        paced = bench.streams(seconds * 2)
        idle_mb = bench.idle_mb()
        time.sleep(1)
        large_mb = bench.large_mb()
    best = rates["chat completions"]["gateway"]
    _print_table(
        ["", "measured", "target"],
        [
            ["50 requests a second: added p50", f"{p50:.2f} ms", "0.6 ms"],
            ["50 requests a second: added p99", f"{p99:.2f} ms", "5 ms"],
            ["32 connections: requests a second", f"{best.a_second:,.0f}", "12,300"],
            ["processor a request passed through", f"{best.processor_us:.0f} µs", "80 µs"],
            [f"{STREAMS} streams: first piece, added p50", f"{paced.added_p50_ms:.1f} ms", "15 ms"],
            [f"{STREAMS} streams: first piece, added p99", f"{paced.added_p99_ms:.1f} ms", "-"],
            [
                f"{STREAMS} streams: lines a second",
                f"{paced.lines_a_second:,.0f} of {paced.direct_lines_a_second:,.0f}",
                "9,000",
            ],
            [f"{STREAMS} streams: processor a line", f"{paced.line_us:.0f} µs", "25 µs"],
            [f"{STREAMS} streams: memory", _above(paced.rss_mb, fresh_mb), "120 MB"],
            [f"{IDLE_STREAMS} idle streams: memory", _above(idle_mb, fresh_mb), "250 MB"],
            [
                f"{LARGE_AT_ONCE} bodies of 50 MB at once: peak",
                _above(large_mb, fresh_mb),
                "600 MB",
            ],
            ["connections to the upstream", f"{bench.opened} for {bench.answered:,}", "reused"],
        ],
    )
    print(f"\nload average at the end: {os.getloadavg()[0]:.1f}")


def _above(measured_mb: float, fresh_mb: float) -> str:
    return f"{measured_mb:.0f} MB ({fresh_mb:.0f} at the start)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each closed loop")
    parser.add_argument("--no-peers", action="store_true", help="leave them out")
    options = parser.parse_args()
    run(options.seconds, with_peers=not options.no_peers)


if __name__ == "__main__":
    main()
