"""The ASGI handler: a request that needs no thread starts none, and every request is ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import signals
from django.http import HttpRequest, HttpResponse
from django.urls import path

from core.handler import Handler

pytestmark = pytest.mark.urls(__name__)

Closed = list[threading.Thread]


class _Noting(HttpResponse):
    """Notes the thread that closes it."""

    def __init__(self, closed: Closed) -> None:
        super().__init__(b"done")
        self._closed = closed

    def close(self) -> None:
        self._closed.append(threading.current_thread())
        super().close()


closed: Closed = []
worked: Closed = []
left = asyncio.Event()


async def on_the_loop(request: HttpRequest) -> HttpResponse:
    return _Noting(closed)


def in_a_thread(request: HttpRequest) -> HttpResponse:
    worked.append(threading.current_thread())
    return _Noting(closed)


async def never(request: HttpRequest) -> HttpResponse:
    try:
        await asyncio.Event().wait()
    finally:
        left.set()
    raise AssertionError


async def broken(request: HttpRequest) -> HttpResponse:
    raise ValueError("broken")


urlpatterns = [
    path("loop", on_the_loop),
    path("thread", in_a_thread),
    path("never", never),
    path("broken", broken),
]


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    closed.clear()
    worked.clear()
    left.clear()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The signals of requests, in order."""
    heard: list[str] = []

    def begun(**_named: Any) -> None:
        heard.append("begun")

    def ended(**_named: Any) -> None:
        heard.append("ended")

    signals.request_started.connect(begun)
    signals.request_finished.connect(ended)
    yield heard
    signals.request_started.disconnect(begun)
    signals.request_finished.disconnect(ended)


async def ask(target: str, *, leaves: bool = False, body: bytes = b"") -> list[Any]:
    """What is sent for a request, whose client may leave at once."""
    sent: list[Any] = []
    events = [{"type": "http.request", "body": body}]
    stays: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def receive() -> Any:
        if events:
            return events.pop()
        return {"type": "http.disconnect"} if leaves else await stays

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": "GET",
        "path": target,
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await Handler()(scope, receive, send)
    return sent


def _threads(run: Callable[..., Any]) -> None:
    raise AssertionError("a thread was started")


async def test_it_starts_no_thread_for_a_coroutine(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", _threads)
    sent = await ask("/loop")
    assert [sent[0]["status"], sent[1]["body"]] == [200, b"done"]
    assert told == ["begun", "ended"]
    assert closed == [threading.current_thread()]


async def test_it_ends_a_request_in_the_thread_that_its_view_had(told: list[str]) -> None:
    sent = await ask("/thread")
    assert sent[0]["status"] == 200
    assert closed == worked != [threading.current_thread()]
    assert told == ["begun", "ended"]


async def test_it_stops_a_view_whose_client_leaves(told: list[str]) -> None:
    assert await ask("/never", leaves=True) == []
    assert left.is_set()
    assert told == ["begun", "ended"]


async def test_it_ends_a_request_whose_view_fails(told: list[str], settings: Any) -> None:
    settings.DEBUG_PROPAGATE_EXCEPTIONS = False
    sent = await ask("/broken")
    assert sent[0]["status"] == 500
    assert told == ["begun", "ended"]


async def test_it_refuses_a_body_that_is_too_large(told: list[str], settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1
    sent = await ask("/loop", body=b"much")
    assert sent[0]["status"] == 200  # nobody reads it
    assert told == ["begun", "ended"]
