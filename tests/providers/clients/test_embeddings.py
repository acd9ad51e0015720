"""Embeddings over real HTTP."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ProviderError
from providers import registry
from providers.clients import openai_embeddings
from providers.fakes import FakeUpstream, Step
from providers.fakes.upstream import embedding
from tests.upstream import embedder_spec


async def test_it_gives_one_row_per_text_in_their_order(upstream: FakeUpstream) -> None:
    texts = [f"text number {number}" for number in range(5)]

    rows = await registry.embedding_model(embedder_spec(upstream.base_url)).embed(texts)

    assert rows.dtype == np.float32
    assert np.allclose(rows, [embedding(text, 8) for text in texts], atol=1e-6)


async def test_it_asks_in_batches_of_the_vendors_size(upstream: FakeUpstream) -> None:
    texts = [f"text {number}" for number in range(23)]
    spec = embedder_spec(upstream.base_url, vendor="dashscope")

    rows = await registry.embedding_model(spec).embed(texts)

    assert rows.shape == (23, 8)
    sizes = [len(each["body"]["input"]) for each in upstream.stats.last("embeddings")]
    assert sizes == [10, 10, 3]


async def test_it_sends_no_more_than_a_request_may_hold(upstream: FakeUpstream) -> None:
    texts = ["字" * 40_000, "a", "字" * 60_000, "字" * 150_000, "b", "c"]

    rows = await registry.embedding_model(embedder_spec(upstream.base_url)).embed(texts)

    assert rows.shape == (6, 8)
    sizes = [len(each["body"]["input"]) for each in upstream.stats.last("embeddings")]
    assert sizes == [2, 1, 1, 2]


async def test_it_asks_for_the_dimensions_where_the_vendor_takes_them(
    upstream: FakeUpstream,
) -> None:
    rows = await registry.embedding_model(embedder_spec(upstream.base_url, dimensions=16)).embed(
        ["a", " "]
    )

    assert rows.shape == (2, 16)
    assert upstream.stats.last("embeddings")[0]["body"]["dimensions"] == 16


@pytest.mark.parametrize(
    ("vendor", "said"),
    [
        ("openai", {"encoding_format": "float", "dimensions": 8}),
        ("siliconflow", {"encoding_format": "float"}),
        ("jina", {"dimensions": 8}),
        ("voyage", {"output_dimension": 8}),
    ],
)
async def test_it_names_only_what_the_vendor_knows(
    upstream: FakeUpstream, vendor: str, said: dict[str, object]
) -> None:
    spec = embedder_spec(upstream.base_url, vendor=vendor, dimensions=8)

    assert (await registry.embedding_model(spec).embed(["a"])).shape == (1, 8)
    [sent] = upstream.stats.last("embeddings")
    assert sent["body"] == {"model": "fake-model", "input": ["a"], **said}


async def test_it_asks_nothing_for_no_texts(upstream: FakeUpstream) -> None:
    rows = await registry.embedding_model(embedder_spec(upstream.base_url)).embed([])

    assert rows.shape[0] == 0
    assert upstream.stats.of("embeddings").requests == 0


async def test_it_says_when_the_model_has_another_size(upstream: FakeUpstream) -> None:
    spec = embedder_spec(upstream.base_url, vendor="ollama", dimensions=16)

    with pytest.raises(ProviderError) as caught:
        await registry.embedding_model(spec).embed(["a"])

    assert caught.value.is_permanent
    assert "8" in caught.value.message
    assert "16" in caught.value.message


async def test_it_reads_no_more_than_vectors_take(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_embeddings, "_MAX_HEAD_BYTES", 500)
    monkeypatch.setattr(openai_embeddings, "_MAX_ROW_BYTES", 500)
    model = registry.embedding_model(embedder_spec(upstream.base_url))
    assert (await model.embed(["a"])).shape == (1, 8)
    for raw in (" " * 1_001, "[" * 900):
        upstream.script("embeddings", Step(raw=raw))
        with pytest.raises(ProviderError, match="larger than" if raw.isspace() else "be read"):
            await model.embed(["a"])


async def test_it_says_when_to_come_back(upstream: FakeUpstream) -> None:
    upstream.script("embeddings", Step(status=429, body={}, headers={"Retry-After": "7"}))

    with pytest.raises(ProviderError) as caught:
        await registry.embedding_model(embedder_spec(upstream.base_url)).embed(["a"])

    assert (caught.value.is_permanent, caught.value.retry_after) == (False, 7)


@pytest.mark.parametrize(
    ("step", "is_permanent"),
    [
        (Step(status=401, body={}), True),
        (Step(status=429, body={}), False),
        (Step(status=500, body={}), False),
        (Step(raw="{"), False),
        (Step(raw='{"data": []}'), False),
        (Step(raw='{"data": [{"index": 0, "embedding": ["x"]}]}'), False),
        (Step(raw='{"data": [{"index": 0, "embedding": [NaN]}]}'), False),
        (Step(raw='{"data": [{"embedding": [1]}]}'), False),
        (Step(raw='{"data": [{"index": 0, "embedding": []}]}'), False),
        (Step(raw='{"data": [{"index": 0, "embedding": [1e39]}]}'), False),
        (Step(raw='{"data": [{"index": 1, "embedding": [1]}]}'), False),
        (
            Step(raw='{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}'),
            False,
        ),
        (Step(raw="<p>", content_type="text/html"), True),
    ],
    ids=lambda value: str(value)[-40:],
)
async def test_it_translates_failures(
    upstream: FakeUpstream, step: Step, is_permanent: bool
) -> None:
    upstream.script("embeddings", step)

    with pytest.raises(ProviderError) as caught:
        await registry.embedding_model(embedder_spec(upstream.base_url)).embed(["a"])

    assert caught.value.is_permanent is is_permanent
