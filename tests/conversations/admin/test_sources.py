"""Conversations in the console."""

from __future__ import annotations

import html

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from conversations.models import Channel, Conversation, Message, Role

pytestmark = pytest.mark.django_db


def test_it_shows_what_an_answer_rests_on(carol: User) -> None:
    conversation = Conversation.objects.create(
        assistant_key="a", assistant_name="Guide", channel=Channel.VOICE
    )
    source = {
        "index": 1,
        "document": "Prices <b>.pdf",
        "page": 2,
        "text": "A coffee is <i>three</i> euros.",
        "score": 0.4567,
        "knowledge_base_id": "kb1",
        "document_id": "doc1",
        "chunk_id": "42",
    }
    bare = {**source, "index": 2, "document": "notes.txt", "page": None, "score": None}
    Message.objects.create(
        conversation=conversation,
        turn=1,
        seq=1,
        role=Role.ASSISTANT,
        text="Three euros. [1]",
        citations=[source, bare],
        knowledge_note="Searched by words only.",
    )
    Message.objects.create(
        conversation=conversation,
        turn=2,
        seq=2,
        role=Role.ASSISTANT,
        text="Two euros. [1]",
        citations=[{**source, "document": "<script>.txt"}],
    )
    client = Client()
    client.force_login(carol)
    url = reverse("admin:conversations_conversation_change", args=[conversation.pk])
    page = client.get(url).content.decode()
    assert page.count('<summary class="cursor-pointer">[') == 3
    assert "[1] Prices &lt;b&gt;.pdf · page 2 · 0.46</summary>" in page
    assert "[1] &lt;script&gt;.txt · page 2 · 0.46</summary>" in page
    assert "<div>Searched by words only.</div>" in page
    assert "&lt;details" not in page
    shown = html.unescape(page)
    assert "[1] Prices <b>.pdf · page 2 · 0.46" in shown
    assert "[2] notes.txt<" in shown
    assert "Searched by words only." in shown
    assert "<i>three</i>" in shown
    assert "<i>three</i>" not in page
