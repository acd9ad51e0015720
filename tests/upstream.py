"""The fake model vendor of a test run: fixture `upstream`, and specs that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from providers.fakes import Behaviour, FakeUpstream
from providers.types import AsrSpec, EmbedderSpec, Endpoint, LlmSpec, RerankerSpec, VoiceSpec

SECRET = "sk-test-0123456789abcdef0123"


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def upstream(upstream_server: FakeUpstream, settings: Any) -> FakeUpstream:
    """A fake vendor with default behaviour and empty counters; the guard lets us reach it."""
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    upstream_server.reset()
    upstream_server.set_behaviour(Behaviour())
    return upstream_server


def endpoint(
    base_url: str, *, vendor: str = "openai_compatible", model: str = "fake-model"
) -> Endpoint:
    """An endpoint with a key that must never be seen anywhere."""
    return Endpoint(
        row_id="test", vendor=vendor, base_url=base_url, api_key=SECRET, model_name=model
    )


def llm_spec(base_url: str, *, vendor: str = "openai_compatible", **fields: Any) -> LlmSpec:
    return LlmSpec(endpoint(base_url, vendor=vendor), "test", **fields)


def asr_spec(base_url: str, *, model: str = "fake-model", **fields: Any) -> AsrSpec:
    fields.setdefault("language", "multi")
    return AsrSpec(endpoint(base_url, model=model), "test", **fields)


def voice_spec(base_url: str, *, vendor: str = "openai_compatible", **fields: Any) -> VoiceSpec:
    values = {"language": "en", "voice_key": "alloy", **fields}
    return VoiceSpec(endpoint(base_url, vendor=vendor), "test", **values)


def embedder_spec(
    base_url: str, *, vendor: str = "openai_compatible", dimensions: int | None = None
) -> EmbedderSpec:
    return EmbedderSpec(endpoint(base_url, vendor=vendor), "test", dimensions)


def reranker_spec(
    base_url: str, *, vendor: str = "openai_compatible", model: str = "fake-model"
) -> RerankerSpec:
    return RerankerSpec(endpoint(base_url, vendor=vendor, model=model), "test")
