"""Accounts in the agentchat family: sign up, sign in, tokens, profiles."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import jwt
import pytest
from django.contrib import admin
from django.contrib.auth.hashers import get_hasher
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import tokens
from accounts.admin import UserAdmin
from accounts.models import RefreshToken, User
from core.db import in_db
from core.errors import Unauthenticated
from tests.conftest import client_with, make_user

USER = "/api/v1/user"
KEYS = "/api/v1/api-keys"


def data_of(response: Any) -> Any:
    assert response.status_code == 200, response.content
    body = response.json()
    assert (body["status_code"], body["status_message"]) == (200, "SUCCESS"), body
    return body["data"]


def refusal_of(response: Any, status: int, code: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert set(body) == {"status_code", "status_message", "data", "detail"}
    assert (body["status_code"], body["data"]) == (code, None)
    return body


def login(name: str = "alice", client: APIClient | None = None) -> dict[str, Any]:
    body = {"user_name": name, "user_password": f"{name}-password"}
    result: dict[str, Any] = data_of((client or APIClient()).post(f"{USER}/login", body))
    return result


def is_accepted(token: str) -> bool:
    statuses = {
        APIClient(HTTP_AUTHORIZATION=f"Bearer {token}").get(KEYS).status_code,
        APIClient(HTTP_X_API_KEY=token).get(KEYS).status_code,
    }
    assert len(statuses) == 1
    return statuses == {200}


# --- Registering -------------------------------------------------------------------------------


def test_it_registers_a_user_without_rights(anonymous_api: APIClient) -> None:
    body = {
        "user_name": "dora", "user_email": "dora@example.org", "user_password": "secret",
        "is_staff": True, "is_superuser": True, "role": "admin", "user_id": 1,
    }  # fmt: skip
    assert data_of(anonymous_api.post(f"{USER}/register", body)) is None
    dora = User.objects.get(username="dora")
    assert not dora.is_staff
    assert not dora.is_superuser
    assert dora.email == "dora@example.org"
    assert dora.check_password("secret")


def test_it_stores_passwords_with_argon2(anonymous_api: APIClient, settings: Any) -> None:
    settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[1:]
    data_of(
        anonymous_api.post(f"{USER}/register", {"user_name": "dora", "user_password": "secret"})
    )
    assert User.objects.get(username="dora").password.startswith("argon2$argon2id$")


@pytest.mark.parametrize(
    ("name", "language", "message"),
    [
        ("alice", "en", "This user name is taken."),
        ("ALICE", "en", "This user name is taken."),
        ("x" * 21, "en", "A user name has at most 20 characters."),
    ],
)
def test_it_says_what_is_wrong_with_a_name(
    alice: User, name: str, language: str, message: str
) -> None:
    client = APIClient(HTTP_ACCEPT_LANGUAGE=language)
    response = client.post(f"{USER}/register", {"user_name": name, "user_password": "x"})
    body = refusal_of(response, 200, 500)
    assert body["status_message"] == body["detail"] == message
    data_of(client.post(f"{USER}/register", {"user_name": name[:19] + "2", "user_password": "x"}))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_password": "x"}, "user_name"),
        ({"user_name": "dora"}, "user_password"),
        ({"user_name": "dora", "user_password": ""}, "user_password"),
        ({"user_name": "<b>dora</b>", "user_password": "x"}, "user_name"),
        ({"user_name": "dora", "user_password": "x", "user_email": "nowhere"}, "user_email"),
        ({"user_name": ["dora"], "user_password": "x"}, "user_name"),
    ],
)
def test_it_names_the_wrong_field(
    anonymous_api: APIClient, body: dict[str, Any], field: str
) -> None:
    refused = refusal_of(anonymous_api.post(f"{USER}/register", body), 422, 422)
    assert refused["detail"][0]["loc"] == ["body", field]
    assert set(refused["detail"][0]) == {"loc", "msg", "type"}
    assert not User.objects.exists()


# --- Signing in --------------------------------------------------------------------------------


def test_it_signs_in(alice: User) -> None:
    pair = login()
    assert pair["user_id"] == str(alice.pk)
    assert pair["expires_in"] == 86_400
    claims = jwt.decode(pair["access_token"], options={"verify_signature": False})
    assert {"sub", "iat", "exp", "jti", "type"} <= set(claims)
    assert (claims["sub"], claims["type"]) == (str(alice.pk), "access")
    assert claims["exp"] - claims["iat"] == 86_400
    assert is_accepted(pair["access_token"])


def test_it_signs_in_whatever_the_case_of_the_name(alice: User) -> None:
    for name in ("alice", "Alice"):
        body = {"user_name": name, "user_password": "alice-password"}
        assert data_of(APIClient().post(f"{USER}/login", body))["user_id"] == str(alice.pk)


def test_it_sets_cookies_that_scripts_and_other_sites_cannot_use(alice: User) -> None:
    client = APIClient()
    login(client=client)
    for name in ("access_token_cookie", "refresh_token_cookie"):
        assert client.cookies[name]["httponly"]
        assert client.cookies[name]["samesite"] == "Lax"


def test_it_answers_an_unknown_name_like_a_wrong_password(alice: User) -> None:
    answers = [
        APIClient().post(f"{USER}/login", {"user_name": name, "user_password": "wrong"})
        for name in ("alice", "nobody")
    ]
    assert answers[0].json() == answers[1].json()
    assert refusal_of(answers[0], 200, 10600)["status_message"] == (
        "The user name or the password is wrong."
    )
    login()


def test_it_hashes_once_for_unknown_and_known_names_alike(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = type(get_hasher())
    encode = hasher.encode
    calls: list[str] = []

    def counted(self: Any, *args: Any, **kwargs: Any) -> str:
        calls.append("x")
        return str(encode(self, *args, **kwargs))

    monkeypatch.setattr(hasher, "encode", counted)
    counts = []
    for name in ("alice", "nobody"):
        calls.clear()
        APIClient().post(f"{USER}/login", {"user_name": name, "user_password": "wrong"})
        counts.append(len(calls))
    assert counts == [1, 1]


def test_it_tells_only_who_knows_the_password_that_an_account_is_disabled(alice: User) -> None:
    login()
    User.objects.update(is_active=False)
    for password, code in (("wrong", 10600), ("alice-password", 500)):
        body = {"user_name": "alice", "user_password": password}
        refusal_of(APIClient().post(f"{USER}/login", body), 200, code)


def test_it_signs_in_despite_a_stale_credential(alice: User) -> None:
    client = APIClient(HTTP_AUTHORIZATION="Bearer stale")
    client.cookies["access_token_cookie"] = "stale"
    login(client=client)


def test_it_slows_down_who_guesses_passwords(alice: User) -> None:
    client = APIClient()
    body = {"user_name": "alice", "user_password": "wrong"}
    codes = {client.post(f"{USER}/login", body).status_code for _number in range(20)}
    response = client.post(f"{USER}/login", body)
    assert codes == {200}
    refusal_of(response, 429, 429)
    assert 1 <= int(response["Retry-After"]) <= 61
    elsewhere = APIClient(REMOTE_ADDR="10.0.0.9")
    login(client=elsewhere)


# --- Tokens ------------------------------------------------------------------------------------


def forge(token: str, *, key: str | bytes = b"", algorithm: str = "HS256", **claims: Any) -> str:
    """The token with other claims, signed with our own key unless another is given."""
    content = jwt.decode(token, options={"verify_signature": False})
    secret: Any = None if algorithm == "none" else key or tokens._signing_key()
    return jwt.encode({**content, **claims}, secret, algorithm=algorithm)


def test_it_refuses_forged_tokens(alice: User, carol: User) -> None:
    token = login()["access_token"]
    header, _payload, signature = token.split(".")
    endless = jwt.decode(token, options={"verify_signature": False})
    del endless["exp"]
    other_payload = forge(token, sub=str(carol.pk)).split(".")[1]
    forgeries = {
        "no algorithm": forge(token, algorithm="none"),
        "another key": forge(token, key=b"x" * 32),
        "another user": f"{header}.{other_payload}.{signature}",
        "no signature": f"{header}.{token.split('.')[1]}.",
        "expired": forge(token, exp=int(time.time()) - 1),
        "of the future": forge(token, iat=int(time.time()) + 3600),
        "without end": jwt.encode(endless, tokens._signing_key(), algorithm="HS256"),
        "of carol's": forge(token, sub=str(carol.pk)),
        "of no user": forge(token, sub="999999"),
        "of a strange user": forge(token, sub="1 OR 1=1"),
        "of a login that never was": forge(token, family="f" * 32),
    }
    accepted = [name for name, forgery in forgeries.items() if is_accepted(forgery)]
    assert accepted == []
    assert is_accepted(token)
    assert is_accepted(forge(token))


def test_it_takes_no_refresh_token_for_access_and_no_access_token_to_refresh(alice: User) -> None:
    pair = login()
    assert not is_accepted(pair["refresh_token"])
    swapped = APIClient().post(f"{USER}/refresh", {"refresh_token": pair["access_token"]})
    refusal_of(swapped, 401, 401)
    right = APIClient().post(f"{USER}/refresh", {"refresh_token": pair["refresh_token"]})
    assert is_accepted(data_of(right)["access_token"])


def test_it_refreshes_from_body_header_and_cookie(alice: User) -> None:
    first = login()
    second = data_of(APIClient().post(f"{USER}/refresh", {"refresh_token": first["refresh_token"]}))
    by_header = client_with(second["refresh_token"])
    third = data_of(by_header.post(f"{USER}/refresh"))
    browser = APIClient()
    browser.cookies["refresh_token_cookie"] = third["refresh_token"]
    refusal_of(browser.post(f"{USER}/refresh"), 401, 401)
    refusal_of(browser.post(f"{USER}/refresh", HTTP_ORIGIN="http://evil.example"), 401, 401)
    fourth = data_of(browser.post(f"{USER}/refresh", HTTP_ORIGIN="http://testserver"))
    assert is_accepted(fourth["access_token"])


def test_it_ends_a_login_whose_refresh_token_is_used_twice(alice: User) -> None:
    first, other = login(), login()
    second = data_of(APIClient().post(f"{USER}/refresh", {"refresh_token": first["refresh_token"]}))
    assert is_accepted(first["access_token"])
    assert is_accepted(second["access_token"])
    again = APIClient().post(f"{USER}/refresh", {"refresh_token": first["refresh_token"]})
    refusal_of(again, 401, 401)
    for token in (first["access_token"], second["access_token"]):
        assert not is_accepted(token)
    thief = APIClient().post(f"{USER}/refresh", {"refresh_token": second["refresh_token"]})
    refusal_of(thief, 401, 401)
    assert is_accepted(other["access_token"])


def test_it_ends_a_login_at_logout(alice: User) -> None:
    pair, other = login(), login()
    data_of(client_with(pair["access_token"]).post(f"{USER}/logout"))
    assert not is_accepted(pair["access_token"])
    refused = APIClient().post(f"{USER}/refresh", {"refresh_token": pair["refresh_token"]})
    refusal_of(refused, 401, 401)
    assert is_accepted(other["access_token"])


def test_it_ends_all_tokens_when_the_password_changes(alice: User) -> None:
    pair = login()
    assert is_accepted(pair["access_token"])
    alice.set_password("another")
    alice.save()
    assert not is_accepted(pair["access_token"])
    refused = APIClient().post(f"{USER}/refresh", {"refresh_token": pair["refresh_token"]})
    refusal_of(refused, 401, 401)


def test_it_forgets_logins_that_are_over(alice: User) -> None:
    login()
    RefreshToken.objects.update(expires_at=timezone.now())
    login()
    assert RefreshToken.objects.count() == 1


# --- Cookies -----------------------------------------------------------------------------------


def test_it_takes_the_cookie_for_changes_only_from_its_own_pages(alice: User) -> None:
    browser = APIClient()
    login(client=browser)
    data_of(browser.get(f"{USER}/info"))
    update = {"user_description": "changed"}
    refusal_of(browser.put(f"{USER}/update", update), 401, 401)
    for origin in ("http://evil.example", "null", "http://testserver.evil.example", ""):
        refusal_of(browser.put(f"{USER}/update", update, HTTP_ORIGIN=origin), 401, 401)
    alice.refresh_from_db()
    assert alice.description == ""
    data_of(browser.put(f"{USER}/update", update, HTTP_ORIGIN="http://testserver"))
    alice.refresh_from_db()
    assert alice.description == "changed"


def test_it_clears_the_cookies_at_logout(alice: User) -> None:
    browser = APIClient()
    pair = login(client=browser)
    data_of(browser.post(f"{USER}/logout", HTTP_ORIGIN="http://testserver"))
    assert browser.cookies["access_token_cookie"].value == ""
    assert not is_accepted(pair["access_token"])


# --- Profiles ----------------------------------------------------------------------------------


def test_it_shows_a_profile_without_secrets(alice_api: APIClient, alice: User) -> None:
    shown = data_of(alice_api.get(f"{USER}/info?user_id={alice.pk}"))
    assert shown == data_of(alice_api.get(f"{USER}/info"))
    assert set(shown) == {
        "user_id", "user_name", "user_email", "user_avatar", "user_description", "role", "delete",
        "create_time", "update_time",
    }  # fmt: skip
    assert (shown["user_id"], shown["role"], shown["user_description"]) == (
        str(alice.pk), "user", "",
    )  # fmt: skip
    assert shown["delete"] is False


def test_it_shows_other_profiles_to_operators_only(
    bob_api: APIClient, carol_api: APIClient, alice: User
) -> None:
    foreign = bob_api.get(f"{USER}/info?user_id={alice.pk}")
    unknown = bob_api.get(f"{USER}/info?user_id=999999")
    refusal_of(foreign, 200, 404)
    assert foreign.json() == unknown.json()
    assert data_of(carol_api.get(f"{USER}/info?user_id={alice.pk}"))["user_name"] == "alice"


@pytest.mark.parametrize(
    "user_id", ["'", "' OR '1'='1", "-1", "1.0", "9" * 40, "a" * 10_000, "١", "..", "[]"]
)
def test_it_survives_hostile_user_ids(alice_api: APIClient, user_id: str) -> None:
    refusal_of(alice_api.get(f"{USER}/info", {"user_id": user_id}), 200, 404)
    response = alice_api.put(f"{USER}/update", {"user_id": user_id})
    assert response.json()["status_code"] in {404, 422}
    for hostile in ("%00", "1%00"):
        refusal_of(alice_api.get(f"{USER}/info?user_id={hostile}"), 422, 422)


def test_it_updates_the_own_profile_and_nothing_else(alice_api: APIClient, alice: User) -> None:
    body = {
        "user_id": str(alice.pk), "user_avatar": "/static/accounts/avatar-1.svg",
        "user_description": "likes tea", "is_staff": True, "username": "root", "role": "admin",
        "password": "x",
    }  # fmt: skip
    password = alice.password
    assert data_of(alice_api.put(f"{USER}/update", body)) is None
    alice.refresh_from_db()
    assert (alice.avatar, alice.description) == ("/static/accounts/avatar-1.svg", "likes tea")
    assert (alice.username, alice.is_staff, alice.password) == ("alice", False, password)
    unsaid = {"user_id": alice.pk, "user_avatar": None, "user_description": None}
    data_of(alice_api.put(f"{USER}/update", unsaid))
    alice.refresh_from_db()
    assert (alice.avatar, alice.description) == ("/static/accounts/avatar-1.svg", "likes tea")
    data_of(alice_api.put(f"{USER}/update", {"user_id": alice.pk, "user_description": ""}))
    alice.refresh_from_db()
    assert (alice.avatar, alice.description) == ("/static/accounts/avatar-1.svg", "")


def test_it_updates_no_foreign_profile(
    bob_api: APIClient, carol_api: APIClient, alice: User
) -> None:
    body = {"user_id": str(alice.pk), "user_description": "changed"}
    refusal_of(bob_api.put(f"{USER}/update", body), 200, 404)
    alice.refresh_from_db()
    assert alice.description == ""
    data_of(carol_api.put(f"{USER}/update", body))
    alice.refresh_from_db()
    assert alice.description == "changed"


@pytest.mark.parametrize("avatar", ["javascript:alert(1)", "//evil.example/x", "data:x", '/"><b>'])
def test_it_takes_only_addresses_of_pictures_for_avatars(alice_api: APIClient, avatar: str) -> None:
    refused = refusal_of(alice_api.put(f"{USER}/update", {"user_avatar": avatar}), 422, 422)
    assert refused["detail"][0]["loc"] == ["body", "user_avatar"]
    for icon in data_of(alice_api.get(f"{USER}/icons")):
        data_of(alice_api.put(f"{USER}/update", {"user_avatar": icon}))


# --- Operators ---------------------------------------------------------------------------------


def test_it_lists_users_to_operators_only(
    alice_api: APIClient, carol_api: APIClient, bob: User
) -> None:
    refused = refusal_of(alice_api.get(f"{USER}/list"), 200, 403)
    assert refused["status_message"] == "Only operators may do this."
    names = [user["user_name"] for user in data_of(carol_api.get(f"{USER}/list"))]
    assert sorted(names) == ["alice", "bob", "carol"]
    found = data_of(carol_api.get(f"{USER}/list", {"keyword": "BO"}))
    assert [user["user_name"] for user in found] == ["bob"]
    assert len(data_of(carol_api.get(f"{USER}/list", {"limit": 2}))) == 2
    assert len(data_of(carol_api.get(f"{USER}/list", {"limit": 2, "page": 2}))) == 1


def test_it_disables_an_account_and_ends_its_logins(alice: User, carol_api: APIClient) -> None:
    token = login()["access_token"]
    assert is_accepted(token)
    data_of(carol_api.put(f"{USER}/status", {"user_id": str(alice.pk), "disabled": True}))
    assert not is_accepted(token)
    data_of(carol_api.put(f"{USER}/status", {"user_id": str(alice.pk), "disabled": False}))
    assert not is_accepted(token)
    assert is_accepted(login()["access_token"])


def test_it_lets_only_operators_disable_and_nobody_oneself(
    alice_api: APIClient, carol_api: APIClient, bob: User, carol: User
) -> None:
    refusal_of(alice_api.put(f"{USER}/status", {"user_id": bob.pk, "disabled": True}), 200, 403)
    refusal_of(carol_api.put(f"{USER}/status", {"user_id": carol.pk, "disabled": True}), 422, 422)
    root = make_user("root", is_staff=True)
    User.objects.filter(pk=root.pk).update(is_superuser=True)
    refusal_of(carol_api.put(f"{USER}/status", {"user_id": root.pk, "disabled": True}), 200, 403)
    assert User.objects.filter(is_active=True).count() == User.objects.count()


def test_it_ends_the_logins_of_an_account_that_the_console_disables(
    alice: User, rf: RequestFactory
) -> None:
    token = login()["access_token"]
    page = UserAdmin(User, admin.site)
    for is_active in (False, True):
        alice.is_active = is_active
        page.save_model(rf.post("/"), alice, None, True)
        assert not is_accepted(token)
    assert is_accepted(login()["access_token"])


@pytest.mark.django_db(transaction=True)
async def test_it_exchanges_a_refresh_token_once_in_a_race() -> None:
    user = await in_db(make_user, "dora")
    refresh = (await in_db(tokens.issue, user)).refresh
    results = await asyncio.gather(
        *(in_db(tokens.rotate, refresh) for _number in range(6)), return_exceptions=True
    )
    assert sum(isinstance(result, tuple) for result in results) <= 1
    assert sum(isinstance(result, Unauthenticated) for result in results) >= 5
    live = await in_db(RefreshToken.objects.filter(revoked_at=None).exists)
    assert not live
