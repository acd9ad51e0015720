"""Which model serves where none was chosen."""

from __future__ import annotations

import pytest

from accounts.models import User
from providers.catalogue import sync_builtin_models
from providers.models import Asr, Llm, LlmType, Provider, Voice
from providers.specs import default_llm, in_use

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


def test_in_use_is_what_is_enabled_together_with_its_provider() -> None:
    off = Provider.objects.create(name="Off", vendor="deepseek", is_enabled=False)
    on = Provider.objects.create(name="On", vendor="openai")
    Llm.objects.create(name="a", vendor="openai", model_name="m", provider=on)
    Llm.objects.create(name="b", vendor="openai", model_name="n")
    Llm.objects.create(name="c", vendor="jina", model_name="m", type=LlmType.RERANK)
    Llm.objects.create(name="d", vendor="anthropic", model_name="m", is_enabled=False)
    Llm.objects.create(name="e", vendor="deepseek", model_name="m", provider=off)
    Asr.objects.create(name="f", vendor="siliconflow")
    Voice.objects.create(name="g", vendor="builtin", is_enabled=False)
    assert in_use() == {("text", "openai"), ("rerank", "jina"), ("asr", "siliconflow")}
