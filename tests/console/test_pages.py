"""The console's pages, as an operator and as others."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, User, hash_key
from assistants.models import Assistant
from conversations.models import Call, CallSource, CallStatus, Channel, Conversation, Message, Role
from providers.catalogue import sync_builtin_models
from providers.fakes import FakeUpstream
from providers.models import Llm, LlmType, Provider
from tests.conftest import make_key
from tooling.catalogue import sync_builtin_tools

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


@pytest.fixture
def content(alice: User) -> Conversation:
    sync_builtin_models()
    sync_builtin_tools()
    assistant = Assistant.objects.create(name="Guide", owner=alice)
    conversation = Conversation.objects.create(
        owner=alice,
        assistant=assistant,
        assistant_key=assistant.pk,
        assistant_name="Guide",
        channel=Channel.VOICE,
    )
    Call.objects.create(
        conversation=conversation,
        source=CallSource.EXTERNAL,
        status=CallStatus.FAILED,
        error_code="llm.failed",
        error_message="The model refused the key.",
    )
    Message.objects.create(
        conversation=conversation,
        turn=1,
        seq=1,
        role=Role.ASSISTANT,
        text="Welcome",
        generated_text="Welcome to the museum.",
        is_interrupted=True,
    )
    return conversation


def page_urls() -> list[str]:
    return [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}")
        for model, model_admin in admin.site._registry.items()
        for page in ("changelist", "add")
        if page == "changelist"
        or model_admin.has_add_permission.__qualname__.startswith("Operator")
    ]


def test_it_shows_every_list_and_every_empty_form_to_operators(
    operator: Client, content: Conversation
) -> None:
    for url in page_urls():
        assert operator.get(url).status_code == 200, url


def test_it_shows_every_stored_row_to_operators(operator: Client, content: Conversation) -> None:
    for model in admin.site._registry:
        row = model._default_manager.first()
        if row is not None:
            opts = model._meta
            url = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[row.pk])
            assert operator.get(url).status_code == 200, url


def test_it_shows_nothing_to_ordinary_users(operator: Client, bob: User) -> None:
    client = Client()
    client.force_login(bob)
    for url in page_urls():
        assert client.get(url).status_code == 302, url


def test_it_says_on_the_home_page_what_is_wrong(operator: Client, content: Conversation) -> None:
    Llm.objects.create(
        name="Broken", vendor="openai", last_check_ok=False, last_check_message="Bad key."
    )
    text = operator.get("/admin/").content.decode()
    assert "No real speech recogniser is configured" in text
    assert "The last test of Broken failed: Bad key." in text
    assert "1 call failed in the last 24 hours." in text
    assert "No real language model" not in text


def test_it_leads_from_a_failing_model_to_its_conversations(
    operator: Client, content: Conversation
) -> None:
    quiet = operator.get("/admin/").content.decode()
    assert "OpenAI cannot be reached." not in quiet
    Message.objects.create(
        conversation=content, turn=2, seq=2, role=Role.ASSISTANT, error="OpenAI cannot be reached."
    )
    home = operator.get("/admin/").content.decode()
    assert "1 turn failed in the last 24 hours: OpenAI cannot be reached." in home
    url = reverse("admin:conversations_conversation_changelist")
    assert content.pk in operator.get(url + "?trouble=yes").content.decode()
    Message.objects.filter(seq=2).delete()
    assert content.pk not in operator.get(url + "?trouble=yes").content.decode()


def test_it_shows_a_call_with_its_error_and_what_was_not_heard(
    operator: Client, content: Conversation
) -> None:
    url = reverse("admin:conversations_conversation_change", args=[content.pk])
    text = operator.get(url).content.decode()
    assert "llm.failed: The model refused the key." in text
    assert "not heard:  to the museum." in text


def test_it_speaks_chinese_when_asked(operator: Client) -> None:
    page = operator.get("/admin/", headers={"Accept-Language": "zh-hans"})
    assert "助手" in page.content.decode()


@pytest.mark.parametrize(
    ("model", "first", "missing"),
    [
        ("reranker", "dashscope", "openai"),
        ("embedder", "openai", "anthropic"),
        ("llm", "openai", "voyage"),
    ],
)
def test_it_offers_the_vendors_that_have_such_models(
    operator: Client, model: str, first: str, missing: str
) -> None:
    page = operator.get(reverse(f"admin:providers_{model}_add")).content.decode()
    assert f'<option value="{first}" selected' in page
    assert f'<option value="{missing}"' not in page


# --- secrets -------------------------------------------------------------------------------------
PROVIDER = {"name": "Ours", "vendor": "openai", "base_url": "", "is_enabled": "on", "owner": ""}


@pytest.fixture
def provider() -> Provider:
    return Provider.objects.create(name="Ours", vendor="openai", api_key="sk-secret-0123456789")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({}, "sk-secret-0123456789"),
        ({"api_key": ""}, "sk-secret-0123456789"),
        ({"api_key": "sk-new"}, "sk-new"),
        ({"api_key-remove": "on"}, ""),
    ],
)
def test_it_keeps_replaces_or_removes_a_secret_and_never_shows_it(
    operator: Client, provider: Provider, sent: dict[str, str], stored: str
) -> None:
    url = reverse("admin:providers_provider_change", args=[provider.pk])
    page = operator.get(url).content.decode()
    assert "sk-secret" not in page
    assert "************6789" in page
    assert operator.post(url, {**PROVIDER, **sent}).status_code == 302
    provider.refresh_from_db()
    assert provider.api_key == stored


# --- keys ----------------------------------------------------------------------------------------
def test_it_shows_a_new_key_once(operator: Client, alice: User) -> None:
    page = operator.post(
        reverse("admin:accounts_apikey_add"),
        {"name": "Robot", "owner": alice.pk, "scopes": ["voice"], "is_enabled": "on"},
        follow=True,
    ).content.decode()
    row = ApiKey.objects.get(name="Robot")
    shown = page.split('id="new-key">')[1].split("<")[0]
    assert hash_key(shown) == row.digest
    assert row.scopes == ["voice"]
    again = operator.get(reverse("admin:accounts_apikey_change", args=[row.pk])).content.decode()
    assert shown not in again


@pytest.mark.parametrize("is_superuser", [True, False])
def test_it_makes_keys_of_superusers_for_superusers_only(
    operator: Client, carol: User, alice: User, is_superuser: bool
) -> None:
    carol.is_superuser = is_superuser
    carol.save()
    chief = User.objects.create_superuser("chief", password="chief-password")
    sent = {"name": "Robot", "scopes": ["voice"], "is_enabled": "on"}
    for owner in (alice, chief):
        operator.post(reverse("admin:accounts_apikey_add"), {**sent, "owner": owner.pk})
    assert alice.api_keys.count() == 1
    assert chief.api_keys.count() == is_superuser


def test_it_never_moves_a_key_to_another_owner(operator: Client, alice: User, bob: User) -> None:
    make_key(alice)
    row = ApiKey.objects.get()
    url = reverse("admin:accounts_apikey_change", args=[row.pk])
    sent = {"name": "Renamed", "owner": bob.pk, "scopes": ["voice"], "is_enabled": "on"}
    assert operator.post(url, sent).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.owner) == ("Renamed", alice)


def test_it_keeps_operators_off_the_keys_of_superusers(operator: Client, alice: User) -> None:
    chief = User.objects.create_superuser("chief", password="chief-password")
    sent = {"name": "Renamed", "scopes": ["voice"], "is_enabled": ""}
    for owner, status in ((alice, 302), (chief, 403)):
        make_key(owner)
        row = ApiKey.objects.get(owner=owner)
        url = reverse("admin:accounts_apikey_change", args=[row.pk])
        assert operator.post(url, sent).status_code == status
    ApiKey.objects.update(is_enabled=True)
    selected = list(ApiKey.objects.values_list("pk", flat=True))
    operator.post(
        reverse("admin:accounts_apikey_changelist"),
        {"action": "disable", "_selected_action": selected},
    )
    assert ApiKey.objects.get(is_enabled=False).owner == alice


# --- the door --------------------------------------------------------------------------------
def sign_in(name: str, password: str, *, address: str = "127.0.0.1") -> tuple[bool, str]:
    """Whether the console's login page lets in, and what it shows."""
    response = Client(REMOTE_ADDR=address).post(
        "/admin/login/", {"username": name, "password": password}
    )
    return response.status_code == 302, html.unescape(response.content.decode())


