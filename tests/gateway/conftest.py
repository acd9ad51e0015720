"""The gateway served by this test, upstreams of both dialects behind it, and a key."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from accounts.models import ApiKey, User
from core.db import in_db
from gateway.metering import meter
from gateway.models import PublicModel, Route, UsageRecord
from providers.catalogue import sync_builtin_models
from providers.fakes import FakeUpstream
from providers.models import Llm, LlmType
from tests.conftest import make_key, make_user

PATIENCE_S = 20


@pytest.fixture
def alice(transactional_db: None) -> User:
    return make_user("alice")


@pytest.fixture
def bob(transactional_db: None) -> User:
    return make_user("bob")


@pytest.fixture
def alice_key(alice: User) -> str:
    return make_key(alice)


@pytest.fixture
def bob_key(bob: User) -> str:
    return make_key(bob)


@pytest.fixture(autouse=True)
def journal(settings: Any, tmp_path: Path) -> Path:
    """The journal of this test's requests."""
    folder = tmp_path / "journal"
    settings.GATEWAY_JOURNAL_DIR = folder
    return folder


@pytest.fixture
async def address(transactional_db: None) -> AsyncIterator[str]:
    """Where the application listens, which this test serves."""
    from config.asgi import application

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, http="httptools", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
async def client(address: str, alice_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with a key, and no SDK."""
    headers = {"Authorization": f"Bearer {alice_key}"}
    async with httpx.AsyncClient(
        base_url=f"{address}/v1/", headers=headers, timeout=PATIENCE_S, trust_env=False
    ) as http:
        yield http


@pytest.fixture
def builtin(transactional_db: None) -> None:
    sync_builtin_models()


def make_llm(upstream: FakeUpstream, *, vendor: str = "openai_compatible", **values: Any) -> Llm:
    """A system's model at the fake vendor."""
    fields = {
        "name": f"row-{vendor}",
        "model_name": "fake-model",
        "base_url": upstream.base_url,
        "api_key": "sk-vendor-secret-0123456789",
        "accepts_images": True,
        **values,
    }
    return Llm.objects.create(vendor=vendor, owner=None, **fields)


def publish(name: str, *rows: Llm, kind: str = "chat", **values: Any) -> PublicModel:
    """A public name with one route to each row, the first with the best priority."""
    model = PublicModel.objects.create(name=name, kind=kind, **values)
    for number, row in enumerate(rows):
        Route.objects.create(model=model, llm=row, priority=number)
    return model


@pytest.fixture
def openai_model(upstream: FakeUpstream, transactional_db: None) -> str:
    """A public model whose upstream speaks chat completions."""
    return publish("over-openai", make_llm(upstream)).name


@pytest.fixture
def anthropic_model(upstream: FakeUpstream, transactional_db: None) -> str:
    """A public model whose upstream speaks messages."""
    return publish("over-anthropic", make_llm(upstream, vendor="anthropic")).name


@pytest.fixture
def embedding(upstream: FakeUpstream, transactional_db: None) -> str:
    """A public embedding model."""
    row = make_llm(upstream, name="vectors", type=LlmType.EMBEDDING, dimensions=8)
    return publish("vectors-public", row, kind="embedding").name


Records = Callable[[], Any]


@pytest.fixture
def recorded() -> Records:
    """The requests put down so far, as rows, the latest last."""

    async def read() -> list[UsageRecord]:
        await meter().flush()
        return await in_db(lambda: list(UsageRecord.objects.order_by("created_at")))

    return read


async def change_key(user: User, **values: Any) -> None:
    await in_db(lambda: ApiKey.objects.filter(owner=user).update(**values))
