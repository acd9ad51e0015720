"""Figures of the gateway for Prometheus, at a few microseconds a request.

A request is noted in plain numbers of its event loop; once a second they are added to the library's
own, each write of which takes longer than all that. With PROMETHEUS_MULTIPROC_DIR (the supervisor
sets it before anything is imported) every process counts in files of its own there, and whoever is
asked sums all of them up; without it a process tells of itself. Labels are bounded: names that are
no model's become "unknown", and no more are told apart than an operator could look at.
"""

from __future__ import annotations

import asyncio
import collections
import os
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import psutil
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from core.loops import PerLoop
from gateway.budgets import BUDGET_EXCEEDED
from gateway.types import Endpoint, Metered

CONTENT_TYPE = CONTENT_TYPE_LATEST
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
UNKNOWN, OTHER, ASSISTANT = "unknown", "other", "assistant"
# Of models, and of rows behind them.
MOST_NAMES = 500
_WRITTEN_EVERY_S = 1.0
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

_registry = CollectorRegistry()
_requests = Counter(
    "gateway_requests",
    "Requests that were let in, by how they ended; clients that left are among 4xx.",
    ["endpoint", "model", "status"],
    registry=_registry,
)
_tokens = Counter(
    "gateway_tokens", "Tokens read and written.", ["model", "direction"], registry=_registry
)


class _Times(Histogram):
    """A histogram that takes many observations at once, which the library has no word for."""

    def add(self, total: float, counts: Sequence[int]) -> None:
        """`counts` are of the buckets between two bounds, the last of what is above all."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


_latency = _Times(
    "gateway_request_seconds",
    "From a request's head to the end of its answer.",
    ["endpoint"],
    buckets=_SECONDS,
    registry=_registry,
)
_first_byte = _Times(
    "gateway_first_byte_seconds",
    "From a request's head to the first byte of its answer.",
    ["endpoint"],
    buckets=_SECONDS,
    registry=_registry,
)
_in_flight = Gauge(
    "gateway_requests_in_flight",
    "Requests that are being answered.",
    registry=_registry,
    multiprocess_mode="livesum",
)
_failures = Counter(
    "gateway_upstream_failures",
    "Upstreams that did not answer as a service.",
    ["target"],
    registry=_registry,
)
_lookups = Counter(
    "gateway_cache_lookups",
    "Requests whose answer was looked for among those that are kept.",
    ["result"],
    registry=_registry,
)
_limited = Counter(
    "gateway_limited_requests",
    "Requests that a key's limits or budget refused.",
    ["limit"],
    registry=_registry,
)
_refused = Counter(
    "gateway_refused_requests",
    "Requests that were refused before their body was read, and are not among those let in.",
    ["status"],
    registry=_registry,
)


class _Observed:
    """Times of one endpoint since the last writing."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.counts = [0] * (len(_SECONDS) + 1)

    def take(self, seconds: float) -> None:
        self.total += seconds
        self.counts[bisect_left(_SECONDS, seconds)] += 1


class Tally:
    """What one event loop noted since it last wrote to the library's counters."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._clear()

    def _clear(self) -> None:
        self._in_flight = 0
        self._counts: collections.Counter[tuple[Counter, tuple[str, ...]]] = collections.Counter()
        self._requests: dict[tuple[Endpoint, str, int], list[int]] = {}
        self._latencies: dict[Endpoint, _Observed] = {}
        self._first_bytes: dict[Endpoint, _Observed] = {}

    def began(self) -> None:
        """A request was let in."""
        self._in_flight += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITTEN_EVERY_S, self.write)

    def ended(self, metered: Metered, model: str) -> None:
        """It was answered, one way or another; `model` is a name that is known to be one."""
        self._in_flight -= 1
        endpoint = metered.endpoint
        kind = endpoint, model, metered.status // 100
        sums = self._requests.get(kind)
        if sums is None:
            sums = self._requests[kind] = [0, 0, 0]
        sums[0] += 1
        sums[1] += metered.input_tokens
        sums[2] += metered.output_tokens
        observed = self._latencies.get(endpoint)
        if observed is None:
            observed = self._latencies[endpoint] = _Observed()
        observed.take(metered.latency_ms / 1000)
        if metered.first_byte_ms is not None:
            observed = self._first_bytes.get(endpoint)
            if observed is None:
                observed = self._first_bytes[endpoint] = _Observed()
            observed.take(metered.first_byte_ms / 1000)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITTEN_EVERY_S, self.write)

    def count(self, counter: Counter, *labels: str) -> None:
        """Something that is rarer than requests happened once."""
        self._counts[counter, labels] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITTEN_EVERY_S, self.write)

    def write(self) -> None:
        """Adds what was noted to the library's counters."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._in_flight:
            _in_flight.inc(self._in_flight)
        for (endpoint, name, status), (requests, read, written) in self._requests.items():
            model = _bounded(name, _models)
            _requests.labels(endpoint, model, f"{status}xx").inc(requests)
            _tokens.labels(model, "input").inc(read)
            _tokens.labels(model, "output").inc(written)
        for histogram, times in ((_latency, self._latencies), (_first_byte, self._first_bytes)):
            for endpoint, observed in times.items():
                histogram.labels(endpoint).add(observed.total, observed.counts)
        for (counter, labels), times_seen in self._counts.items():
            counter.labels(*labels).inc(times_seen)
        self._clear()

    async def close(self) -> None:
        """Writes the last of it."""
        self.write()


_models: set[str] = set()
_targets: set[str] = set()


def _bounded(name: str, known: set[str]) -> str:
    if name not in known:
        if len(known) >= MOST_NAMES:
            return OTHER
        known.add(name)
    return name


_TALLIES: PerLoop[Tally] = PerLoop(Tally, Tally.close)


def tally() -> Tally:
    """The running loop's."""
    return _TALLIES.get()


def upstream_failed(row_id: str) -> None:
    """A row of the catalogue did not answer as a service."""
    tally().count(_failures, _bounded(row_id, _targets))


def looked_up(*, is_hit: bool) -> None:
    """An answer was looked for among those that are kept."""
    tally().count(_lookups, "hit" if is_hit else "miss")


def limited(code: str) -> None:
    """A key was refused; `code` is that of the error, which tells a budget from a rate."""
    tally().count(_limited, "budget" if code == BUDGET_EXCEEDED else "rate")


def refused(status: int) -> None:
    """A request was not let in: for its path, method, size, key or limits."""
    tally().count(_refused, str(status))


def exposition() -> bytes:
    """All written figures in Prometheus' text format, of all processes where they share a folder.

    Reads files, and takes milliseconds.
    """
    folder = os.environ.get(DIRECTORY)
    if not folder:
        return generate_latest(_registry)
    _forget_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # it has no types
    return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """What processes that were killed had in flight is in flight no more."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)
