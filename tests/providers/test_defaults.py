"""Which model serves where none was chosen."""

from __future__ import annotations

import pytest

from accounts.models import User
from providers.catalogue import sync_builtin_models
from providers.models import Llm
from providers.specs import default_llm

pytestmark = pytest.mark.django_db


def test_it_takes_a_real_model_unless_its_last_test_failed(alice: User) -> None:
    sync_builtin_models()
    real = Llm.objects.create(name="Real", vendor="openai", model_name="m")
    assert default_llm(alice.pk) == real
    real.note_check(is_ok=False, message="Wrong key.")
    offline = default_llm(alice.pk)
    assert offline is not None
    assert offline.vendor == "builtin"
    real.note_check(is_ok=True, message="Answered.")
    assert default_llm(alice.pk) == real
