"""One running product for all tests of the SDKs: web process, worker, and a key without limits."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from ai_video_assistant import AIVideoAssistant, models

from providers.fakes import Behaviour, FakeUpstream
from tests.browser import product as products
from tests.browser.product import ROOT, Product, Web


@dataclasses.dataclass(frozen=True)
class Server:
    """Where the product answers, and a user's key that may do everything."""

    api_url: str
    key: str

    @property
    def ws_url(self) -> str:
        return self.api_url.replace("http", "ws", 1)

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs that reads its key from the environment."""
        return {**os.environ, "AI_VIDEO_ASSISTANT_API_KEY": self.key}


@pytest.fixture(scope="session")
def product(installation: Product) -> Product:
    return installation


@pytest.fixture(scope="session")
def web(product: Product) -> Iterator[Web]:
    with product.web() as running:
        yield running


@pytest.fixture(scope="package")
def worker(product: Product) -> Iterator[None]:
    """Does the background work; tests of the browser see what is there before any is done."""
    with product.worker():
        yield


@pytest.fixture(scope="session")
def server(product: Product, web: Web) -> Server:
    create = ["create_api_key", "dora", "--create-user", "--rpm", "100000"]
    made = subprocess.run(
        [*products.MANAGE, *create],
        cwd=ROOT,
        env=product.environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return Server(web.url, made.stdout.strip())


@pytest.fixture(scope="session")
def vendor() -> Iterator[FakeUpstream]:
    """A vendor of models that answers as its `Behaviour` says."""
    with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def model(server: Server, vendor: FakeUpstream) -> Iterator[models.Llm]:
    """A model that answers as the test says; its user's default for as long as it is there."""
    vendor.reset()
    vendor.set_behaviour(Behaviour())
    with AIVideoAssistant(api_url=server.api_url, api_key=server.key) as client:
        made = client.llm.create(
            name=f"fake {uuid.uuid4().hex[:8]}",
            vendor="openai_compatible",
            base_url=vendor.base_url,
            api_key="sk-of-the-vendor",
            model_name="fake-model",
        )
        yield made
        client.llm.delete(made.id)