def test_it_slows_down_who_guesses_passwords_at_either_door(carol: User) -> None:
    api = Client()
    body = {"user_name": "carol", "user_password": "wrong"}
    for _number in range(10):
        assert not sign_in("carol", "wrong")[0]
        api.post("/api/v1/user/login", body, content_type="application/json")
    refused, page = sign_in("carol", "carol-password")
    assert not refused
    assert "Too many attempts; try again later." in page
    response = api.post("/api/v1/user/login", body, content_type="application/json")
    assert response.status_code == 429
    assert sign_in("carol", "carol-password", address="10.0.0.9")[0]


def test_it_slows_down_who_guesses_at_one_account_from_many_addresses(
    carol: User, alice: User
) -> None:
    alice.is_staff = True
    alice.save()
    for number in range(40):
        name = "CAROL" if number % 2 else "carol"
        assert not sign_in(name, "wrong", address=f"10.0.0.{number}")[0]
    is_in, page = sign_in("carol", "carol-password", address="10.0.1.1")
    assert not is_in
    assert "Too many attempts" in page
    assert sign_in("alice", "alice-password", address="10.0.1.1")[0]


def test_it_finds_an_account_in_whatever_case_and_makes_no_second_one(
    operator: Client, carol: User
) -> None:
    assert sign_in("Carol", "carol-password")[0]
    sent = {
        "username": "CAROL",
        "password1": "Look-alike-1234",
        "password2": "Look-alike-1234",
        "usable_password": "true",
    }
    url = reverse("admin:accounts_user_add")
    page = html.unescape(operator.post(url, sent).content.decode())
    assert "already exists" in page or "taken" in page
    assert operator.post(url, {**sent, "username": "caroline"}).status_code == 302
    assert set(User.objects.values_list("username", flat=True)) == {"carol", "caroline"}
    url = reverse("admin:accounts_user_change", args=[User.objects.get(username="caroline").pk])
    page = operator.post(url, {"username": "Carol", "is_active": "on"}).content.decode()
    assert "This user name is taken." in page


