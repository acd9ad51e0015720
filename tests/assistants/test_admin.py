"""Assistants in the console."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from assistants.models import Assistant
from knowledge.models import KnowledgeBase
from tests.console.test_pages import assistant_form

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


def test_knowledge_is_chosen_on_a_tab_of_its_own(operator: Client, alice: User) -> None:
    url = reverse("admin:assistants_assistant_add")
    page = html.unescape(operator.get(url).content.decode())
    for field in ("knowledge_bases", "knowledge_mode", "knowledge_min_score", "reranker"):
        assert f'name="{field}"' in page
    base = KnowledgeBase.objects.create(name="Museum", owner=alice)
    form: dict[str, Any] = {"knowledge_bases": [base.pk], "knowledge_mode": "tool"}
    assert operator.post(url, assistant_form(owner=alice.pk, **form)).status_code == 302
    row = Assistant.objects.get()
    assert (list(row.knowledge_bases.all()), row.knowledge_mode) == ([base], "tool")


def test_nobodys_assistant_gets_a_base_that_its_owner_may_not_see(
    operator: Client, alice: User, bob: User
) -> None:
    url = reverse("admin:assistants_assistant_add")
    base = KnowledgeBase.objects.create(name="Bob's papers", owner=bob)
    refused = operator.post(url, assistant_form(owner=alice.pk, knowledge_bases=[base.pk]))
    assert "The assistant's owner may not see: Bob's papers." in html.unescape(
        refused.content.decode()
    )
    # A system assistant is set up by operators, who see all.
    for owner in (bob.pk, ""):
        sent = assistant_form(owner=owner, knowledge_bases=[base.pk])
        assert operator.post(url, sent).status_code == 302
    assert Assistant.objects.filter(knowledge_bases=base).count() == 2


def test_it_has_a_description_a_picture_and_a_memory(operator: Client, alice: User) -> None:
    url = reverse("admin:assistants_assistant_add")
    sent: dict[str, Any] = {"description": "Helps", "enable_memory": "on"}
    refused = operator.post(url, assistant_form(**sent, logo_url="javascript:alert(1)"))
    assert "Expected the address of a picture." in html.unescape(refused.content.decode())
    form = assistant_form(**sent, logo_url="https://x.org/a.png")
    assert operator.post(url, form).status_code == 302
    row = Assistant.objects.get()
    assert (row.description, row.logo_url, row.enable_memory) == (
        "Helps",
        "https://x.org/a.png",
        True,
    )
