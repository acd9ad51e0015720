"""The built-in catalogue, and a fake vendor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from providers.catalogue import sync_builtin_models
from providers.fakes import FakeUpstream
from tooling.catalogue import sync_builtin_tools


@pytest.fixture(autouse=True)
def catalogue(db: None) -> None:
    sync_builtin_models()
    sync_builtin_tools()


@pytest.fixture
def vendor(loopback_allowed: None) -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def count_queries(db: None) -> Callable[[Callable[[], object]], int]:
    """How many queries a call needs."""

    def count(call: Callable[[], object]) -> int:
        with CaptureQueriesContext(connection) as queries:
            call()
        return len(queries)

    return count
