"""The gateway served to a whole module of tests, with models of every kind behind it.

One server in a thread, and rows that all tests of a module share: emptying the database after every
test would cost more than the tests.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn
from django.db import connections
from django.test import override_settings

from accounts.models import User
from core.db import in_db
from gateway.first_models import create_first_models
from gateway.metering import meter
from gateway.models import UsageRecord
from providers.catalogue import sync_builtin_models
from providers.fakes import Behaviour, FakeUpstream
from providers.models import LlmType
from tests.conftest import make_key, make_user
from tests.emptying import empty
from tests.gateway.conftest import PATIENCE_S, make_llm, publish

T = TypeVar("T")

# Public names; the same fake vendor, speaking either dialect, is behind them.
OVER_OPENAI, OVER_ANTHROPIC = "over-openai", "over-anthropic"


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """Where the gateway listens, and who may ask it."""

    address: str
    key: str
    user: User
    loop: asyncio.AbstractEventLoop

    def client(self, key: str | None = None) -> httpx.Client:
        """Somebody without a library."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        address = f"{self.address}/v1/"
        return httpx.Client(base_url=address, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def records(self) -> list[UsageRecord]:
        """What was put down of all requests so far, the latest last."""
        self._run(lambda: meter().flush())
        return list(UsageRecord.objects.order_by("created_at"))

    def commit(self, work: Callable[[], T]) -> T:
        """Does work on the database for all to see; what a test does itself is rolled back."""
        return self._run(lambda: in_db(work))

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_S)


@pytest.fixture(scope="module", autouse=True)
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One journal for the module's server."""
    folder = tmp_path_factory.mktemp("journal")
    with override_settings(GATEWAY_JOURNAL_DIR=folder):
        yield folder


@pytest.fixture(scope="module")
def database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Rows that are seen by all threads, and are gone after the module."""
    with django_db_blocker.unblock():
        yield
        empty()
        connections.close_all()


@pytest.fixture(scope="module")
def user(database: None, upstream_server: FakeUpstream) -> User:
    """The owner of the key; with the models that there are."""
    sync_builtin_models()
    create_first_models()
    publish(OVER_OPENAI, make_llm(upstream_server))
    publish(OVER_ANTHROPIC, make_llm(upstream_server, vendor="anthropic"))
    vectors = make_llm(upstream_server, name="vectors", type=LlmType.EMBEDDING, dimensions=8)
    publish("vectors-public", vectors, kind="embedding")
    return make_user("alice")


@pytest.fixture(scope="module")
def served(user: User, journal: Path) -> Iterator[Served]:
    """The application, serving in a thread of its own."""
    from config.asgi import application

    key = make_key(user, requests_per_minute=1_000_000)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(application, http="httptools", lifespan="off", log_config=None)
    )
    loop = asyncio.new_event_loop()

    def serve() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server.serve([listening]))

    thread = threading.Thread(target=serve, name="gateway")
    # Or those who come first would find nobody there.
    listening.listen()
    thread.start()
    yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", key, user, loop)
    server.should_exit = True
    thread.join(PATIENCE_S)


@pytest.fixture(autouse=True)
def fresh_upstream(upstream: FakeUpstream) -> FakeUpstream:
    """The fake vendor as it is by itself, at the beginning of each test."""
    upstream.set_behaviour(Behaviour())
    return upstream
