"""Conversations in the console: the list, the transcript, what happened in each turn."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from assistants.models import Assistant
from conversations.encoders.tasks import failed
from conversations.models import Call, CallStatus, Channel, Conversation, Message, Role, Run
from conversations.runs import store
from conversations.runs.types import NewEvent
from tests.conversations.admin.pages import (
    ATTACK,
    assert_harmless,
    queries_of,
    raw,
    text_of,
)
from tests.conversations.made import claimed, conversation

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/conversation/"


def page_of(row: Conversation) -> str:
    return reverse("admin:conversations_conversation_change", args=[row.pk])


def say(row: Conversation, turn: int, role: str, text: str = "", **fields: Any) -> Message:
    seq = row.messages.count() + 1
    return Message.objects.create(
        conversation=row, turn=turn, seq=seq, role=role, text=text, **fields
    )


def listed(operator: Client, query: str) -> set[str]:
    return {row.pk for row in operator.get(f"{LIST}?{query}").context["cl"].result_list}


def test_it_finds_conversations_by_channel_assistant_owner_trouble_and_words(
    operator: Client, alice: User, bob: User, ada: Assistant
) -> None:
    voice = conversation(alice, ada, id="voice1", channel=Channel.VOICE, title="Prices")
    chat = conversation(bob, ada, id="chat1", channel=Channel.CHAT)
    task = conversation(bob, None, id="task1", channel=Channel.TASK, assistant_name="Gone")
    say(chat, 1, Role.ASSISTANT, error="The vendor is away.")
    Call.objects.create(conversation=task, status=CallStatus.FAILED, channel=Channel.TASK)
    for query, found in (
        ("", {voice, chat, task}),
        ("channel__exact=chat", {chat}),
        (f"assistant__id__exact={ada.pk}", {voice, chat}),
        (f"owner__id__exact={bob.pk}", {chat, task}),
        ("trouble=yes", {chat}),
        ("call__status__exact=failed", {task}),
        ("q=Prices", {voice}),
        ("q=Gone", {task}),
        ("q=bob", {chat, task}),
    ):
        assert listed(operator, query) == {row.pk for row in found}, query


def test_the_list_tells_what_was_said_and_what_goes_on(operator: Client, alice: User) -> None:
    row = conversation(alice, title="Tour")
    claimed(row)
    say(row, 1, Role.ASSISTANT, "Hi", input_tokens=120, output_tokens=3, error="Broken.")
    page = operator.get(LIST)
    (shown,) = page.context["cl"].result_list
    assert shown.figures == {
        "conversation_id": row.pk,
        "messages": 2,
        "failed": 1,
        "tokens": 123,
    }
    run = Run.objects.get()
    assert f'data-live="task:{run.pk}"' in raw(page)
    assert "Running" in raw(page)


def test_the_list_asks_the_database_as_often_for_many_as_for_one(
    operator: Client, alice: User, ada: Assistant
) -> None:
    def make(number: int) -> None:
        row = conversation(alice, ada, id=f"c{number}", channel=list(Channel)[number % 3])
        say(row, 1, Role.USER, "Hello")
        Call.objects.create(conversation=row, channel=row.channel, status=CallStatus.CONNECTED)

    make(0)
    few = queries_of(operator, LIST)
    for number in range(1, 12):
        make(number)
    assert queries_of(operator, LIST) == few


def test_a_transcript_shows_tools_attachments_models_and_errors(
    operator: Client, alice: User, ada: Assistant
) -> None:
    row = conversation(alice, ada, channel=Channel.CHAT)
    plan = {"kind": "text", "name": "plan.pdf", "source": "upload:1", "text": "Second floor"}
    say(row, 1, Role.USER, "Where?", attachments=[{**plan, "media_type": "text/plain"}])
    call = {"id": "call_1", "name": "lookup", "arguments": '{"room": 2}'}
    say(row, 1, Role.ASSISTANT, "I look.", tool_calls=[call, {**call, "id": "call_2"}])
    result = {"call_id": "call_1", "name": "lookup", "code": 502, "message": "Gone away."}
    say(row, 1, Role.TOOL, '{"found": 1}',
        tool_result={**result, "is_error": True, "duration_ms": 184})  # fmt: skip
    say(row, 1, Role.TOOL, "",
        tool_result={**result, "call_id": "?", "is_error": True, "duration_ms": 1})  # fmt: skip
    say(row, 1, Role.ASSISTANT, "Here.", model_name="qwen-max", input_tokens=800,
        output_tokens=12, error="It broke off.")  # fmt: skip
    page = text_of(operator.get(page_of(row)))
    for shown in (
        "plan.pdf",
        "Second floor",
        '"room": 2',
        '"found": 1',
        "502 · 184 ms",
        "Gone away.",
        "no result",
        "qwen-max",
        "812 tokens",
        "It broke off.",
    ):
        assert shown in page, shown
    # A call, one without a result, a result without a call.
    assert page.count("<code>lookup</code>") == 3


def test_a_failed_call_says_its_error_once(operator: Client, alice: User) -> None:
    row = conversation(alice)
    say(row, 1, Role.ASSISTANT, tool_calls=[{"id": "1", "name": "lookup", "arguments": "{}"}])
    result = {"call_id": "1", "name": "lookup", "code": 502, "is_error": True, "duration_ms": 2087}
    message = "The service was away."
    answer = say(row, 1, Role.TOOL, message, tool_result={**result, "message": message})
    for url in (page_of(row), reverse("admin:conversations_tooluse_change", args=[answer.pk])):
        shown = text_of(operator.get(url)).partition("course-rows")[0]
        assert shown.count(message) == 1, url
    # As the timeline does.
    assert "502 · 2.09 s" in text_of(operator.get(page_of(row)))


def test_a_turn_has_the_timeline_of_its_run_and_the_way_to_it(
    operator: Client, alice: User
) -> None:
    row = conversation(alice)
    claim = claimed(row, "How much?")
    store.append(
        claim,
        [
            NewEvent("ai_message_start"),
            NewEvent("api_request_start", {"attempt": 1, "max_attempts": 3}),
            NewEvent("tool_start", {"id": "t", "name": "prices", "arguments": {"of": "coffee"}}),
        ],
    )
    store.finish(claim, failed("The vendor is away.", code="llm.failed", turn=None))
    page = text_of(operator.get(page_of(row)))
    assert reverse("admin:conversations_run_change", args=[claim.run_id]) in page
    assert '{"of": "coffee"}' in page
    assert 'class="course-row is-model' in page
    assert 'class="course-row is-end is-bad"' in page
    assert "The vendor is away." in page


def test_long_conversations_come_in_pages_with_as_many_queries(
    operator: Client, alice: User
) -> None:
    row = conversation(alice, channel=Channel.CHAT)
    for turn in range(1, 46):
        say(row, turn, Role.USER, f"Question {turn}.")
    first = text_of(operator.get(page_of(row)))
    assert "Question 19." in first
    assert "Question 20." not in first
    assert "Page 1 of 3" in first
    last = text_of(operator.get(f"{page_of(row)}?turns=3"))
    assert "Question 45." in last
    for nonsense in ("0", "-1", "99", "x", "³", "9" * 30):
        assert operator.get(f"{page_of(row)}?turns={nonsense}").status_code == 200
    short = conversation(alice, id="short", channel=Channel.CHAT)
    say(short, 1, Role.USER, "Hi")
    assert queries_of(operator, page_of(short)) == queries_of(operator, page_of(row))


def test_a_result_of_megabytes_is_cut_before_it_is_read(operator: Client, alice: User) -> None:
    row = conversation(alice, channel=Channel.CHAT)
    say(row, 1, Role.ASSISTANT, "word " * 200_000)
    assert len(raw(operator.get(page_of(row)))) < 200_000


def test_what_users_and_models_wrote_is_text_on_every_page(operator: Client, alice: User) -> None:
    ada = Assistant.objects.create(name=ATTACK, owner=alice)
    entry = {"text": ATTACK, "status": "done"}
    row = conversation(alice, ada, title=ATTACK, summary=ATTACK, todo=[entry], id="evil")
    claim = claimed(row, ATTACK)
    tool = {"id": "t", "name": ATTACK, "arguments": {"x": ATTACK}}
    store.append(
        claim,
        [
            NewEvent("ai_message_start"),
            NewEvent(ATTACK[:32], {"message": ATTACK}),
            NewEvent("tool_start", tool),
            NewEvent("update_action", {"id": "t", "status": "failed", "message": ATTACK}),
            NewEvent("text_start"),
            NewEvent("text_chunk", {"content": ATTACK}),
        ],
    )
    assert_harmless(operator.get(reverse("admin:conversations_run_change", args=[claim.run_id])))
    assert_harmless(operator.get("/admin/"))
    store.finish(claim, failed(ATTACK, code="x", turn=None))
    call = {"id": "1", "name": ATTACK, "arguments": ATTACK}
    source = {"index": 1, "document": ATTACK, "page": 1, "text": ATTACK, "score": 0.5}
    attachment = {"kind": "text", "name": ATTACK, "source": ATTACK, "text": ATTACK}
    say(row, 1, Role.ASSISTANT, ATTACK, tool_calls=[call], citations=[source],
        attachments=[attachment], knowledge_note=ATTACK, error=ATTACK, model_name=ATTACK,
        is_interrupted=True, generated_text=ATTACK * 2)  # fmt: skip
    for url in (
        LIST,
        page_of(row),
        "/admin/conversations/run/",
        reverse("admin:conversations_run_change", args=[claim.run_id]),
        "/admin/usage/",
    ):
        assert_harmless(operator.get(url))


def test_a_conversation_that_is_being_answered_stays(operator: Client, alice: User) -> None:
    busy, idle = conversation(alice, id="busy"), conversation(alice, id="idle")
    claimed(busy)
    for row in (busy, idle):
        url = reverse("admin:conversations_conversation_delete", args=[row.pk])
        assert operator.post(url, {"post": "yes"}).status_code == 302
    assert list(Conversation.objects.all()) == [busy]
    selected = {"action": "delete_selected", "_selected_action": [busy.pk], "post": "yes"}
    operator.post(LIST, selected)
    assert Conversation.objects.filter(pk=busy.pk).exists()


def test_a_call_shows_its_source_and_a_chat_does_not(operator: Client, alice: User) -> None:
    for channel, is_shown in ((Channel.VOICE, True), (Channel.CHAT, False)):
        row = conversation(alice, id=f"c-{channel}", channel=channel)
        Call.objects.create(
            conversation=row,
            channel=channel,
            source="external",
            status=CallStatus.CONNECTED,
            ended_at=timezone.now(),
        )
        page = text_of(operator.get(page_of(row)))
        assert ("External" in page) is is_shown
        assert ("Answered" in page) is not is_shown
