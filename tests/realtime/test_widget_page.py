"""Who may open the example page of the widget, and what its line says."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from assistants.models import Assistant, Language

LINE = re.compile(r'<textarea id="(?:embedding-)?line"[^>]*>(.*?)</textarea>', re.DOTALL)
SCRIPT = 'src="http://testserver/static/sdk/widget.js"'


@pytest.fixture
def private(alice: User) -> Assistant:
    return Assistant.objects.create(name="Greta", owner=alice, language=Language.EN)


@pytest.fixture
def public(alice: User) -> Assistant:
    return Assistant.objects.create(name="Paula", owner=alice, language=Language.EN, is_public=True)


def opened_by(user: User | None, path: str) -> Any:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client.get(path)


def line_of(response: Any) -> str:
    match = LINE.search(response.content.decode())
    assert match
    return html.unescape(match[1]).strip()


def test_it_shows_anybody_the_line_of_a_public_assistant(public: Assistant) -> None:
    response = opened_by(None, f"/widget/{public.pk}")
    assert response.status_code == 200
    assert line_of(response) == f'<script {SCRIPT} data-assistant="{public.pk}" async></script>'


def test_it_shows_a_private_assistant_to_whom_it_belongs(
    private: Assistant, alice: User, bob: User, carol: User
) -> None:
    for user in (alice, carol):
        assert opened_by(user, f"/widget/{private.pk}").status_code == 200
    for stranger in (bob, None):
        response = opened_by(stranger, f"/widget/{private.pk}")
        assert response.status_code == 404
        assert b"Greta" not in response.content


def test_its_line_says_what_was_chosen_and_no_more(public: Assistant) -> None:
    chosen = "position=top-left&language=zh&theme=&output=audio&color=red"
    line = line_of(opened_by(None, f"/widget/{public.pk}?{chosen}"))
    attributes = 'data-position="top-left" data-language="zh" data-color="red"'
    assert f'data-assistant="{public.pk}" {attributes} async' in line


@pytest.mark.parametrize("value", ["x&quot; onload=&quot;y", '"><script>', "a" * 500])
def test_its_line_cannot_be_broken_by_an_address(public: Assistant, value: str) -> None:
    client = Client()
    for name in ("title", "position"):
        line = line_of(client.get(f"/widget/{public.pk}", {name: value}))
        assert re.fullmatch(r'<script( [\w-]+="[^"<>]*")+ async></script>', line)
        assert len(line) < 250


def test_it_runs_no_script_from_elsewhere(public: Assistant) -> None:
    policy = opened_by(None, f"/widget/{public.pk}")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_console_shows_the_line_of_public_assistants_only(
    public: Assistant, private: Assistant, carol: User
) -> None:
    page = "/admin/assistants/assistant/{}/change/"
    shown = opened_by(carol, page.format(public.pk))
    assert SCRIPT in line_of(shown)
    assert f'href="/widget/{public.pk}"' in shown.content.decode()
    hidden = opened_by(carol, page.format(private.pk)).content.decode()
    assert "widget.js" not in html.unescape(hidden)
    assert "make this assistant public" in hidden


def test_the_console_says_which_pages_may_talk(public: Assistant, carol: User) -> None:
    page = f"/admin/assistants/assistant/{public.pk}/change/"
    assert "only pages of this server" in opened_by(carol, page).content.decode()
    public.allowed_origins = ["https://shop.example"]
    public.save()
    shown = opened_by(carol, page).content.decode()
    assert "only pages of this server" not in shown
    assert "https://shop.example" in shown
