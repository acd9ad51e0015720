"""Rerankers over real HTTP, in the shapes of their vendors."""

from __future__ import annotations

import pytest

from core.errors import ProviderError
from providers import registry
from providers.clients import rerank
from providers.fakes import FakeUpstream, Step
from providers.types import RerankerSpec
from tests.upstream import SECRET, reranker_spec

QUERY = "opening hours"
TEXTS = ["Bicycles have wheels.", "The opening hours are long.", "The hours go by."]

# vendor, model, end of the base URL, what is asked for besides the texts
WIRES = [
    ("openai_compatible", "fake-model", "/v1", {"top_n": 3}),
    ("siliconflow", "BAAI/bge-reranker-v2-m3", "/v1", {"top_n": 3}),
    ("vllm", "Qwen/Qwen3-Reranker-0.6B", "/v1", {"top_n": 3}),
    ("cohere", "rerank-v4.0-pro", "/v2", {"top_n": 3}),
    ("jina", "jina-reranker-v2-base-multilingual", "/v1", {"return_documents": False}),
    ("voyage", "rerank-2.5", "/v1", {"top_k": 3}),
    ("dashscope", "qwen3-rerank", "/compatible-mode/v1", {"top_n": 3}),
    ("dashscope", "gte-rerank-v2", "/compatible-mode/v1/", {"model": "gte-rerank-v2"}),
    ("tei", "", "", {"truncate": True}),
]


def at(upstream: FakeUpstream, end: str, vendor: str, model: str) -> RerankerSpec:
    return reranker_spec(f"{upstream.root_url}{end}", vendor=vendor, model=model)


@pytest.mark.parametrize(("vendor", "model", "end", "said"), WIRES, ids=lambda each: str(each))
async def test_it_gives_one_score_per_text_in_their_order(
    upstream: FakeUpstream, vendor: str, model: str, end: str, said: dict[str, object]
) -> None:
    scores = await registry.rerank_model(at(upstream, end, vendor, model)).rerank(QUERY, TEXTS)

    assert scores == [0.0, 1.0, 0.5]
    [sent] = upstream.stats.last("rerank")
    assert sent["body"].items() >= said.items()
    assert sent["headers"]["authorization"] == f"Bearer {SECRET}"


async def test_it_keeps_to_an_address_that_already_names_the_rerank_api(
    upstream: FakeUpstream,
) -> None:
    spec = at(upstream, "/compatible-api/v1", "dashscope", "qwen3-rerank")

    assert await registry.rerank_model(spec).rerank(QUERY, TEXTS) == [0.0, 1.0, 0.5]


async def test_it_asks_nothing_for_no_texts(upstream: FakeUpstream) -> None:
    assert await registry.rerank_model(reranker_spec(upstream.base_url)).rerank(QUERY, []) == []
    assert upstream.stats.of("rerank").requests == 0


async def test_it_asks_in_batches_of_the_vendors_size(upstream: FakeUpstream) -> None:
    texts = [f"opening {number}" for number in range(70)]
    texts[50] = "opening hours"

    scores = await registry.rerank_model(at(upstream, "", "tei", "")).rerank(QUERY, texts)

    sizes = [len(each["body"]["texts"]) for each in upstream.stats.last("rerank")]
    assert sorted(sizes) == [6, 32, 32]
    assert [score for score in scores if score == 1.0] == [scores[50]]


async def test_it_asks_all_batches_at_once_and_ends_with_the_first_failure(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerank, "TIME_LIMIT_S", 5)
    upstream.script("rerank", Step(wait_ms=60_000), Step(status=401, body={}))

    with pytest.raises(ProviderError) as caught:
        await registry.rerank_model(at(upstream, "", "tei", "")).rerank(QUERY, ["a"] * 40)

    assert caught.value.is_permanent
    assert upstream.stats.wait_until(lambda stats: stats.of("rerank").cancelled == 1)


async def test_it_sends_no_more_than_a_request_may_hold(upstream: FakeUpstream) -> None:
    spec = at(upstream, "/compatible-mode/v1", "dashscope", "gte-rerank-v2")

    scores = await registry.rerank_model(spec).rerank("q" * 9_000, ["字" * 9_000, " "] * 20)

    assert len(scores) == 40
    bodies = [each["body"]["input"] for each in upstream.stats.last("rerank")]
    assert len(bodies) > 1
    for body in bodies:
        sizes = [len(text) + len(body["query"]) for text in body["documents"]]
        assert sum(sizes) <= 24_000
        assert min(len(text) for text in body["documents"][::2]) >= 1_000
        assert set(body["documents"][1::2]) == {"."}


async def test_it_asks_for_nothing_blank(upstream: FakeUpstream) -> None:
    await registry.rerank_model(reranker_spec(upstream.base_url)).rerank(" ", [" \n", "a"])

    body = upstream.stats.last("rerank")[0]["body"]
    assert (body["query"], body["documents"]) == (".", [".", "a"])


