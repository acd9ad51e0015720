"""API keys over REST: shown once, and never mightier than what made them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import tokens
from accounts.actions import MAX_KEYS_PER_USER
from accounts.models import ApiKey, Scope, User
from accounts.principals import principal_for_credential
from tests.conftest import client_with, make_key
from tests.rest import PlatformResourceCases, data_of, error_of

PATH = "/api/v1/api-keys"


class TestApiKeys(PlatformResourceCases):
    path = PATH
    unknown_id = "999999999"
    not_found_code = "API_KEY_NOT_FOUND"
    create_data: ClassVar[dict[str, Any]] = {"name": "phone"}
    update_data: ClassVar[dict[str, Any]] = {"name": "tablet"}

    def make(self, owner: User) -> ApiKey:
        make_key(owner)
        return ApiKey.objects.order_by("-pk")[0]


def test_it_shows_a_key_once(alice_api: APIClient) -> None:
    made = data_of(alice_api.post(PATH, {"name": "phone"}), 201)
    assert made["key"].startswith("sk-gw-")
    assert len(made["key"]) >= len("sk-gw-") + 43  # 256 bits in base64
    assert principal_for_credential(made["key"]).key_id == made["id"]
    for shown in (
        data_of(alice_api.get(f"{PATH}/{made['id']}")),
        data_of(alice_api.get(PATH))["items"][0],
    ):
        assert "key" not in shown
        assert "digest" not in shown
        assert made["key"].startswith(shown["prefix"])
    assert made["key"] not in str(ApiKey.objects.values())


def test_it_gives_all_scopes_of_the_maker_unless_some_are_named(alice: User) -> None:
    maker = client_with(make_key(alice, scopes=["manage", "voice"]))
    assert data_of(maker.post(PATH, {"name": "a"}), 201)["scopes"] == ["manage", "voice"]
    only = maker.post(PATH, {"name": "b", "scopes": ["voice"]})
    assert data_of(only, 201)["scopes"] == ["voice"]


def test_it_gives_no_scope_that_the_maker_lacks(alice: User) -> None:
    maker = client_with(make_key(alice, scopes=["manage", "voice"]))
    refused = maker.post(PATH, {"name": "a", "scopes": ["manage", "gateway"]})
    assert error_of(refused, 403)["code"] == "FORBIDDEN"
    data_of(maker.post(PATH, {"name": "a", "scopes": ["manage", "voice"]}), 201)


def test_it_needs_the_scope_manage(alice: User) -> None:
    others = [scope for scope in Scope.values if scope != Scope.MANAGE]
    assert error_of(client_with(make_key(alice, scopes=others)).get(PATH), 403)
    data_of(client_with(make_key(alice, scopes=["manage"])).get(PATH))


def test_it_hands_down_the_limits_of_the_maker(alice: User) -> None:
    end = timezone.now() + timedelta(days=1)
    maker = client_with(
        make_key(alice, requests_per_minute=30, expires_at=end, allowed_models=["small"])
    )
    made = data_of(maker.post(PATH, {"name": "a"}), 201)
    assert made["requests_per_minute"] == 30
    assert made["allowed_models"] == ["small"]
    assert ApiKey.objects.get(pk=made["id"]).expires_at == end
    lower = data_of(maker.post(PATH, {"name": "a", "requests_per_minute": 5}), 201)
    assert lower["requests_per_minute"] == 5


@pytest.mark.parametrize(
    "wish", [{"requests_per_minute": 31}, {"expires_at": "2999-01-01T00:00:00Z"}]
)
def test_it_lets_no_key_exceed_its_maker(alice: User, wish: dict[str, Any]) -> None:
    end = timezone.now() + timedelta(days=1)
    limited = client_with(make_key(alice, requests_per_minute=30, expires_at=end))
    error = error_of(limited.post(PATH, {"name": "a", **wish}), 400)
    assert list(error["details"]) == list(wish)
    unlimited = client_with(make_key(alice))
    data_of(unlimited.post(PATH, {"name": "a", **wish}), 201)


@pytest.mark.parametrize(
    "budget", ["monthly_token_budget", "monthly_cost_budget", "tokens_per_minute"]
)
def test_it_lets_no_key_with_a_budget_make_further_budgets(alice: User, budget: str) -> None:
    limits: dict[str, Any] = {budget: 1000}
    budgeted = client_with(make_key(alice, **limits))
    error_of(budgeted.post(PATH, {"name": "a"}), 403)
    assert data_of(budgeted.get(PATH))["total"] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", "a\0b"),
        ("scopes", ["root"]),
        ("scopes", []),
        ("scopes", "manage"),
        ("expires_at", "2001-01-01T00:00:00Z"),
        ("expires_at", "tomorrow"),
        ("requests_per_minute", 0),
        ("requests_per_minute", "many"),
    ],
)
def test_it_names_the_field_that_is_wrong(alice_api: APIClient, field: str, value: Any) -> None:
    error = error_of(alice_api.post(PATH, {"name": "a", field: value}), 400)
    if value != "a\0b":  # refused by the parser, before there are fields
        assert list(error["details"]) == [field]
    assert ApiKey.objects.filter(name="a").count() == 0


def test_it_ignores_what_a_client_may_not_set(alice_api: APIClient) -> None:
    claims = {"prefix": "x", "digest": "x", "enabled": False, "monthly_token_budget": 5, "id": 5}
    made = data_of(alice_api.post(PATH, {"name": "a", **claims}), 201)
    row = ApiKey.objects.get(pk=made["id"])
    assert row.is_enabled
    assert row.monthly_token_budget is None
    assert row.digest != "x"


def test_it_stops_at_too_many_keys(alice: User, alice_api: APIClient) -> None:
    for number in range(MAX_KEYS_PER_USER - 2):
        ApiKey.objects.create(owner=alice, name="x", digest=str(number), prefix="x")
    data_of(alice_api.post(PATH, {"name": "the last"}), 201)
    assert error_of(alice_api.post(PATH, {"name": "one more"}), 409)["code"] == "CONFLICT"


def test_it_refuses_a_key_once_it_is_deleted(alice: User, alice_api: APIClient) -> None:
    made = data_of(alice_api.post(PATH, {"name": "a"}), 201)
    other = client_with(made["key"])
    data_of(other.get(PATH))
    data_of(alice_api.delete(f"{PATH}/{made['id']}"))
    error_of(other.get(PATH), 401)


# --- Rates and changes -------------------------------------------------------------------------


def test_it_raises_the_rate_above_the_default_only_for_operators(
    alice: User, carol: User, settings: Any
) -> None:
    settings.PLATFORM_REQUESTS_PER_MINUTE = 100
    body = {"name": "a", "requests_per_minute": 101}
    for user in (alice, carol):
        token = client_with(tokens.issue(user).access)
        for client in (token, client_with(make_key(user))):
            response = client.post(PATH, body)
            if user is carol:
                assert data_of(response, 201)["requests_per_minute"] == 101
            else:
                assert list(error_of(response, 400)["details"]) == ["requests_per_minute"]
                data_of(client.post(PATH, {**body, "requests_per_minute": 100}), 201)
    generous = client_with(make_key(alice, requests_per_minute=200))
    data_of(generous.post(PATH, body), 201)


def test_it_disables_and_enables_a_key(alice_api: APIClient) -> None:
    made = data_of(alice_api.post(PATH, {"name": "a"}), 201)
    other = client_with(made["key"])
    for is_enabled, status in ((False, 401), (True, 200)):
        changed = data_of(alice_api.patch(f"{PATH}/{made['id']}", {"enabled": is_enabled}))
        assert changed["enabled"] is is_enabled
        assert (changed["name"], changed["prefix"]) == ("a", made["prefix"])
        assert other.get(PATH).status_code == status


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"requests_per_minute": 31}, 400),
        ({"requests_per_minute": 30}, 200),
        ({"expires_at": "2999-01-01T00:00:00Z"}, 400),
        ({"expires_at": None}, 200),
        ({"scopes": ["manage", "gateway"]}, 403),
        ({"scopes": ["manage"]}, 200),
        ({"scopes": []}, 400),
        ({"name": " "}, 400),
        ({"name": "b"}, 200),
    ],
)
def test_it_lets_no_key_widen_itself(alice: User, change: dict[str, Any], status: int) -> None:
    end = timezone.now() + timedelta(days=1)
    limited = make_key(alice, scopes=["manage", "voice"], requests_per_minute=30, expires_at=end)
    row = ApiKey.objects.get()
    response = client_with(limited).patch(f"{PATH}/{row.pk}", change)
    assert response.status_code == status
    row.refresh_from_db()
    assert row.requests_per_minute == 30
    assert row.expires_at == end
    assert set(row.scopes) <= {"manage", "voice"}


def test_it_keeps_operators_off_the_keys_of_superusers(alice: User, carol_api: APIClient) -> None:
    chief = User.objects.create_superuser("chief", password="chief-password")
    for owner, status in ((alice, 200), (chief, 403)):
        make_key(owner)
        url = f"{PATH}/{ApiKey.objects.get(owner=owner).pk}"
        assert carol_api.patch(url, {"enabled": False}).status_code == status
        assert carol_api.delete(url).status_code == status
