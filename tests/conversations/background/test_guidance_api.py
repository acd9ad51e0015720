"""`/prompts`, `/personalizations` and `/models`."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from conversations.models import Personalization, Prompt
from providers.models import Llm, LlmType
from tests.conversations.background.conftest import make_llm, ok, refused

PROMPTS, PERSONALIZATIONS = "/api/v1/prompts", "/api/v1/personalizations"
CONTENT: dict[str, Any] = {PROMPTS: "Be short.", PERSONALIZATIONS: {"tone": "幽默"}}

pytestmark = pytest.mark.django_db

both = pytest.mark.parametrize("path", [PROMPTS, PERSONALIZATIONS])


def save(api: APIClient, path: str, name: str = "mine") -> dict[str, Any]:
    return ok(api.post(path, {"name": name, "content": CONTENT[path]}))


def test_a_prompt_is_saved_listed_read_and_replaced(alice_api: APIClient) -> None:
    assert save(alice_api, PROMPTS) == {"success": True, "name": "mine"}
    (listed,) = ok(alice_api.get(PROMPTS))["items"]
    assert listed.pop("updated_at")
    assert listed == {"name": "mine", "size": 9}
    read = ok(alice_api.get(f"{PROMPTS}/mine"))
    assert read == {"success": True, "name": "mine", "content": "Be short."}
    ok(alice_api.post(PROMPTS, {"name": "mine", "content": "简短"}))
    assert ok(alice_api.get(f"{PROMPTS}/mine"))["content"] == "简短"
    assert ok(alice_api.get(PROMPTS))["items"][0]["size"] == 6
    assert Prompt.objects.count() == 1


def test_a_personalization_is_saved_as_it_was_understood(alice_api: APIClient) -> None:
    sent = {"tone": "幽默", "unknown": 1, "considerations": ["a" * 60]}
    saved = ok(alice_api.post(PERSONALIZATIONS, {"name": "mine", "content": sent}))
    assert saved["content"]["tone"] == "幽默"
    assert saved["content"]["considerations"] == ["a" * 50]
    assert "unknown" not in saved["content"]
    read = ok(alice_api.get(f"{PERSONALIZATIONS}/mine"))
    assert read == saved
    (listed,) = ok(alice_api.get(PERSONALIZATIONS))["items"]
    assert set(listed) == {"name", "size", "updated_at"}
    ok(alice_api.post(PERSONALIZATIONS, {"name": "mine", "content": {}}))
    assert ok(alice_api.get(f"{PERSONALIZATIONS}/mine"))["content"]["tone"] == ""


@both
@pytest.mark.parametrize(
    "name", ["", " ", None, "a b", "a/b", "../a", "a.txt", "x" * 65, 5, ["a"], "a\n", "a\u200b"]
)
def test_it_takes_no_other_names(alice_api: APIClient, path: str, name: Any) -> None:
    if name == "a\n":  # what stands around a name is not part of it
        name = "a\nb"
    message = refused(alice_api.post(path, {"name": name, "content": CONTENT[path]}), 400)
    assert "name" in message
    assert ok(alice_api.get(path))["items"] == []
    for good in ("a", "提示-1", "x" * 64, "A_b-9"):
        save(alice_api, path, good)


@both
def test_a_name_is_needed(alice_api: APIClient, path: str) -> None:
    sent = {"content": CONTENT[path]}
    assert refused(alice_api.post(path, sent), 400) == "name must not be empty."
    save(alice_api, path)


@both
@pytest.mark.parametrize("content", [None, 5, True, ["a"]])
def test_a_content_of_another_form_is_refused(
    alice_api: APIClient, path: str, content: Any
) -> None:
    refused(alice_api.post(path, {"name": "mine", "content": content}), 400)
    save(alice_api, path)


def test_each_content_has_its_form(alice_api: APIClient) -> None:
    prompt = alice_api.post(PROMPTS, {"name": "mine", "content": {}})
    assert refused(prompt, 400) == "content must be a text."
    personalization = alice_api.post(PERSONALIZATIONS, {"name": "mine", "content": "x"})
    assert refused(personalization, 400) == "content must be a JSON object."
    long = alice_api.post(PROMPTS, {"name": "mine", "content": "x" * 100_001})
    assert "100000" in refused(long, 400)


@both
def test_it_deletes_one(alice_api: APIClient, path: str) -> None:
    save(alice_api, path)
    ok(alice_api.delete(f"{path}/mine"))
    refused(alice_api.get(f"{path}/mine"), 404)
    refused(alice_api.delete(f"{path}/mine"), 404)


@both
def test_names_are_each_users_own(
    alice_api: APIClient, bob_api: APIClient, carol_api: APIClient, alice: User, path: str
) -> None:
    save(alice_api, path)
    for other in (bob_api, carol_api):
        assert ok(other.get(path))["items"] == []
        unknown = refused(other.get(f"{path}/nobodys"), 404)
        assert refused(other.get(f"{path}/mine"), 404) == unknown
        assert refused(other.delete(f"{path}/mine"), 404) == unknown
        save(other, path)
    model = Prompt if path == PROMPTS else Personalization
    assert model.objects.filter(name="mine").count() == 3
    ok(alice_api.delete(f"{path}/mine"))
    ok(bob_api.get(f"{path}/mine"))


# --- Models --------------------------------------------------------------------------------------


def test_it_lists_the_models_that_can_be_asked_the_default_first(
    alice_api: APIClient, alice: User, bob: User
) -> None:
    system = make_llm("System", supports_thinking=True, description="Slow", context_length=8000)
    own = make_llm("Own", owner=alice, accepts_images=True, max_output_tokens=500)
    make_llm("His", owner=bob)
    make_llm("Off", is_enabled=False)
    Llm.objects.create(name="Vectors", vendor="openai_compatible", type=LlmType.EMBEDDING)
    items = ok(alice_api.get("/api/v1/models"))["items"]
    assert items == [
        {
            "model_key": own.pk,
            "name": "Own",
            "description": "",
            "supports_thinking": False,
            "fast_only": True,
            "multimodal": True,
            "context_window": None,
            "max_output_tokens": 500,
        },
        {
            "model_key": system.pk,
            "name": "System",
            "description": "Slow",
            "supports_thinking": True,
            "fast_only": False,
            "multimodal": False,
            "context_window": 8000,
            "max_output_tokens": None,
        },
    ]
    body = ok(alice_api.post("/api/v1/messages", {"message": "Hi"}), 202)
    shown = ok(alice_api.get(f"/api/v1/conversations/{body['conversation_id']}"))
    assert shown["data"]["metadata"]["model_key"] == items[0]["model_key"]
