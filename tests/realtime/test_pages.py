"""Who may open the voice page, in which language, and under which rules for its scripts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User
from assistants.models import Assistant, Language
from tests.conftest import make_key

SETTINGS = re.compile(r'<script id="settings" type="application/json">(.*?)</script>', re.DOTALL)
CSRF = re.compile(r'"csrfToken": "\w+"')


def told(response: Any) -> dict[str, Any]:
    """What the page tells its script."""
    match = SETTINGS.search(response.content.decode())
    assert match
    values: dict[str, Any] = json.loads(match[1])
    return values


@pytest.fixture
def private(alice: User) -> Assistant:
    return Assistant.objects.create(name="Greta", owner=alice, language=Language.EN)


@pytest.fixture
def public(alice: User) -> Assistant:
    return Assistant.objects.create(name="Paula", owner=alice, language=Language.ZH, is_public=True)


def opened_by(user: User | None, assistant_id: str, **headers: str) -> Any:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client.get(f"/talk/{assistant_id}", headers=headers)


def test_it_lets_owners_and_operators_in_with_a_ticket(
    private: Assistant, alice: User, carol: User
) -> None:
    for user in (alice, carol):
        response = opened_by(user, private.pk)
        assert response.status_code == 200
        assert told(response)["access"] == "ticket"
        assert b"Greta" in response.content


def test_it_shows_others_a_private_assistant_as_an_unknown_one(
    private: Assistant, bob: User
) -> None:
    for user in (bob, None):
        foreign = opened_by(user, private.pk)
        unknown = opened_by(user, "f" * len(private.pk))
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert told(foreign)["access"] == "key"
        assert b"Greta" not in foreign.content
        texts = [
            CSRF.sub("", page.content.decode()).replace(asked, "")
            for page, asked in ((foreign, private.pk), (unknown, "f" * len(private.pk)))
        ]
        assert texts[0] == texts[1]


def test_it_lets_anybody_in_to_a_public_assistant(public: Assistant) -> None:
    response = opened_by(None, public.pk)
    assert response.status_code == 200
    assert told(response)["access"] == "open"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de, en;q=0.5", "en"),
        ("zh-CN,zh;q=0.9", "zh-hans"),
        ("zh-TW", "zh-hans"),
        ("de", "zh-hans"),
    ],
)
def test_it_speaks_the_browsers_language_or_the_assistants(
    public: Assistant, accepted: str, language: str
) -> None:
    response = opened_by(None, public.pk, accept_language=accepted)
    assert f'<html lang="{language}">'.encode() in response.content
    assert response["Content-Language"] == language


def test_it_runs_no_script_and_loads_nothing_from_elsewhere(public: Assistant) -> None:
    response = opened_by(None, public.pk)
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    assert (
        re.findall(
            r"<script(?! id=\"settings\" type=\"application/json\"| type=\"module\" src=)", page
        )
        == []
    )
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", page) == []


def test_it_may_use_the_microphone_and_the_camera_and_nothing_else(public: Assistant) -> None:
    policy = opened_by(None, public.pk)["Permissions-Policy"]
    assert policy == "camera=(self), microphone=(self)"


def test_a_call_from_the_console_is_told_apart(alice: User, private: Assistant) -> None:
    assert told(opened_by(alice, private.pk))["source"] == "debug"
    assert told(opened_by(None, private.pk))["source"] == "talk"
    bearer = f"Bearer {make_key(alice)}"
    assert told(opened_by(None, private.pk, authorization=bearer))["source"] == "talk"


def test_its_script_finds_every_word_it_says(public: Assistant) -> None:
    words = told(opened_by(None, public.pk))["words"]
    scripts = (settings.BASE_DIR / "static/realtime").glob("*.js")
    script = "\n".join(path.read_text(encoding="utf-8") for path in sorted(scripts))
    said = set(re.findall(r"\bwords\.(\w+)", script)) | set(
        re.findall(r"words\[\"([\w.]+)\"]", script)
    )
    said |= set(re.findall(r'"(choiceHint\w*)"', script))
    assert {"page", "chosen", "choiceHintVoice"} <= said
    assert said <= words.keys()
    states = re.findall(r'"(\w+)"', script_type("State"))
    assert {"listening", "hearing", "ended", *states} <= words.keys()


def script_type(name: str) -> str:
    """The alternatives of a string type that the scripts document."""
    call = (settings.BASE_DIR / "static/realtime/call.js").read_text(encoding="utf-8")
    match = re.search(rf"@typedef {{([^{{}}]*)}} {name}\b", call)
    assert match
    return match[1]
