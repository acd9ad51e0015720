"""The gateway under load while a process is killed, or a server says nothing any more.

Whatever was answered has its record, and whoever asks is answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql

from tests.ops.product import Product, eventually

pytestmark = pytest.mark.processes

CLIENTS = 6
# Answered before, and after, the process is killed.
ENOUGH = 150
MODEL = "xiaoai-chat-v1"
# No answer takes so long, whatever is away.
PROMPT_S = 10
# What is heard nothing of is not believed for so long.
AWAY_S = 8


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = Product(
        tmp_path_factory.mktemp("product") / "data", GATEWAY_REQUESTS_PER_MINUTE="1000000"
    )
    try:
        running.start()
        # So that every limit is looked at.
        change_key(running, tokens_per_minute=10**9, monthly_token_budget=10**9)
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
        self.refused: list[str] = []
        self.broken = 0
        self.longest_s = 0.0

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
        with httpx.Client(headers=self._headers, timeout=60, trust_env=False) as client:
            while not self._is_over.is_set():
                asked_at = time.monotonic()
                try:
                    answer = client.post(self._url, json=body)
                except httpx.HTTPError:
                    self.broken += 1
                    # A listener without a process keeps those who call waiting, and others away.
                    self._is_over.wait(0.05)
                    continue
                self.longest_s = max(self.longest_s, time.monotonic() - asked_at)
                if answer.status_code != 200:
                    self.refused.append(answer.text)
                # A stream that is cut off lacks its last line.
                if answer.status_code == 200 and (not is_streamed or "[DONE]" in answer.text):
                    self.answered.append(answer.headers["request-id"])

    def goes_on(self) -> bool:
        """Whether more is answered, for as long as something may be away."""
        enough, until = len(self.answered) + ENOUGH, time.monotonic() + AWAY_S
        return eventually(lambda: self.has_answered(enough) and time.monotonic() > until)


def change_key(product: Product, **limits: int | None) -> None:
    with psycopg.connect(product.runtime()["DATABASE_URL"]) as connection:
        for name, value in limits.items():
            column = sql.Identifier(name)
            connection.execute(
                sql.SQL("update accounts_apikey set {} = %s").format(column), [value]
            )


@contextmanager
def silent(server: psutil.Process) -> Iterator[None]:
    """Connections to the server stay open meanwhile, and nothing is answered on them."""
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


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


def is_complete(load: Load, product: Product) -> bool:
    """Whether everybody was answered in good time, and everything is put down."""
    assert (load.refused, load.broken) == ([], 0)
    assert load.longest_s < PROMPT_S
    return set(load.answered) <= recorded(product)


def is_limited(product: Product) -> bool:
    headers = {"Authorization": f"Bearer {product.login()['API key']}"}
    answer = httpx.get(f"{product.url()}/v1/models", headers=headers, timeout=60)
    return answer.status_code == 429


@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_it_answers_while_a_server_says_nothing(product: Product, server: str) -> None:
    with Load(product) as load:
        assert eventually(lambda: load.has_answered(ENOUGH))
        with silent(product.part(server)):
            assert load.goes_on()
        assert load.goes_on()
    assert eventually(lambda: is_complete(load, product), within_s=30)


@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_it_answers_while_a_server_is_killed_and_comes_back(product: Product, server: str) -> None:
    with Load(product) as load:
        assert eventually(lambda: load.has_answered(ENOUGH))
        product.part(server).kill()
        assert load.goes_on()
        assert eventually(product.is_well)
    assert eventually(lambda: is_complete(load, product), within_s=30)
    # Its limits hold again.
    change_key(product, requests_per_minute=5)
    try:
        assert eventually(lambda: is_limited(product))
    finally:
        change_key(product, requests_per_minute=None)


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
