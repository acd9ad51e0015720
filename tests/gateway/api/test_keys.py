"""Keys of the gateway over REST: shown once, bounded, and never loosened by who is bound."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from accounts.principals import principal_for_credential
from assistants.models import Assistant
from gateway.models import PublicModel
from providers.models import Llm
from tests.conftest import client_with, make_key
from tests.gateway.api.conftest import key_of
from tests.rest import PlatformResourceCases, data_of, error_of

PATH = "/api/v1/gateway/keys"
LIMITS = {
    "rate_per_min": 30,
    "tokens_per_min": 5000,
    "allowed_models": ["fast", "assistant:Guide"],
    "monthly_token_quota": 100_000,
    "monthly_cost_budget": 12.5,
}


@pytest.fixture(autouse=True)
def models(alice: User) -> None:
    for name in ("fast", "small", "dear"):
        PublicModel.objects.create(name=name)
    Assistant.objects.create(owner=alice, name="Guide")


class TestKeys(PlatformResourceCases):
    path = PATH
    unknown_id = "999999999"
    not_found_code = "API_KEY_NOT_FOUND"
    create_data: ClassVar[dict[str, Any]] = {"name": "phone"}
    update_data: ClassVar[dict[str, Any]] = {"name": "tablet"}

    def make(self, owner: User) -> ApiKey:
        return key_of(owner)


def test_it_makes_a_key_with_its_limits_and_shows_it_once(alice_api: APIClient) -> None:
    made = data_of(alice_api.post(PATH, {"name": "phone", "scopes": ["gateway"], **LIMITS}), 201)
    assert {name: made[name] for name in LIMITS} == LIMITS
    assert principal_for_credential(made["key"]).key_id == made["id"]
    shown = data_of(alice_api.get(f"{PATH}/{made['id']}"))
    assert "key" not in shown
    assert {name: shown[name] for name in LIMITS} == LIMITS
    row = ApiKey.objects.get(pk=made["id"])
    assert (row.requests_per_minute, row.monthly_token_budget) == (30, 100_000)


def test_it_switches_a_key_off_and_on(alice_api: APIClient, alice: User) -> None:
    key = key_of(alice)
    for enabled in (False, True):
        assert data_of(alice_api.patch(f"{PATH}/{key.pk}", {"enabled": enabled}))["enabled"] is (
            enabled
        )


@pytest.mark.parametrize(
    ("name", "tighter", "looser"),
    [
        ("tokens_per_min", 10, 6000),
        ("tokens_per_min", 10, None),
        ("monthly_token_quota", 0, 100_001),
        ("monthly_cost_budget", 1, 12.51),
        ("monthly_cost_budget", 1, None),
        ("allowed_models", ["fast"], ["fast", "dear"]),
        ("allowed_models", ["fast"], []),
    ],
)
def test_it_lets_owners_tighten_limits_and_operators_loosen_them(
    alice: User, alice_api: APIClient, carol_api: APIClient, name: str, tighter: Any, looser: Any
) -> None:
    key = key_of(
        alice,
        tokens_per_minute=5000,
        monthly_token_budget=100_000,
        monthly_cost_budget="12.50",
        allowed_models=["fast", "small"],
    )
    url = f"{PATH}/{key.pk}"
    error = error_of(alice_api.patch(url, {name: looser}), 400)
    assert list(error["details"]) == [name]
    assert data_of(alice_api.patch(url, {name: tighter}))[name] == tighter
    assert data_of(carol_api.patch(url, {name: looser}))[name] == looser


def test_no_limited_key_of_an_operator_loosens_limits(carol: User, alice: User) -> None:
    key = key_of(alice, monthly_token_budget=10)
    limited = client_with(make_key(carol, monthly_token_budget=5))
    error_of(limited.patch(f"{PATH}/{key.pk}", {"monthly_token_quota": 11}), 400)
    free = client_with(make_key(carol))
    data_of(free.patch(f"{PATH}/{key.pk}", {"monthly_token_quota": 11}))


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("fast", True),
        ("mine", True),
        ("other", True),
        ("assistant:Guide", True),
        ("fsat", False),
        ("theirs", False),
        ("assistant:Gone", False),
        ("assistant:", False),
        ("assistant:a'b", False),
    ],
)
def test_it_limits_keys_to_models_that_there_are(
    alice: User, bob: User, alice_api: APIClient, name: str, is_known: bool
) -> None:
    fields = {"vendor": "openai_compatible", "model_name": "m"}
    Llm.objects.create(owner=alice, name="mine", aliases=["other"], **fields)
    Llm.objects.create(owner=bob, name="theirs", **fields)
    key = key_of(alice)
    asked = {"allowed_models": ["fast", name]}
    for answer, status in (
        (alice_api.post(PATH, {"name": "phone", **asked}), 201),
        (alice_api.patch(f"{PATH}/{key.pk}", asked), 200),
    ):
        if is_known:
            data_of(answer, status)
        else:
            assert list(error_of(answer, 400)["details"]) == ["allowed_models"]


def test_it_keeps_the_name_of_a_model_that_is_gone(alice: User, alice_api: APIClient) -> None:
    key = key_of(alice, allowed_models=["fast", "gone"])
    asked = {"allowed_models": ["gone"]}
    data_of(alice_api.patch(f"{PATH}/{key.pk}", asked))
    error_of(alice_api.post(PATH, {"name": "phone", **asked}), 400)


def test_it_hands_down_the_models_of_the_maker(alice: User) -> None:
    maker = client_with(make_key(alice, allowed_models=["fast", "small"]))
    assert data_of(maker.post(PATH, {"name": "a"}), 201)["allowed_models"] == ["fast", "small"]
    fewer = maker.post(PATH, {"name": "b", "allowed_models": ["small"]})
    assert data_of(fewer, 201)["allowed_models"] == ["small"]
    before = ApiKey.objects.count()
    more = maker.post(PATH, {"name": "c", "allowed_models": ["dear"]})
    assert list(error_of(more, 400)["details"]) == ["allowed_models"]
    assert ApiKey.objects.count() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate_per_min", 0),
        ("tokens_per_min", "many"),
        ("allowed_models", "fast"),
        ("monthly_token_quota", -1),
        ("monthly_cost_budget", "1.234"),
        ("monthly_cost_budget", 10**12),
    ],
)
def test_it_names_the_field_that_is_wrong(alice_api: APIClient, field: str, value: Any) -> None:
    error = error_of(alice_api.post(PATH, {"name": "a", field: value}), 400)
    assert list(error["details"]) == [field]
    assert not ApiKey.objects.filter(name="a").exists()


def test_it_needs_the_scope_manage(alice: User) -> None:
    for path in ("keys", "usage", "requests"):
        url = f"/api/v1/gateway/{path}"
        assert error_of(client_with(make_key(alice, scopes=["gateway"])).get(url), 403)
        data_of(client_with(make_key(alice, scopes=["manage"])).get(url))


def test_it_makes_keys_for_the_gateway_alone_unless_more_is_asked_for(
    alice_api: APIClient,
) -> None:
    assert data_of(alice_api.post(PATH, {"name": "app"}), 201)["scopes"] == ["gateway"]
    both = {"name": "app", "scopes": ["chat", "gateway"]}
    assert data_of(alice_api.post(PATH, both), 201)["scopes"] == ["chat", "gateway"]


@pytest.mark.parametrize("field", ["requests_per_minute", "monthly_token_budget", "is_enabled"])
def test_it_takes_no_limit_under_another_name(alice_api: APIClient, field: str) -> None:
    made = data_of(alice_api.post(PATH, {"name": "app"}), 201)
    assert field in json.dumps(error_of(alice_api.post(PATH, {"name": "b", field: 3}), 400))
    assert field in json.dumps(error_of(alice_api.patch(f"{PATH}/{made['id']}", {field: 3}), 400))
