"""A base whose documents the built-in embedder can embed, also where the catalogue was emptied."""

from __future__ import annotations

import pytest

from accounts.models import User
from knowledge import actions
from knowledge.models import KnowledgeBase
from providers.models import Llm, LlmType


@pytest.fixture
def embedder(db: None) -> Llm:
    """The system's built-in embedding model."""
    values = {"owner": None, "vendor": "builtin", "type": LlmType.EMBEDDING}
    row, _is_new = Llm.objects.get_or_create(**values, defaults={"name": "Built in"})
    return row


@pytest.fixture
def base(alice: User, embedder: Llm) -> KnowledgeBase:
    """An empty base of alice."""
    return actions.create_base(alice.pk, {"name": "Handbook"})
