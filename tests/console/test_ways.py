"""What all pages of the console share: ways to a page, lists without rows, pages to read only."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Channel, Conversation, Prompt

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


def page(client: Client, name: str, *args: Any, query: str = "") -> str:
    response = client.get(reverse(f"admin:{name}", args=args) + query)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def way(text: str) -> list[str]:
    """The names on the way to a page."""
    parts = re.findall(r'class="way-part [^"]*">\s*(.*?)\s*</(?:a|span)>', text, re.DOTALL)
    return [part for part in parts if part != "chevron_right"]


def test_every_list_without_rows_says_what_will_stand_there(operator: Client) -> None:
    empty = set()
    for model, model_admin in admin.site._registry.items():
        text = page(operator, f"{model._meta.app_label}_{model._meta.model_name}_changelist")
        if 'class="empty-list' not in text:
            continue
        empty.add(model._meta.model_name)
        told = str(getattr(model_admin, "empty_text", ""))
        assert told.endswith("."), model
        assert told in text, model
        assert "Nothing here yet" in text
    assert len(empty) > 15
    assert {"run", "conversation", "document", "tool"} <= empty


def test_a_list_that_is_filtered_to_nothing_says_so(operator: Client) -> None:
    for query in ("?q=nothing-like-it", "?state=failed"):
        text = page(operator, "conversations_run_changelist", query=query)
        assert "Nothing here fits what is searched or filtered for." in text
        assert "Reset filters" in text
        assert "Nothing here yet" not in text


def test_only_what_people_change_has_a_history(operator: Client, alice: User) -> None:
    ada = Assistant.objects.create(name="Ada", owner=alice)
    row = Conversation.objects.create(owner=alice, channel=Channel.CHAT, title="Tour")
    assistants = page(operator, "assistants_assistant_change", ada.pk)
    conversations = page(operator, "conversations_conversation_change", row.pk)
    assert "/history/" in assistants
    assert "/history/" not in conversations


def test_the_way_to_a_page_begins_with_the_sidebars_group(operator: Client, alice: User) -> None:
    brief = Prompt.objects.create(owner=alice, name="brief", content="Be brief.")
    row = Conversation.objects.create(owner=alice, channel=Channel.CHAT, title="Tour")
    assert way(page(operator, "conversations_prompt_changelist")) == ["Guidance", "Prompts"]
    shown = way(page(operator, "conversations_prompt_change", brief.pk))
    assert shown == ["Guidance", "Prompts", str(brief)]
    assert way(page(operator, "accounts_apikey_changelist"))[0] == "Access"
    # A group that has the name of the list is not said twice.
    assert way(page(operator, "conversations_conversation_change", row.pk)) == [
        "Conversations",
        "Tour",
    ]
