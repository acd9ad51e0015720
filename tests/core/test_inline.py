"""Django's middleware on the event loop: the same classes, and no thread on the way to a view."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.test import AsyncClient, AsyncRequestFactory
from django.utils.module_loading import import_string

from accounts.models import User
from core import inline
from core.db import in_db


@pytest.mark.parametrize(
    "wanted", [SecurityMiddleware, CsrfViewMiddleware, XFrameOptionsMiddleware]
)
def test_it_has_what_the_silenced_checks_look_for(wanted: type) -> None:
    assert any(issubclass(import_string(path), wanted) for path in _classes())


def _classes() -> list[str]:
    return [path for path in settings.MIDDLEWARE if isinstance(import_string(path), type)]


async def test_it_needs_no_thread_for_a_request_to_the_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = set()
    for name in ("Security", "Session", "Locale", "Common", "Csrf", "Authentication", "Messages"):
        cls = getattr(inline, name)
        for step in ("process_request", "process_response"):
            if original := getattr(cls, step, None):

                def noted(self: Any, *args: Any, original: Any = original) -> Any:
                    threads.add(threading.get_ident())
                    return original(self, *args)

                monkeypatch.setattr(cls, step, noted)
    response = await AsyncClient().get("/health", headers={"Accept-Language": "zh-hans"})
    assert response.status_code == 200
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert threads == {threading.get_ident()}


async def test_it_still_refuses_forms_without_a_token() -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    response = await client.post("/i18n/setlang/", {"language": "en", "next": "/"})
    assert response.status_code == 403
    response = await AsyncClient().post("/i18n/setlang/", {"language": "en", "next": "/"})
    assert response.status_code == 302


@pytest.mark.django_db(transaction=True)
async def test_it_saves_a_session_that_was_changed() -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        request.session["seen"] = True
        return HttpResponse()

    response = await inline.Session(view).__acall__(AsyncRequestFactory().get("/"))
    key = response.cookies[settings.SESSION_COOKIE_NAME].value
    assert await in_db(lambda: SessionStore(session_key=key)["seen"])


@pytest.mark.django_db(transaction=True)
async def test_it_keeps_people_signed_in(alice: User) -> None:
    client = AsyncClient()
    await client.aforce_login(alice)
    alice.is_staff = alice.is_superuser = True
    await in_db(alice.save)
    assert (await client.get("/admin/")).status_code == 200
