"""Searches that have to end in time, whoever is slow."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from accounts.models import User
from knowledge.models import KnowledgeBase
from knowledge.search import search
from knowledge.types import SearchOutcome, SearchRequest
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.knowledge.corpus import make_base, make_embedder, make_space
from tests.upstream import reranker_spec

pytestmark = pytest.mark.django_db(transaction=True)

# The search has so long; on a busy machine it ends a little later, but long before a silent vendor.
WITHIN_S, ENDS_WITHIN_S = 2.0, 20.0
TEXTS = ("The shop opens at nine.", "Coffee costs three euros.", "Error ERR-4711: a blocked pump.")
SILENT = Step(wait_ms=60_000)


@pytest.fixture
def shop(alice: User, upstream: FakeUpstream) -> KnowledgeBase:
    """A base whose embedding model is a vendor's."""
    base = make_base(alice, TEXTS)
    make_space(base, remote_embedder(alice, upstream), np.ones((3, 8), np.float32))
    return base


def remote_embedder(owner: User, upstream: FakeUpstream) -> Llm:
    return make_embedder(
        owner, vendor="openai_compatible", base_url=upstream.base_url, model_name="m"
    )


def find(base: KnowledgeBase, **options: Any) -> tuple[SearchOutcome, float]:
    """What was found, and after how many seconds."""
    request = SearchRequest("What does a coffee cost?", (base.pk,), **options)
    began = time.monotonic()
    outcome = asyncio.run(search(request))
    return outcome, time.monotonic() - began


def codes(outcome: SearchOutcome) -> list[str]:
    return [note.code for note in outcome.notes]


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("is_reranked", [False, True])
def test_words_are_found_in_time_where_the_embedder_is_slow(
    shop: KnowledgeBase, upstream: FakeUpstream, *, is_slow: bool, is_reranked: bool
) -> None:
    if is_slow:
        upstream.script("embeddings", *[SILENT] * 5)
    reranker = reranker_spec(upstream.base_url) if is_reranked else None

    outcome, seconds = find(shop, within_s=WITHIN_S, reranker=reranker)

    assert outcome.hits[0].content == TEXTS[1]
    assert (outcome.hits[0].score is None) == is_slow
    assert (outcome.hits[0].rerank_score is not None) == is_reranked
    assert codes(outcome) == ["vector_skipped"] * is_slow
    assert seconds < ENDS_WITHIN_S


@pytest.mark.parametrize("is_slow", [False, True])
def test_the_fused_order_comes_in_time_where_the_reranker_is_slow(
    shop: KnowledgeBase, upstream: FakeUpstream, *, is_slow: bool
) -> None:
    if is_slow:
        upstream.script("rerank", *[SILENT] * 5)

    outcome, seconds = find(shop, within_s=WITHIN_S, reranker=reranker_spec(upstream.base_url))

    assert len(outcome.hits) == 3
    assert (outcome.hits[0].rerank_score is None) == is_slow
    assert codes(outcome) == ["rerank_skipped"] * is_slow
    assert seconds < ENDS_WITHIN_S


def test_words_are_found_in_time_where_both_are_slow(
    shop: KnowledgeBase, upstream: FakeUpstream
) -> None:
    upstream.script("embeddings", *[SILENT] * 5)
    upstream.script("rerank", *[SILENT] * 5)
    outcome, seconds = find(shop, within_s=WITHIN_S, reranker=reranker_spec(upstream.base_url))
    assert outcome.hits[0].content == TEXTS[1]
    assert codes(outcome) == ["vector_skipped", "rerank_skipped"]
    assert seconds < ENDS_WITHIN_S


def test_what_the_budget_leaves_out_is_told(alice: User, upstream: FakeUpstream) -> None:
    base = make_base(alice, ["Coffee costs three euros. " * 20, "Tea is from Peru. " * 20])
    make_space(base, remote_embedder(alice, upstream), np.ones((2, 8), np.float32))
    whole, _ = find(base, token_budget=1_000)
    tight, _ = find(base, token_budget=60)
    assert (len(whole.hits), codes(whole)) == (2, [])
    [hit] = tight.hits
    assert whole.hits[0].content.startswith(hit.content)
    assert hit.content.endswith(".")
    [note] = tight.notes
    assert (note.code, note.message) == (
        "budget_reached",
        "Left out, as there was no room for more tokens: 1.",
    )
