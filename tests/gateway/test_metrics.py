"""Figures for Prometheus: what they count, with how many labels, and who may read them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import User
from core.db import in_db
from gateway import exchange, metrics
from gateway.types import Metered
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.conftest import make_key, make_user
from tests.gateway.conftest import change_key

pytestmark = pytest.mark.django_db(transaction=True)
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Difference:
    """What was counted since it was made: other tests of this process count, too."""

    def __init__(self) -> None:
        metrics.tally().write()
        self._before = values(metrics.exposition().decode())

    def of(self, name: str, **labels: str) -> float:
        metrics.tally().write()
        key = name, frozenset(labels.items())
        now = values(metrics.exposition().decode())
        return now.get(key, 0.0) - self._before.get(key, 0.0)


async def test_it_counts_what_requests_took(
    client: httpx.AsyncClient, openai_model: str, upstream: FakeUpstream
) -> None:
    counted = Difference()
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    upstream.script("chat", Step(usage=usage))
    assert (
        await client.post("chat/completions", json={"model": openai_model, **HELLO})
    ).status_code == 200
    labels = {"endpoint": "chat_completions", "model": openai_model}
    assert counted.of("gateway_requests_total", status="2xx", **labels) == 1
    assert counted.of("gateway_tokens_total", model=openai_model, direction="input") == 7
    assert counted.of("gateway_tokens_total", model=openai_model, direction="output") == 3
    for name in ("gateway_request_seconds", "gateway_first_byte_seconds"):
        assert counted.of(f"{name}_count", endpoint="chat_completions") == 1
        assert counted.of(f"{name}_bucket", endpoint="chat_completions", le="+Inf") == 1
        assert counted.of(f"{name}_sum", endpoint="chat_completions") > 0
    assert counted.of("gateway_requests_in_flight") == 0


async def test_it_names_no_models_that_clients_make_up(
    client: httpx.AsyncClient, openai_model: str
) -> None:
    counted = Difference()
    for name in ("made-up-1", "made-up-2"):
        answer = await client.post("chat/completions", json={"model": name, **HELLO})
        assert answer.status_code == 404
    labels = {"endpoint": "chat_completions", "status": "4xx"}
    assert counted.of("gateway_requests_total", model="unknown", **labels) == 2
    assert "made-up" not in metrics.exposition().decode()


async def test_it_counts_failing_upstreams_and_limited_keys(
    client: httpx.AsyncClient, openai_model: str, upstream: FakeUpstream, alice: User
) -> None:
    row = await in_db(Llm.objects.get)
    counted = Difference()
    upstream.script("chat", *[Step(status=500, body={"error": {"message": "x"}})] * 2)
    body = {"model": openai_model, **HELLO}
    assert (await client.post("chat/completions", json=body)).status_code == 502
    assert counted.of("gateway_upstream_failures_total", target=row.pk) == 2
    await change_key(alice, requests_per_minute=1)
    while (await client.post("chat/completions", json=body)).status_code != 429:
        pass
    assert counted.of("gateway_limited_requests_total", limit="rate") == 1


async def test_it_counts_who_is_not_let_in(
    client: httpx.AsyncClient, openai_model: str, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Difference()
    body = {"model": openai_model, **HELLO}
    stranger = {"Authorization": "Bearer sk-gw-unknown"}

    async def status(path: str, **more: Any) -> int:
        return (await client.post(path, **{"json": body, **more})).status_code

    assert await status("chat/completions", headers=stranger) == 401
    assert await status("chat/nonsense") == 404
    assert await status("models") == 405
    with monkeypatch.context() as patch:
        patch.setattr(exchange, "MAX_BODY_BYTES", 10)
        assert await status("messages") == 413
    for refused in (401, 404, 405, 413):
        assert counted.of("gateway_refused_requests_total", status=str(refused)) == 1
    # Who was let in is counted with the others, also where there is no model yet.
    assert await status("messages", json=None, content="{") == 400
    labels = {"endpoint": "messages", "model": "unknown", "status": "4xx"}
    assert counted.of("gateway_requests_total", **labels) == 1
    assert counted.of("gateway_refused_requests_total", status="400") == 0
    await change_key(alice, scopes=["manage"])
    while await status("messages") != 403:
        pass
    assert counted.of("gateway_refused_requests_total", status="403") == 1
    await change_key(alice, scopes=["gateway"], requests_per_minute=1)
    while await status("messages") != 429:
        pass
    assert counted.of("gateway_refused_requests_total", status="429") == 1


def test_it_bounds_its_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_models", set())
    monkeypatch.setattr(metrics, "MOST_NAMES", 3)

    async def count() -> None:
        for number in range(10):
            metrics.tally().began()
            metered = Metered(f"req_{number}", "messages", 1, 1, 0.0, status=200)
            metrics.tally().ended(metered, f"bounded-{number}")
        metrics.tally().write()

    asyncio.run(count())
    names = {dict(labels).get("model", "") for _name, labels in values(_shown())}
    assert {name for name in names if name.startswith("bounded")} == {
        "bounded-0", "bounded-1", "bounded-2",
    }  # fmt: skip
    assert metrics.OTHER in names


def _shown() -> str:
    return metrics.exposition().decode()


_COUNT = """
import asyncio, sys
import django
django.setup()
from gateway import metrics
from gateway.types import Metered

async def main():
    for _ in range(3):
        metrics.tally().began()
    metrics.tally().ended(Metered("req", "messages", 1, 1, 0.0, status=200), "shared")
    metrics.tally().write()
    if sys.argv[1:]:
        print(metrics.exposition().decode())
asyncio.run(main())
"""


def test_processes_count_together_and_the_dead_have_nothing_in_flight(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        metrics.DIRECTORY: str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }

    def count(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", _COUNT, *arguments],
            env=environment, capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip

    count()
    found = values(count("show"))
    labels = {"endpoint": "messages", "model": "shared", "status": "2xx"}
    assert found["gateway_requests_total", frozenset(labels.items())] == 2
    assert found["gateway_requests_in_flight", frozenset()] == 2


# --- Who may read them -----------------------------------------------------------------------


def test_operators_and_the_token_may_read_them(settings: Any) -> None:
    carol, bob = make_user("carol", is_staff=True), make_user("bob")
    settings.METRICS_TOKEN = "a-token-for-prometheus"
    keys = {
        make_key(carol): 200,
        "a-token-for-prometheus": 200,
        make_key(bob): 404,
        make_key(carol, scopes=["gateway"]): 404,
        "a-token-for-prometheuS": 401,
        "sk-gw-unknown": 401,
        "": 401,
        "é": 401,
    }
    for key, status in keys.items():
        answer = Client().get("/metrics", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status, key
        assert (b"gateway_requests_in_flight" in answer.content) == (status == 200)
    assert Client().get("/metrics").status_code == 401


def test_without_a_token_nothing_is_one(settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    for key in ("", " "):
        answer = Client().get("/metrics", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 401


def test_signed_in_operators_may_read_them() -> None:
    for name, is_staff, status in (("carol", True, 200), ("bob", False, 404)):
        browser = Client()
        browser.force_login(make_user(name, is_staff=is_staff))
        assert browser.get("/metrics").status_code == status
        assert browser.post("/metrics").status_code == 405
