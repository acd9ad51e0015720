"""A fake vendor, and models of alice at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from providers.fakes import FakeUpstream
from providers.models import Asr, Llm, Voice
from tests.conftest import client_with, make_key


@pytest.fixture
def vendor(loopback_allowed: None) -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


def at(vendor: FakeUpstream, owner: User | None) -> dict[str, Any]:
    return {
        "owner": owner,
        "name": "Model",
        "vendor": "openai_compatible",
        "base_url": vendor.base_url,
        "api_key": "sk-stored-key-1234",
    }


@pytest.fixture
def llm(vendor: FakeUpstream, alice: User) -> Llm:
    return Llm.objects.create(**at(vendor, alice), model_name="gpt-fake")


@pytest.fixture
def embedder(vendor: FakeUpstream, alice: User) -> Llm:
    return Llm.objects.create(**at(vendor, alice), model_name="embed", type="embedding")


@pytest.fixture
def reranker(vendor: FakeUpstream, alice: User) -> Llm:
    return Llm.objects.create(**at(vendor, alice), model_name="rerank", type="rerank")


@pytest.fixture
def asr(vendor: FakeUpstream, alice: User) -> Asr:
    return Asr.objects.create(**at(vendor, alice), model_name="whisper", language="en")


@pytest.fixture
def voice(vendor: FakeUpstream, alice: User) -> Voice:
    return Voice.objects.create(**at(vendor, alice), model="tts", voice_key="alloy", language="en")


@pytest.fixture
def make_client() -> Callable[[User, Sequence[str]], APIClient]:
    """A client whose key has only these scopes."""
    return lambda user, scopes: client_with(make_key(user, scopes=scopes))


@pytest.fixture
def count_queries(db: None) -> Callable[[Callable[[], object]], int]:
    """How many queries a call needs."""

    def count(call: Callable[[], object]) -> int:
        with CaptureQueriesContext(connection) as queries:
            call()
        return len(queries)

    return count
