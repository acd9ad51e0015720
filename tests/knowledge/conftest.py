"""Bases whose documents the built-in embedder, or a vendor over HTTP, can embed."""

from __future__ import annotations

import pytest

from accounts.models import User
from knowledge import actions
from knowledge.models import KnowledgeBase
from providers.fakes import FakeUpstream
from providers.models import Llm, LlmType
from tests.upstream import SECRET


@pytest.fixture
def embedder(db: None) -> Llm:
    """The system's built-in embedding model, also where a test before emptied the catalogue."""
    values = {"owner": None, "vendor": "builtin", "type": LlmType.EMBEDDING}
    row, _is_new = Llm.objects.get_or_create(**values, defaults={"name": "Built in"})
    return row


@pytest.fixture
def vendor_embedder(upstream: FakeUpstream, alice: User) -> Llm:
    """An embedding model of alice at the fake vendor."""
    return Llm.objects.create(
        owner=alice,
        name="Vendor's",
        vendor="openai_compatible",
        type=LlmType.EMBEDDING,
        base_url=upstream.base_url,
        api_key=SECRET,
        model_name="fake-model",
    )


@pytest.fixture
def base(alice: User, embedder: Llm) -> KnowledgeBase:
    """An empty base of alice with the built-in embedder."""
    return actions.create_base(
        alice.pk,
        {"name": "Handbook", "embedder_id": embedder.pk, "chunk_size": 60, "chunk_overlap": 0},
    )


@pytest.fixture
def vendor_base(alice: User, vendor_embedder: Llm) -> KnowledgeBase:
    """An empty base of alice with the vendor's embedder."""
    values: actions.BaseValues = {
        "name": "Manual",
        "embedder_id": vendor_embedder.pk,
        "chunk_size": 60,
        "chunk_overlap": 0,
    }
    return actions.create_base(alice.pk, values)
