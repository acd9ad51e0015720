from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ops.product import Product


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A running product that the tests of a module share; each leaves it running."""
    running = Product(tmp_path_factory.mktemp("product") / "data")
    try:
        running.start()
        yield running
    finally:
        running.end()
