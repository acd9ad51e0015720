"""Prompts, personalizations, memories, feedback and accounts in the console."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from assistants.models import Assistant
from conversations.background.guidance import sanitised
from conversations.files.folder import UserFolder
from conversations.models import (
    Channel,
    Conversation,
    Feedback,
    Memory,
    Message,
    Personalization,
    Prompt,
    Role,
)
from tests.conversations.admin.pages import ATTACK, assert_harmless, queries_of, raw, text_of
from tests.conversations.made import conversation

pytestmark = pytest.mark.django_db

PERSONS = "/admin/conversations/personalization/"
SENT = {
    "name": "work",
    "enabled": "on",
    "tone": "dry",
    "considerations": "metric units\n\n short answers \n",
    "thinking_interval": "5",
    "default_run_mode": "deep",
    "disabled_tool_categories": ["code", "network"],
    "tool_intent_enabled": "on",
}


def test_a_personalization_is_kept_as_the_api_keeps_it(operator: Client, alice: User) -> None:
    response = operator.post(f"{PERSONS}add/", {**SENT, "owner": alice.pk})
    assert response.status_code == 302
    row = Personalization.objects.get(owner=alice, name="work")
    assert row.content == sanitised(
        {
            "tone": "dry",
            "considerations": ["metric units", "short answers"],
            "thinking_interval": 5,
            "default_run_mode": "deep",
            "disabled_tool_categories": ["code", "network"],
            "auto_generate_title": False,
        }
    )


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"tone": "x" * 21}, "at most 20 characters"),
        ({"considerations": "x\n" * 11}, "At most 10 lines."),
        ({"considerations": "x" * 51}, "At most 50 characters on each line."),
        ({"thinking_interval": "51"}, "less than or equal to 50"),
        ({"default_run_mode": "wild"}, "not one of the available choices"),
        ({"name": "a b"}, "1 to 64 letters"),
    ],
)
def test_it_says_what_it_would_have_to_shorten(
    operator: Client, alice: User, sent: dict[str, str], said: str
) -> None:
    page = text_of(operator.post(f"{PERSONS}add/", {**SENT, "owner": alice.pk, **sent}))
    assert said in page
    assert not Personalization.objects.exists()
    assert operator.post(f"{PERSONS}add/", {**SENT, "owner": alice.pk}).status_code == 302


def test_it_shows_fields_keeps_unknown_categories_and_the_owner(
    operator: Client, alice: User, bob: User
) -> None:
    content = sanitised({"tone": ATTACK[:20], "disabled_tool_categories": ["holodeck"]})
    row = Personalization.objects.create(owner=alice, name="work", content=content)
    url = f"{PERSONS}{row.pk}/change/"
    page = text_of(operator.get(url))
    assert 'value="holodeck"' in page
    assert "<script" not in raw(operator.get(PERSONS)).partition("<main")[2].split("<form")[0]
    sent = {**SENT, "owner": bob.pk, "disabled_tool_categories": ["holodeck"]}
    assert operator.post(url, sent).status_code == 302
    row.refresh_from_db()
    assert row.owner == alice
    assert row.content["disabled_tool_categories"] == ["holodeck"]
    assert row.content["tone"] == "dry"


def test_prompts_are_made_changed_and_never_given_away(
    operator: Client, alice: User, bob: User
) -> None:
    sent = {"name": "short", "owner": alice.pk, "content": ATTACK}
    assert operator.post("/admin/conversations/prompt/add/", sent).status_code == 302
    again = text_of(operator.post("/admin/conversations/prompt/add/", sent))
    assert "already exists" in again
    row = Prompt.objects.get()
    assert_harmless(operator.get("/admin/conversations/prompt/"))
    url = f"/admin/conversations/prompt/{row.pk}/change/"
    assert_harmless(operator.get(url))
    operator.post(url, {"name": "short", "owner": bob.pk, "content": "New."})
    row.refresh_from_db()
    assert (row.owner, row.content) == (alice, "New.")


@pytest.fixture
def memory(alice: User, ada: Assistant) -> Memory:
    row = conversation(alice, ada, title=ATTACK, id="c1")
    return Memory.objects.create(
        owner=alice, assistant=ada, conversation=row, text=f"Likes {ATTACK}", digest="1"
    )


def test_memories_are_found_read_and_deleted(
    operator: Client, memory: Memory, bob: User, ada: Assistant
) -> None:
    other = Memory.objects.create(owner=bob, assistant=ada, text="Rides a bike", digest="2")
    url = "/admin/conversations/memory/"
    for query, found in (
        ("", {memory, other}),
        ("q=bike", {other}),
        ("q=alice", {memory}),
        (f"owner__id__exact={bob.pk}", {other}),
        (f"assistant__id__exact={ada.pk}", {memory, other}),
        (f"conversation__id__exact={memory.conversation_id}", {memory}),
    ):
        listed = operator.get(f"{url}?{query}").context["cl"].result_list
        assert set(listed) == found, query
    assert_harmless(operator.get(url))
    assert_harmless(operator.get(f"{url}{memory.pk}/change/"))
    assert operator.post(f"{url}{memory.pk}/change/", {"text": "x"}).status_code == 403
    assert operator.post(f"{url}{memory.pk}/delete/", {"post": "yes"}).status_code == 302
    assert set(Memory.objects.all()) == {other}


@pytest.fixture
def feedback(alice: User, ada: Assistant) -> Feedback:
    row = conversation(alice, ada, title=ATTACK, id="c1", channel=Channel.CHAT)
    message = Message.objects.create(
        conversation=row, turn=41, seq=1, role=Role.ASSISTANT, text="Hi"
    )
    return Feedback.objects.create(
        owner=alice, message=message, is_positive=False, user_input=ATTACK, agent_output=ATTACK
    )


def test_feedback_leads_to_the_message_it_is_about(
    operator: Client, feedback: Feedback, bob: User
) -> None:
    liked = Feedback.objects.create(owner=bob, is_positive=True, user_input="Thanks")
    url = "/admin/conversations/feedback/"
    for query, found in (
        ("opinion=liked", {liked}),
        ("opinion=disliked", {feedback}),
        ("", {feedback, liked}),
    ):
        assert set(operator.get(f"{url}?{query}").context["cl"].result_list) == found
    assert_harmless(operator.get(url))
    assert_harmless(operator.get(f"{url}{feedback.pk}/change/"))
    place = f"/admin/conversations/conversation/c1/change/?turns=3#message-{feedback.message_id}"
    assert place in text_of(operator.get(url))
    transcript = raw(operator.get(place))
    assert f'id="message-{feedback.message_id}"' in transcript
    assert "1 liked, 1 disliked" in text_of(operator.get("/admin/"))


@pytest.mark.parametrize("name", ["prompt", "personalization", "memory", "feedback"])
def test_lists_ask_the_database_as_often_for_many_as_for_one(
    operator: Client, alice: User, bob: User, ada: Assistant, name: str
) -> None:
    def make(number: int) -> None:
        owner = (alice, bob)[number % 2]
        row = conversation(owner, ada, id=f"c{number}")
        message = Message.objects.create(conversation=row, turn=1, seq=1, role=Role.ASSISTANT)
        values: dict[str, dict[str, Any]] = {
            "prompt": {"name": f"p{number}"},
            "personalization": {"name": f"p{number}", "content": {"tone": "dry"}},
            "memory": {"assistant": ada, "conversation": row, "text": "x", "digest": str(number)},
            "feedback": {"message": message, "is_positive": True},
        }
        models = {
            "prompt": Prompt,
            "personalization": Personalization,
            "memory": Memory,
            "feedback": Feedback,
        }
        models[name]._default_manager.create(owner=owner, **values[name])

    url = f"/admin/conversations/{name}/"
    make(0)
    few = queries_of(operator, url)
    for number in range(1, 9):
        make(number)
    assert queries_of(operator, url) == few


def test_an_account_leads_to_everything_that_is_its_users(
    operator: Client, alice: User, bob: User, memory: Memory, tmp_path: Path, settings: Any
) -> None:
    settings.USER_FILES_DIR = tmp_path
    settings.USER_FILES_QUOTA_MB = 1
    UserFolder.of(alice.pk).save("notes.md", [b"x" * 2**19])
    page = text_of(operator.get(reverse("admin:accounts_user_change", args=[alice.pk])))
    assert f"/admin/conversations/memory/?owner__id__exact={alice.pk}" in page
    assert f"/admin/conversations/run/?owner__id__exact={alice.pk}&kind__exact=task" in page
    assert "512.0\xa0KB of 1.0\xa0MB" in page
    assert "width: 50%" in page
    other = text_of(operator.get(reverse("admin:accounts_user_change", args=[bob.pk])))
    assert "<strong>1</strong> Memories" in page
    assert "<strong>0</strong> Memories" in other
    # It still is the page of accounts: it deletes them with all that is theirs.
    url = reverse("admin:accounts_user_delete", args=[alice.pk])
    assert operator.post(url, {"post": "yes"}).status_code == 302
    assert not Conversation.objects.filter(owner=alice).exists()
