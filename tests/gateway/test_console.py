"""The gateway's pages of the console."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey, User
from gateway.models import PublicModel, Route, UsageRecord
from providers.fakes import FakeUpstream, Step
from tests.conftest import client_with, make_key, make_user
from tests.conversations.admin.pages import assert_harmless, raw, text_of
from tests.gateway.api.conftest import key_of, put_down
from tests.gateway.conftest import make_llm, publish

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback_allowed"),
]
TODAY = datetime.datetime.now(datetime.UTC).date().isoformat()


@pytest.fixture
def operator(transactional_db: None) -> Client:
    client = Client()
    client.force_login(make_user("carol", is_staff=True))
    return client


@pytest.fixture
def fast(upstream: FakeUpstream, transactional_db: None) -> PublicModel:
    return publish("fast", make_llm(upstream), price_input=1_000_000, price_output=1_000_000)


def model_page(row: PublicModel, page: str = "change") -> str:
    return reverse(f"admin:gateway_publicmodel_{page}", args=[row.pk])


def test_it_warns_of_a_name_that_leads_nowhere(operator: Client, fast: PublicModel) -> None:
    works = text_of(operator.get(model_page(fast)))
    assert "is disabled." not in works
    Route.objects.update(is_enabled=False)
    broken = text_of(operator.get(model_page(fast)))
    assert "The route to “row-openai_compatible” is disabled." in broken
    listed = text_of(operator.get(reverse("admin:gateway_publicmodel_changelist")))
    assert "Leads nowhere" in listed


def test_it_shows_how_a_route_does(operator: Client, fast: PublicModel, alice: User) -> None:
    route = Route.objects.get()
    assert "Works" in text_of(operator.get(model_page(fast)))
    failed_at = timezone.now() - datetime.timedelta(minutes=5)
    Route.objects.update(last_error="The model cannot be reached.", last_failed_at=failed_at)
    failing = text_of(operator.get(model_page(fast)))
    assert "Failing" in failing
    assert "The model cannot be reached." in failing
    home = text_of(operator.get("/admin/"))
    assert "Nobody is answered under the public name fast: The model cannot be reached." in home
    put_down(key_of(alice), day=TODAY, route_id=route.pk, started_at=timezone.now().timestamp())
    assert "Works again" in text_of(operator.get(model_page(fast)))
    assert "Nobody is answered" not in text_of(operator.get("/admin/"))


def test_it_shows_a_route_whose_key_cannot_be_decrypted(
    operator: Client, fast: PublicModel
) -> None:
    assert "cannot be decrypted" not in text_of(operator.get(model_page(fast)))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE providers_llm SET api_key = 'nonsense'")
    words = "The stored key of “row-openai_compatible” cannot be decrypted"
    changelist = reverse("admin:gateway_publicmodel_changelist")
    for url in (model_page(fast), "/admin/"):
        assert words in text_of(operator.get(url))
    assert "Leads nowhere" in text_of(operator.get(changelist))
    assert words in text_of(operator.post(model_page(fast, "try"), {"words": "Hello"}))
    api = client_with(make_key(User.objects.get(username="carol")))
    shown = api.get(f"/api/v1/gateway/models/{fast.pk}").json()["data"]
    assert words in shown["problem"]


def test_it_tries_a_model(operator: Client, fast: PublicModel, upstream: FakeUpstream) -> None:
    upstream.behaviour.reply = "I am a test."
    url = model_page(fast, "try")
    assert "Send" in text_of(operator.get(url))
    page = text_of(operator.post(url, {"words": "Who are you?", "max_tokens": "20"}))
    assert "I am a test." in page
    assert "Answered by row-openai_compatible" in page
    row = UsageRecord.objects.get()
    assert row.request_id in page
    assert (row.status, row.key_id, row.owner) == (200, None, User.objects.get(username="carol"))
    assert row.cost > 0
    assert operator.get(reverse("admin:gateway_usagerecord_change", args=[row.pk])).status_code == (
        200
    )


def test_it_says_why_a_model_did_not_answer(
    operator: Client, fast: PublicModel, upstream: FakeUpstream
) -> None:
    refusal = Step(status=400, body={"error": {"message": "Too many words."}})
    upstream.script("chat", refusal)
    page = text_of(operator.post(model_page(fast, "try"), {"words": "Hello"}))
    assert "Too many words." in page
    assert "<dd>0</dd>" in page


def test_it_tries_an_embedding_model(operator: Client, embedding: str) -> None:
    row = PublicModel.objects.get(name=embedding)
    page = text_of(operator.post(model_page(row, "try"), {"words": "Hello"}))
    assert "[" in page
    assert "Answered by vectors" in page


def test_only_operators_try(operator: Client, fast: PublicModel, bob: User) -> None:
    stranger = Client()
    stranger.force_login(bob)
    url = model_page(fast, "try")
    assert stranger.post(url, {"words": "Hello"}).status_code == 302
    assert not UsageRecord.objects.exists()
    assert operator.post(url, {"words": "Hello"}).status_code == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"good", "bad", "left"}),
        ({"outcome": "error"}, {"bad"}),
        ({"outcome": "failed"}, {"bad"}),
        ({"outcome": "refused"}, set()),
        ({"outcome": "aborted"}, {"left"}),
        ({"outcome": "ok"}, {"good", "left"}),
        ({"model": "bad"}, {"bad"}),
        ({"q": "req_bad"}, {"bad"}),
        ({"key": "x"}, {"good", "bad", "left"}),
        ({"key": "999"}, set()),
    ],
)
def test_it_finds_requests(
    operator: Client, alice: User, query: dict[str, str], found: set[str]
) -> None:
    key = key_of(alice)
    rows: dict[str, dict[str, Any]] = {
        "good": {},
        "bad": {"status": 502, "error_type": "upstream_error", "error_message": "It broke."},
        "left": {"is_aborted": True},
    }
    for name, values in rows.items():
        put_down(key, day=TODAY, request_id=f"req_{name}", model=name, **values)
    page = text_of(operator.get(reverse("admin:gateway_usagerecord_changelist"), query))
    # The console escapes ids in its own way.
    assert {name for name in rows if f"req_5F{name}/change/" in page} == found


def test_it_shows_a_request_with_its_error(operator: Client, alice: User) -> None:
    attack = "<script>alert('x')</script><img src=x onerror=alert(1)>"
    put_down(
        key_of(alice),
        request_id="req_bad",
        status=502,
        error_message=attack,
        model=attack,
    )
    url = reverse("admin:gateway_usagerecord_change", args=["req_5Fbad"])
    page = operator.get(url)
    assert "req_bad" in text_of(page)
    assert_harmless(page)
    assert_harmless(operator.get(reverse("admin:gateway_usagerecord_changelist")))
    assert operator.post(url, {"status": "200"}).status_code == 403


def test_it_shows_keys_with_their_month(operator: Client, alice: User) -> None:
    key = key_of(alice, monthly_token_budget=100, monthly_cost_budget="10.00")
    put_down(key, day=TODAY)
    listed = text_of(operator.get(reverse("admin:accounts_apikey_changelist")))
    assert "120 tokens of 100" in listed
    assert "cost 0.50 of 10.00" in listed
    assert "Budget used up" in listed
    ApiKey.objects.update(monthly_token_budget=None)
    listed = text_of(operator.get(reverse("admin:accounts_apikey_changelist")))
    assert "Usable" in listed
    assert "Budget used up" not in listed
    ApiKey.objects.update(monthly_token_budget=100)
    page = text_of(operator.get(reverse("admin:accounts_apikey_change", args=[key.pk])))
    assert "120 tokens of 100" in page
    home = text_of(operator.get("/admin/"))
    assert "The key tests has used up its budget of this month." in home


def test_a_new_key_may_neither_manage_nor_spend_unless_that_is_chosen(
    operator: Client, alice: User
) -> None:
    url = reverse("admin:accounts_apikey_add")
    form = raw(operator.get(url))
    ticked = set(re.findall(r'name="scopes" value="(\w+)"[^>]*? checked[\s>]', form))
    assert ticked == {"chat", "tasks", "voice"}
    fields = {"name": "phone", "owner": alice.pk, "is_enabled": "on"}
    assert operator.post(url, {**fields, "scopes": sorted(ticked)}).status_code == 302
    page = raw(operator.get(reverse("admin:accounts_apikey_changelist")))
    assert 'data-copy="new-key"' in page
    assert "Chat, Background tasks, Voice calls" in page
    ApiKey.objects.update(scopes=["chat", "tasks", "voice", "manage"])
    assert "All but “Model gateway”" in text_of(
        operator.get(reverse("admin:accounts_apikey_changelist"))
    )


def test_it_limits_keys_to_models_that_there_are(
    operator: Client, fast: PublicModel, alice: User
) -> None:
    url = reverse("admin:accounts_apikey_add")
    fields = {"name": "phone", "owner": alice.pk, "scopes": ["gateway"], "is_enabled": "on"}
    refused = operator.post(url, {**fields, "allowed_models": "fast, fsat"})
    assert "There is no model of this name: “fsat”." in text_of(refused)
    assert operator.post(url, {**fields, "allowed_models": "fast"}).status_code == 302
    key = alice.api_keys.get()
    assert key.allowed_models == ["fast"]
    fast.delete()
    change = reverse("admin:accounts_apikey_change", args=[key.pk])
    assert operator.post(change, {**fields, "allowed_models": "fast"}).status_code == 302


def test_it_draws_what_days_cost(operator: Client, alice: User) -> None:
    url = reverse("gateway-usage-page")
    assert "Nothing was asked on the gateway in this time." in text_of(operator.get(url))
    key = key_of(alice)
    put_down(key, day=TODAY, model="dear", cost="0.0034")
    put_down(key, day=TODAY, model="free", cost="0", status=500)
    page = text_of(operator.get(url))
    for words in ("Cost per day", "0.0034", "dear", "free", "2 requests, 1 errors", "tests"):
        assert words in page, words
