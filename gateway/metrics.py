"""Figures of the gateway for Prometheus, counted where requests end, in about a microsecond each.

With PROMETHEUS_MULTIPROC_DIR (the supervisor sets it before anything is imported) every process
counts in files of its own there, and whoever is asked sums all of them up; without it a process
tells of itself. Labels are bounded: names that are no model's become "unknown", and no more
distinct ones are told apart than an operator could look at.
"""

from __future__ import annotations

import os
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

from gateway.types import Endpoint, Metered

CONTENT_TYPE = CONTENT_TYPE_LATEST
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
UNKNOWN, OTHER, ASSISTANT = "unknown", "other", "assistant"
# Of models, and of rows behind them.
MOST_NAMES = 500
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

_registry = CollectorRegistry()
_requests = Counter(
    "gateway_requests",
    "Requests that were let in, by how they ended; 4 of 499 are clients that left.",
    ["endpoint", "model", "status"],
    registry=_registry,
)
_tokens = Counter(
    "gateway_tokens", "Tokens read and written.", ["model", "direction"], registry=_registry
)
_latency = Histogram(
    "gateway_request_seconds",
    "From a request's head to the end of its answer.",
    ["endpoint"],
    buckets=_SECONDS,
    registry=_registry,
)
_first_byte = Histogram(
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


class _Children:
    """The children of one model's counters, found once."""

    __slots__ = ("read", "requests", "written")

    def __init__(self, model: str) -> None:
        self.requests: dict[tuple[Endpoint, int], Counter] = {}
        self.read = _tokens.labels(model, "input")
        self.written = _tokens.labels(model, "output")


_models: dict[str, _Children] = {}
_targets: dict[str, Counter] = {}
_latencies: dict[Endpoint, tuple[Histogram, Histogram]] = {}


def began() -> None:
    """A request was let in."""
    _in_flight.inc()


def ended(metered: Metered, model: str) -> None:
    """It was answered, one way or another; `model` is a name that is known to be one."""
    _in_flight.dec()
    children = _models.get(model)
    if children is None:
        model = model if len(_models) < MOST_NAMES else OTHER
        children = _models.get(model) or _models.setdefault(model, _Children(model))
    kind = metered.endpoint, metered.status // 100
    counter = children.requests.get(kind)
    if counter is None:
        counter = _requests.labels(metered.endpoint, model, f"{kind[1]}xx")
        children.requests[kind] = counter
    counter.inc()
    if metered.input_tokens:
        children.read.inc(metered.input_tokens)
    if metered.output_tokens:
        children.written.inc(metered.output_tokens)
    times = _latencies.get(metered.endpoint)
    if times is None:
        times = _latency.labels(metered.endpoint), _first_byte.labels(metered.endpoint)
        _latencies[metered.endpoint] = times
    times[0].observe(metered.latency_ms / 1000)
    if metered.first_byte_ms is not None:
        times[1].observe(metered.first_byte_ms / 1000)


def upstream_failed(row_id: str) -> None:
    """A row of the catalogue did not answer as a service."""
    counter = _targets.get(row_id)
    if counter is None:
        row_id = row_id if len(_targets) < MOST_NAMES else OTHER
        counter = _targets.setdefault(row_id, _failures.labels(row_id))
    counter.inc()


def looked_up(*, is_hit: bool) -> None:
    """An answer was looked for among those that are kept."""
    _lookups.labels("hit" if is_hit else "miss").inc()


def limited(code: str | None) -> None:
    """A key was refused; `code` is that of the error, which tells a budget from a rate."""
    _limited.labels("budget" if code == "budget_exceeded" else "rate").inc()


def exposition() -> bytes:
    """All figures in Prometheus' text format, of all processes where they share a folder."""
    folder = os.environ.get(DIRECTORY)
    if not folder:
        return generate_latest(_registry)
    _forget_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)
    return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """What processes that were killed had in flight is in flight no more."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)
