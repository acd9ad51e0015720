"""One credential, two headers, the same answer at every door."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from accounts.principals import principal_for_credential
from core.errors import CredentialUnusable, Forbidden, Unauthenticated
from tests.conftest import make_key
from tests.rest import data_of, error_of

PATH = "/api/v1/api-keys"


def statuses(key: str) -> set[int]:
    """How the key is answered in either header."""
    doors = (APIClient(HTTP_AUTHORIZATION=f"Bearer {key}"), APIClient(HTTP_X_API_KEY=key))
    return {door.get(PATH).status_code for door in doors}


def test_it_takes_a_key_from_either_header(alice_key: str) -> None:
    assert statuses(alice_key) == {200}


def test_it_takes_both_headers_when_they_agree(alice: User, alice_key: str) -> None:
    other = make_key(alice)
    agree = APIClient(HTTP_AUTHORIZATION=f"Bearer {alice_key}", HTTP_X_API_KEY=alice_key)
    differ = APIClient(HTTP_AUTHORIZATION=f"Bearer {alice_key}", HTTP_X_API_KEY=other)
    empty = APIClient(HTTP_AUTHORIZATION=f"Bearer {alice_key}", HTTP_X_API_KEY="")
    data_of(agree.get(PATH))
    error_of(differ.get(PATH), 401)
    error_of(empty.get(PATH), 401)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic {key}", "{key}", "Bearer {key} {key}",
     "Bearer {key}, Bearer {key}", "Token {key}", "Bearer x{key}", "Bearer {key}x",
     "Bearer {prefix}"],
)  # fmt: skip
def test_it_refuses_a_malformed_header(alice_key: str, header: str) -> None:
    refused = APIClient(HTTP_AUTHORIZATION=header.format(key=alice_key, prefix=alice_key[:12]))
    response = refused.get(PATH)
    assert error_of(response, 401)["code"] == "UNAUTHORIZED"
    assert response["WWW-Authenticate"] == "Bearer"
    data_of(APIClient(HTTP_AUTHORIZATION=f"bearer  {alice_key} ").get(PATH))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "credential",
    ["", " ", "'", "' OR 1=1 --", "\0", "sk-gw-\0", "sk-gw-" + "a" * 10_000, "a.b.c", "é", "\ud800",
     "sk-gw-'; DROP TABLE accounts_apikey; --", "." * 4000, "null", "undefined"],
)  # fmt: skip
def test_it_survives_hostile_credentials(credential: str) -> None:
    with pytest.raises(Unauthenticated):
        principal_for_credential(credential)


@pytest.mark.parametrize(
    "fields",
    [{"is_enabled": False}, {"expires_at": timezone.now() - timedelta(seconds=1)}],
    ids=["disabled", "expired"],
)
def test_it_refuses_a_key_that_may_not_be_used(alice: User, fields: dict[str, Any]) -> None:
    assert statuses(make_key(alice, **fields)) == {401}
    later = timezone.now() + timedelta(hours=1)
    assert statuses(make_key(alice, is_enabled=True, expires_at=later)) == {200}
    with pytest.raises(CredentialUnusable):
        principal_for_credential(make_key(alice, **fields))


def test_it_refuses_the_keys_of_a_disabled_user(alice: User, alice_key: str) -> None:
    assert statuses(alice_key) == {200}
    alice.is_active = False
    alice.save()
    assert statuses(alice_key) == {401}


def test_it_holds_scopes_for_both_headers(alice: User) -> None:
    assert statuses(make_key(alice, scopes=["voice"])) == {403}
    assert statuses(make_key(alice, scopes=["manage"])) == {200}


def test_it_tells_who_a_key_belongs_to(carol: User) -> None:
    key = make_key(carol, scopes=["voice", "chat"], requests_per_minute=7)
    principal = principal_for_credential(key)
    assert (principal.user_id, principal.username) == (carol.pk, "carol")
    assert principal.is_operator
    assert principal.scopes == {"voice", "chat"}
    assert principal.requests_per_minute == 7
    principal.require("voice")
    with pytest.raises(Forbidden):
        principal.require("gateway")


def test_it_notes_the_use_once_a_minute(
    alice: User, django_assert_num_queries: Any, alice_key: str
) -> None:
    row = ApiKey.objects.get()
    with django_assert_num_queries(2):  # the look-up and the note
        principal_for_credential(alice_key)
    row.refresh_from_db()
    first = row.last_used_at
    assert first is not None
    with django_assert_num_queries(1):
        principal_for_credential(alice_key)
    ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    principal_for_credential(alice_key)
    row.refresh_from_db()
    assert row.last_used_at is not None
    assert row.last_used_at >= first


def test_it_stores_no_key(alice_key: str) -> None:
    assert alice_key[16:] not in str(list(ApiKey.objects.values()))
