"""Bodies beyond every limit are refused before anything stores them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core import asgi
from core.asgi import limit_body

LIMIT = 1000


class Reader:
    """An application that reads the whole body, as Django does, and tells its size."""

    def __init__(self) -> None:
        self.size = 0
        self.was_cut = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.was_cut = True
                return
            self.size += len(event["body"])
            if not event.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"read"})


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "HARD_BODY_LIMIT_BYTES", LIMIT)


async def ask(
    app: Any, *pieces: bytes, announced: int | None = None, path: str = "/api/v1/user/login"
) -> tuple[int, bytes]:
    events: list[Any] = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [] if announced is None else [(b"content-length", b"%d" % announced)]
    scope: Any = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await limit_body(app)(scope, receive, send)
    assert [event["type"] for event in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], sent[1]["body"]


async def test_it_passes_bodies_within_the_limit() -> None:
    reader = Reader()
    assert await ask(reader, b"x" * 600, b"x" * 400, announced=1000) == (200, b"read")
    assert reader.size == 1000


async def test_it_refuses_an_announced_size_without_reading() -> None:
    reader = Reader()
    status, body = await ask(reader, b"x", announced=LIMIT + 1)
    assert status == 413
    assert json.loads(body)["status_code"] == 413
    assert f"{LIMIT // 2**20} MB" in body.decode()
    assert reader.size == 0


async def test_it_stops_reading_a_body_of_unannounced_size() -> None:
    reader = Reader()
    status, body = await ask(reader, *[b"x" * 100] * 50, path="/v1/messages")
    assert status == 413
    assert json.loads(body)["error"]["type"] == "request_too_large"
    assert reader.was_cut
    assert reader.size == LIMIT