@pytest.mark.parametrize(
    "raw",
    [
        '{"results": [{"index": 1, "relevance_score": 2}, {"index": 0, "relevance_score": -1.5}]}',
        '{"data": [{"index": 0, "score": -1.5}, {"index": 1, "score": 2}]}',
        '[{"index": 0, "score": -1.5, "text": "a"}, {"index": 1, "score": 2}]',
        '{"output": {"results": [{"index": 0, "relevance_score": -1.5},'
        ' {"index": 1, "relevance_score": 2}]}, "usage": {}}',
    ],
)
async def test_it_reads_every_shape_that_servers_mix(upstream: FakeUpstream, raw: str) -> None:
    upstream.script("rerank", Step(raw=raw))

    model = registry.rerank_model(reranker_spec(upstream.base_url))
    assert await model.rerank(QUERY, ["a", "b"]) == [-1.5, 2.0]


@pytest.mark.parametrize(
    ("step", "is_permanent"),
    [
        (Step(status=401, body={}), True),
        (Step(status=404, body={}), True),
        (Step(status=413, body={"error": "batch size 40 > maximum 32"}), True),
        (Step(status=422, body={"error": "`inputs` must have less than 512 tokens"}), True),
        (Step(status=500, body={}), False),
        (Step(raw="<p>", content_type="text/html"), True),
        (Step(raw="{"), False),
        (Step(raw="[" * 100_000), False),
        (Step(raw="null"), False),
        (Step(raw='{"results": {}}'), False),
        (Step(raw='{"results": [{"index": 0, "relevance_score": 1}]}'), False),
        (Step(raw='[{"index": 0, "score": 1}, {"index": 0, "score": 1}]'), False),
        (Step(raw='[{"index": 0, "score": 1}, {"index": 2, "score": 1}]'), False),
        (Step(raw='[{"index": 0, "score": 1}, {"index": -1, "score": 1}]'), False),
        (Step(raw='[{"index": 0, "score": 1}, {"index": true, "score": 1}]'), False),
        (Step(raw='[{"index": 0, "score": 1}, {"index": 1, "score": NaN}]'), False),
        (Step(raw='[{"index": 0, "score": 1}, {"index": 1, "score": "1"}]'), False),
        (Step(raw='[{"index": 0, "score": 1}, {"index": 1, "score": 1%s}]' % ("0" * 400)), False),
        (Step(raw='[{"index": 0, "score": 1}, {"index": 1}]'), False),
        (Step(raw='[{"index": 0, "score": 1}, 1]'), False),
        (
            Step(
                raw='[{"index": 0, "score": 1}, {"index": 1, "score": 1}, {"index": 2, "score": 1}]'
            ),
            False,
        ),
    ],
    ids=lambda value: str(value)[-40:],
)
async def test_it_translates_failures(
    upstream: FakeUpstream, step: Step, is_permanent: bool
) -> None:
    model = registry.rerank_model(reranker_spec(upstream.base_url))
    assert await model.rerank(QUERY, ["a", "b"]) == [0.0, 0.0]
    upstream.script("rerank", step)

    with pytest.raises(ProviderError) as caught:
        await model.rerank(QUERY, ["a", "b"])

    assert caught.value.is_permanent is is_permanent
    assert SECRET not in caught.value.message


async def test_it_says_when_to_come_back(upstream: FakeUpstream) -> None:
    upstream.script("rerank", Step(status=429, body={}, headers={"Retry-After": "7"}))

    with pytest.raises(ProviderError) as caught:
        await registry.rerank_model(reranker_spec(upstream.base_url)).rerank(QUERY, ["a"])

    assert (caught.value.is_permanent, caught.value.retry_after) == (False, 7)


async def test_it_gives_up_on_a_vendor_that_takes_too_long(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerank, "TIME_LIMIT_S", 0.2)
    upstream.script("rerank", Step(wait_ms=60_000))

    with pytest.raises(ProviderError, match="in time") as caught:
        await registry.rerank_model(reranker_spec(upstream.base_url)).rerank(QUERY, ["a"])

    assert not caught.value.is_permanent
    assert upstream.stats.wait_until(lambda stats: stats.of("rerank").cancelled == 1)


async def test_it_reads_no_more_than_results_take(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerank, "_MAX_HEAD_BYTES", 500)
    monkeypatch.setattr(rerank, "_MAX_ROW_BYTES", 500)
    model = registry.rerank_model(reranker_spec(upstream.base_url))
    assert await model.rerank(QUERY, ["a"]) == [0.0]
    upstream.script("rerank", Step(raw=" " * 1_001))

    with pytest.raises(ProviderError, match="larger than"):
        await model.rerank(QUERY, ["a"])
