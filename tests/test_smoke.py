import pytest

from accounts.models import User
from providers.models import Llm


@pytest.mark.django_db
def test_it_keeps_a_models_key_encrypted(alice: User) -> None:
    Llm.objects.create(name="m", owner=alice, vendor="openai", api_key="sk-secret")
    raw = Llm.objects.extra(select={"raw": "api_key"}).values_list("raw", flat=True)[0]
    assert "sk-secret" not in raw
    assert Llm.objects.get().api_key == "sk-secret"
