"""Stopping while answers are read: they end, and what was said is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from bench.users import make_users
from providers.fakes import FakeUpstream
from tests.ops.product import Product

pytestmark = pytest.mark.processes

# So slow that every answer is in its middle when the product stops.
WORD_MS = 200
REPLY = "".join(f"word{n} " for n in range(1000))


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    variables = {"OUTBOUND_ALLOW": "127.0.0.0/8", "LOG_LEVEL": "INFO"}
    running = Product(tmp_path / "data", **variables)
    try:
        running.start()
        yield running
    finally:
        running.end()


class _Reader(threading.Thread):
    """Reads an answer to its end; `broke` is what its connection broke of."""

    def __init__(self, http: httpx.Client, method: str, path: str, **request: Any) -> None:
        super().__init__()
        self._http, self._method, self._path, self._request = http, method, path, request
        self.has_begun = threading.Event()
        self.lines: list[str] = []
        self.broke: httpx.HTTPError | None = None

    def run(self) -> None:
        try:
            with self._http.stream(self._method, self._path, **self._request) as response:
                assert response.status_code == 200, response.read()
                for line in response.iter_lines():
                    self.lines.append(line)
                    if "word0" in line:
                        self.has_begun.set()
        except httpx.HTTPError as error:
            self.broke = error


def test_it_stops_quietly_while_answers_are_read(product: Product) -> None:
    with FakeUpstream() as vendor:
        vendor.behaviour.reply, vendor.behaviour.llm_token_ms = REPLY, WORD_MS
        users = make_users(product.data, 2, vendor.base_url)
        chatting, working = (_client(product, key) for key in users.keys)
        dialog_id = _dialog(chatting, users.model_id)
        task_id = _post(working, "/messages", message="Hello", model_key=users.model_id)["task_id"]
        body = {"dialog_id": dialog_id, "user_input": "Hello"}
        chat = _Reader(chatting, "POST", "/chat", json=body)
        events = _Reader(working, "GET", f"/tasks/{task_id}/events")
        late = {"from": 10**6, "wait": 25}
        poll = _Reader(working, "GET", f"/tasks/{task_id}", params=late)
        for reader in (chat, events, poll):
            reader.start()
        for reader in (chat, events):
            assert reader.has_begun.wait(60), product.said()
        assert product.signal(signal.SIGTERM) == 0
        for reader in (chat, events, poll):
            reader.join(30)
            assert reader.broke is None
        for client in (chatting, working):
            client.close()
    said = product.said()
    assert "Traceback" not in said
    # Nobody had to be cut off.
    assert "graceful" not in said
    product.start()
    database = product.runtime()["DATABASE_URL"]
    with psycopg.connect(database) as connection:
        (kept,) = connection.execute(
            "SELECT text, is_interrupted FROM conversations_message"
            " WHERE conversation_id = %s AND role = 'assistant'",
            [dialog_id],
        ).fetchall()
    assert kept[0].startswith("word0")
    assert kept[1] is True


def _client(product: Product, key: str) -> httpx.Client:
    base_url = f"{product.url()}/api/v1"
    return httpx.Client(base_url=base_url, headers={"X-Api-Key": key}, timeout=30)


def _post(http: httpx.Client, path: str, **body: Any) -> Any:
    response = http.post(path, json=body)
    assert response.is_success, response.text
    return response.json()


def _dialog(http: httpx.Client, model_id: str) -> str:
    fields = {"name": "Agent", "prompt": "Talk.", "llmModelId": model_id}
    agent_id = _post(http, "/assistants", **fields)["data"]["id"]
    made = _post(http, "/dialog", name="Talk", agent_id=agent_id, agent_type="Agent")
    return str(made["data"]["dialog_id"])
