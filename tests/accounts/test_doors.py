"""No route of the API is open by mistake: this walks all of them, also those of other apps."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admindocs.views import extract_views_from_urlpatterns, simplify_regex
from django.urls import get_resolver
from rest_framework.test import APIClient

from core.families import family_for, is_api
from tests.core.test_families import SHAPES

# Open without a credential, by the contract. Everything else must answer 401.
OPEN = {
    "/health",
    "/api/v1/health",
    "/api/v1/tools/health",
    "/api/v1/user/register",
    "/api/v1/user/login",
    "/api/schema",
    "/api/docs",
}
# Takes a credential of its own kind, a refresh token, and answers 401 without one.
OWN_GUARD = {"/api/v1/user/refresh"}
METHODS = ("get", "post", "put", "patch", "delete")


def routes() -> list[tuple[str, Any]]:
    """Every route of the API with sample values in its places, and its view."""
    found = []
    for view, pattern, _namespace, _name in extract_views_from_urlpatterns(
        get_resolver().url_patterns
    ):
        path = re.sub(r"<[^>]*>", "1", simplify_regex(str(pattern)))
        if is_api(path):
            found.append((path, view))
    return found


def guarded() -> list[str]:
    return sorted({path for path, _view in routes() if path not in OPEN})


def test_it_finds_the_routes() -> None:
    assert {"/api/v1/api-keys", "/api/v1/api-keys/1", "/api/v1/user/info"} <= set(guarded())


@pytest.mark.django_db
@pytest.mark.parametrize("path", guarded())
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"HTTP_AUTHORIZATION": "Bearer garbage"},
        {"HTTP_AUTHORIZATION": "Bearer "},
        {"HTTP_AUTHORIZATION": ""},
        {"HTTP_X_API_KEY": "sk-gw-garbage"},
        {"HTTP_X_API_KEY": ""},
        {"HTTP_COOKIE": "access_token_cookie=garbage"},
    ],
    ids=["none", "garbage", "bearer only", "empty", "unknown key", "empty key", "cookie"],
)
def test_it_lets_nobody_in_without_a_credential(path: str, headers: dict[str, str]) -> None:
    client = APIClient()
    client.defaults.update(headers)
    statuses = set()
    for method in METHODS:
        response = getattr(client, method)(path)
        statuses.add(response.status_code)
        body = response.json()
        SHAPES[family_for(path).name](body)
    # A view that refuses a method before it asks who calls gives nothing away.
    assert 401 in statuses
    assert statuses <= {401, 405}


def test_it_has_a_guard_on_every_rest_view() -> None:
    unguarded = []
    for path, view in routes():
        cls = getattr(view, "cls", None)
        if cls is None or path in OPEN | OWN_GUARD:
            continue
        if not cls.authentication_classes or not cls.permission_classes:
            unguarded.append(path)
        if any(permission.__name__ == "AllowAny" for permission in cls.permission_classes):
            unguarded.append(path)
    assert unguarded == []
