"""The benchmark of retrieval measures; on a small scale, so that it does not rot."""

from __future__ import annotations

import pytest

from bench.retrieval import Bench
from providers import registry


@pytest.mark.django_db(transaction=True)
def test_it_measures_times_recall_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    # The benchmark puts its own model there.
    monkeypatch.setitem(registry.CLIENTS, ("builtin", "embedding"), ("", ""))
    registry._client.cache_clear()
    try:
        bench = Bench(chunks=400, dimensions=64)
        bench.build_indexes()
        result = bench.measure(bench.bases[0], queries=6)
    finally:
        registry._client.cache_clear()

    assert sum(len(base.chunk_ids) for base in bench.bases) == 400
    assert result.recall == 1.0
    assert result.words == {"zh": (3, 3), "en": (3, 3)}
    assert len(result.times_ms) == 6
    assert result.cells()["vectors"] == "exact"
