"""A web process that is killed under load: whatever was answered has its record."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from tests.ops.product import Product, eventually

pytestmark = pytest.mark.processes

CLIENTS = 6
# Answered before, and after, the process is killed.
ENOUGH = 150
MODEL = "xiaoai-chat-v1"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = Product(
        tmp_path_factory.mktemp("product") / "data", GATEWAY_REQUESTS_PER_MINUTE="1000000"
    )
    try:
        running.start()
        yield running
    finally:
        running.end()


class Load:
    """Clients that ask one request after the other, and note what was answered whole."""

    def __init__(self, product: Product) -> None:
        self._url = product.url() + "/v1/chat/completions"
        self._headers = {"Authorization": f"Bearer {product.login()['API key']}"}
        self._is_over = threading.Event()
        self._clients = ThreadPoolExecutor(CLIENTS)
        self.answered: list[str] = []
        self.broken = 0

    def __enter__(self) -> Load:
        for number in range(CLIENTS):
            self._clients.submit(self._ask_for_ever, is_streamed=number % 2 == 0)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._is_over.set()
        self._clients.shutdown()

    def has_answered(self, count: int) -> bool:
        return len(self.answered) >= count

    def _ask_for_ever(self, *, is_streamed: bool) -> None:
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": MODEL, "messages": messages, "stream": is_streamed}
        with httpx.Client(headers=self._headers, timeout=10, trust_env=False) as client:
            while not self._is_over.is_set():
                try:
                    answer = client.post(self._url, json=body)
                except httpx.HTTPError:
                    self.broken += 1
                    # A listener without a process keeps those who call waiting, and others away.
                    self._is_over.wait(0.05)
                    continue
                # A stream that is cut off lacks its last line.
                if answer.status_code == 200 and (not is_streamed or "[DONE]" in answer.text):
                    self.answered.append(answer.headers["request-id"])


def recorded(product: Product) -> set[str]:
    with psycopg.connect(product.runtime()["DATABASE_URL"]) as connection:
        rows = connection.execute("select request_id from gateway_usagerecord").fetchall()
    return {row[0] for row in rows}


def counted(product: Product) -> int:
    """What the sums of days say."""
    with psycopg.connect(product.runtime()["DATABASE_URL"]) as connection:
        row = connection.execute("select sum(requests) from gateway_usageday").fetchone()
    return int(row[0] or 0) if row else 0


def test_no_answered_request_is_lost_with_its_process(product: Product) -> None:
    with Load(product) as load:
        assert eventually(lambda: load.has_answered(ENOUGH))
        victim = product.part("config.supervisor.web")
        # Lines of the last second are in its journal only.
        victim.kill()
        before = len(load.answered)
        assert eventually(lambda: load.has_answered(before + ENOUGH))
    assert load.broken, "nobody noticed that the process was killed"
    assert len(set(load.answered)) == len(load.answered)
    assert eventually(lambda: set(load.answered) <= recorded(product), within_s=15)
    # Each once, also in the sums.
    assert counted(product) == len(recorded(product))


def test_its_figures_outlive_a_process(product: Product) -> None:
    headers = {"Authorization": f"Bearer {product.login()['API key']}"}
    body = {"model": "nowhere", "input": "Hello"}
    line = 'gateway_requests_total{endpoint="embeddings",model="unknown",status="4xx"} 1.0'

    def shows_it() -> bool:
        try:
            answer = httpx.get(f"{product.url()}/metrics", headers=headers, timeout=10)
        except httpx.HTTPError:
            return False
        return line in answer.text

    asked = httpx.post(f"{product.url()}/v1/embeddings", headers=headers, json=body)
    assert asked.status_code == 404
    assert eventually(shows_it)
    product.part("config.supervisor.web").kill()
    assert eventually(shows_it)
