"""A running product and a window for each test; skipped in one line where Chromium is missing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from playwright.sync_api import sync_playwright

from tests.browser import product as products
from tests.browser.product import Product, Web
from tests.browser.speech import record
from tests.browser.talkpage import CHROMIUM, Browsers, TalkPage
from tests.sdks.proxy import Proxy, proxy_to

OpenWindow = Callable[..., TalkPage]
MakeAssistant = Callable[..., str]


@pytest.fixture(scope="session")
def chromium() -> Path:
    if CHROMIUM.exists():
        return CHROMIUM
    if os.environ.get("CI"):
        pytest.fail(f"{CHROMIUM} is missing, and in CI the browser tests always run")
    pytest.skip(f"no browser tests: {CHROMIUM} is missing (apt-get install chromium)")


@pytest.fixture(scope="session")
def product(chromium: Path, installation: Product) -> Product:
    return installation


@pytest.fixture(scope="session")
def web(product: Product) -> Iterator[Web]:
    with product.web() as running:
        yield running


@dataclasses.dataclass(frozen=True)
class Network:
    """A way to the product that a test can break and mend."""

    proxy: Proxy
    portal: BlockingPortal

    @property
    def url(self) -> str:
        return self.proxy.http_url

    def break_down(self) -> None:
        self.proxy.is_refusing = True
        self.portal.call(self.proxy.cut)

    def mend(self) -> None:
        self.proxy.is_refusing = False


@pytest.fixture
def network(web: Web) -> Iterator[Network]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(proxy_to(web.url)) as proxy,
    ):
        yield Network(proxy, portal)


@pytest.fixture
def assistant(product: Product, web: Web) -> MakeAssistant:
    """Makes assistants with the given fields; public ones unless said otherwise."""

    def make(**fields: Any) -> str:
        return products.create_assistant(web, product.login.key, **{"isPublic": True, **fields})

    return make


@pytest.fixture(scope="module")
def browsers(chromium: Path) -> Iterator[Browsers]:
    """For one module: while Playwright runs, its thread has an event loop, and no test another."""
    with sync_playwright() as playwright, closing(Browsers(playwright)) as running:
        yield running


@pytest.fixture
def window(browsers: Browsers, tmp_path: Path) -> Iterator[OpenWindow]:
    """Opens windows whose microphone hears what the test speaks, when it speaks.

    Given sentences and silences in seconds, the browser's own microphone hears those over and over,
    by its own clock. No complaint of the browser may be left at the end.
    """
    with ExitStack() as stack:
        opened: list[TalkPage] = []

        def open_window(*heard: str | float, **options: Any) -> TalkPage:
            file = record(tmp_path / f"microphone{len(opened)}.wav", *heard) if heard else None
            opened.append(stack.enter_context(browsers.window(file, **options)))
            return opened[-1]

        yield open_window
        for page in opened:
            assert not page.complaints