# --- rights --------------------------------------------------------------------------------------
def test_it_lets_only_superusers_make_operators(operator: Client, bob: User, carol: User) -> None:
    url = reverse("admin:accounts_user_change", args=[bob.pk])
    sent = {"username": "bob", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    operator.post(url, sent)
    bob.refresh_from_db()
    assert not bob.is_staff
    carol.is_superuser = True
    carol.save()
    operator.post(url, sent)
    bob.refresh_from_db()
    assert bob.is_staff


def test_it_keeps_operators_off_the_passwords_of_superusers(operator: Client) -> None:
    chief = User.objects.create_superuser("chief", password="chief-password")
    bob = User.objects.create_user("other", password="other-password")
    sent = {
        "password1": "Taken-over-1234",
        "password2": "Taken-over-1234",
        "usable_password": "true",
    }
    for user, is_allowed in ((bob, True), (chief, False)):
        url = reverse("admin:auth_user_password_change", args=[user.pk])
        operator.post(url, sent)
        user.refresh_from_db()
        assert user.check_password("Taken-over-1234") is is_allowed


# --- assistants ----------------------------------------------------------------------------------
def assistant_form(**fields: Any) -> dict[str, Any]:
    """What the browser would send of an empty form, with these fields filled in."""
    return {
        "name": "Guide",
        "language": "en",
        "first_turn_mode": "bot_first",
        "manual_opener_tool_calls": "[]",
        "speed": "1",
        "interruption_sensitivity_ms": "500",
        "end_of_turn_silence_ms": "500",
        "knowledge_mode": "before",
        "knowledge_limit": "5",
        "knowledge_min_score": "0.3",
        "config_mode": "platform",
        **fields,
    }


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"allowed_origins": "https://shop.example/path"}, "Expected origins such as"),
        ({"config_mode": "dify"}, "Dify needs the address of its API."),
        ({"config_mode": "fastgpt"}, "FastGPT needs the address of its API."),
        ({"config_mode": "fastgpt", "api_url": "ftp://brain.example"}, "Expected an address"),
    ],
)
def test_it_checks_assistants_as_the_api_does(
    operator: Client, sent: dict[str, str], message: str
) -> None:
    url = reverse("admin:assistants_assistant_add")
    assert "Brain" in operator.get(url).content.decode()
    refused = operator.post(url, assistant_form(**sent))
    assert message in html.unescape(refused.content.decode())
    good = {
        "allowed_origins": "HTTPS://Shop.example/, https://shop.example",
        "config_mode": "fastgpt",
        "api_url": "https://brain.example/api/v1",
        "api_key": "fastgpt-key",
    }
    assert operator.post(url, assistant_form(**good)).status_code == 302
    row = Assistant.objects.get()
    assert row.allowed_origins == ["https://shop.example"]
    assert (row.config_mode, row.api_key) == ("fastgpt", "fastgpt-key")


