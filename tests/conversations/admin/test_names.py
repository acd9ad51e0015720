"""What conversations and tasks are called where nobody gave them a title."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from assistants.models import Assistant
from conversations.admin.names import MAX_CHARS, name_of
from conversations.models import Channel, Conversation, Memory, Message, Role, Run
from conversations.runs import store
from tests.conversations.admin.pages import text_of
from tests.conversations.made import claimed, conversation, new_run

pytestmark = pytest.mark.django_db

ID = "conv_0123456789abcdef"


def say(row: Conversation, text: str) -> None:
    seq = row.messages.count() + 1
    Message.objects.create(conversation=row, turn=1, seq=seq, role=Role.USER, text=text)


def test_a_title_counts_before_the_first_words_and_these_before_the_assistant(
    alice: User, ada: Assistant
) -> None:
    silent = conversation(alice, ada)
    assert name_of(silent) == "Without words, with Ada"
    spoken = conversation(alice, ada, id="spoken")
    say(spoken, "How much\n is it?")
    say(spoken, "And tomorrow?")
    assert name_of(spoken) == "How much is it?"
    spoken.title = "Prices"
    assert name_of(spoken) == "Prices"
    long = conversation(alice, ada, id="long")
    say(long, "word " * 500)
    assert len(name_of(long)) <= MAX_CHARS
    assert name_of(long).endswith("…")


@pytest.mark.parametrize("is_stopped", [True, False])
def test_no_page_names_what_has_no_title_by_its_id(
    operator: Client, alice: User, ada: Assistant, is_stopped: bool
) -> None:
    row = conversation(alice, ada, id=ID)
    run = store.start_task(new_run(row, "Tell me of the museum"))
    if is_stopped:
        store.request_cancel(run)
    Memory.objects.create(owner=alice, assistant=ada, conversation=row, text="Likes museums.")
    run_page = reverse("admin:conversations_run_change", args=[run.pk])
    for url in (
        "/admin/conversations/run/",
        run_page,
        *([reverse("admin:conversations_run_delete", args=[run.pk])] if is_stopped else []),
        "/admin/conversations/conversation/",
        reverse("admin:conversations_conversation_change", args=[ID]),
        reverse("admin:conversations_conversation_delete", args=[ID]),
        "/admin/conversations/memory/",
        *([] if is_stopped else ["/admin/"]),
    ):
        page = text_of(operator.get(url))
        assert "Tell me of the museum" in page, url
        assert f">{ID}<" not in page.replace(" ", "").replace("\n", ""), url
        assert f'"{run.pk}"?' not in page, url
    way = text_of(operator.get(run_page)).split("way-part")
    assert any("Tell me of the museum" in part for part in way[1:])
    assert Run.objects.get().is_over is is_stopped


def test_a_task_without_words_has_a_name(operator: Client, alice: User) -> None:
    claim = claimed(conversation(alice), "")
    Run.objects.filter(pk=claim.run_id).update(request={"message": ""})
    page = text_of(operator.get(reverse("admin:conversations_run_change", args=[claim.run_id])))
    assert "A message without words" in page


def test_a_call_is_called_by_what_its_caller_said_first(
    operator: Client, alice: User, ada: Assistant
) -> None:
    row = conversation(alice, ada, channel=Channel.VOICE)
    Message.objects.create(conversation=row, turn=0, seq=1, role=Role.ASSISTANT, text="Welcome!")
    say(row, "Where is the exit?")
    assert "Where is the exit?" in text_of(operator.get("/admin/conversations/conversation/"))