# --- models --------------------------------------------------------------------------------------
def llm_form(**fields: Any) -> dict[str, Any]:
    return {"name": "Brain", "model_name": "m", "is_enabled": "on", "vendor": "", **fields}


def test_it_takes_the_vendor_of_a_model_from_its_provider(
    operator: Client, provider: Provider
) -> None:
    url = reverse("admin:providers_llm_add")
    refused = operator.post(url, llm_form())
    assert "Choose a provider or a vendor." in refused.content.decode()
    assert operator.post(url, llm_form(provider=provider.pk)).status_code == 302
    row = Llm.objects.get(name="Brain")
    assert (row.vendor, row.type) == ("openai", LlmType.TEXT)


def test_it_tests_a_new_model_at_once(
    operator: Client, upstream: FakeUpstream, transactional_db: None
) -> None:
    url = reverse("admin:providers_llm_add")
    good = llm_form(vendor="openai_compatible", base_url=upstream.base_url)
    operator.post(url, good)
    assert Llm.objects.get(name="Brain").last_check_ok is True
    operator.post(url, {**good, "name": "Gone", "base_url": "http://127.0.0.1:9/v1"})
    gone = Llm.objects.get(name="Gone")
    assert gone.last_check_ok is False
    assert gone.last_check_message


def test_it_refuses_what_is_no_address(operator: Client) -> None:
    url = reverse("admin:providers_llm_add")
    sent = llm_form(vendor="openai_compatible", base_url="file:///etc/passwd")
    assert "Expected an address" in operator.post(url, sent).content.decode()
    sent = llm_form(vendor="openai_compatible", base_url="https://models.example/v1")
    assert operator.post(url, sent).status_code == 302


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_from_list", [True, False])
def test_it_tests_a_model_and_shows_the_result(operator: Client, is_from_list: bool) -> None:
    sync_builtin_models()
    row = Llm.objects.filter(type=LlmType.TEXT).get()
    if is_from_list:
        url = reverse("admin:providers_llm_changelist")
        sent = {"action": "test_selected", "_selected_action": row.pk}
    else:
        url = reverse("admin:providers_llm_change", args=[row.pk])
        sent = llm_form(name=row.name, model_name=row.model_name, vendor="builtin")
        sent["providers_llm_save_and_test"] = "1"
    page = html.unescape(operator.post(url, sent, follow=True).content.decode())
    row.refresh_from_db()
    assert row.last_check_ok is True
    assert row.last_check_message in page


def test_it_answers_addresses_with_a_nul_like_unknown_pages(operator: Client) -> None:
    url = reverse("admin:providers_llm_changelist")
    assert operator.get(f"{url}?q=a").status_code == 200
    for address in (f"{url}?q=%00", f"{url}%00/change/", f"{url}?owner__id__exact=a%00b"):
        page = operator.get(address)
        assert page.status_code == 404
        assert 'href="/admin/"' in page.content.decode()


def test_it_answers_unknown_pages_and_forbidden_ones_with_a_way_back(operator: Client) -> None:
    for url, status in (("/admin/nope/", 404), (reverse("admin:tooling_autotestrun_add"), 403)):
        page = operator.get(url)
        assert page.status_code == status
        assert 'href="/admin/"' in page.content.decode()
