"""`/history?dialog_id=`: what was said in a dialog, with the events that its stream had."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from conversations import history
from conversations.encoders.agentchat import AgentChatEncoder
from conversations.encoding import Collector
from conversations.events import (
    Citation,
    Cited,
    ModelAsked,
    TextDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from conversations.journal import add as add_messages
from conversations.models import Conversation, Feedback
from conversations.types import MessageEntry
from providers.types import Usage
from tests.conftest import client_with, make_key
from tests.conversations.agentchat.conftest import ROOT, data_of, refusal_of, say

HISTORY = f"{ROOT}/history"
CITATION = Citation(
    index=1, document="Manual", text="Press the red button.", knowledge_base_id="kb",
    document_id="doc", chunk_id="7", page=3, score=0.71,
)  # fmt: skip


def history_of(client: APIClient, dialog: Conversation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = data_of(client.get(HISTORY, {"dialog_id": dialog.pk}))
    return rows


def called(call_id: str, name: str, **arguments: Any) -> ToolCalled:
    return ToolCalled(call_id, name, arguments, "server", True, 10_000)


def returned(call_id: str, name: str, output: str, code: int = 200) -> ToolReturned:
    message = "ok" if code == 200 else output
    return ToolReturned(call_id, name, "" if code >= 400 else output, "server", code, message, 5)


DONE = TurnFinished("stop", Usage(20, 10))
TURNS: dict[str, list[TurnEvent]] = {
    "no tools": [TextDelta("Hello "), TextDelta("you."), DONE],
    "tools": [
        TextDelta("Let me see. "),
        called("c1", "calculator", expression="1+1"),
        called("c2", "weather", city="Bern"),
        returned("c1", "calculator", "2"),
        returned("c2", "weather", "The service is away.", 502),
        TextDelta("It is 2."),
        DONE,
    ],
    "two rounds": [
        called("c1", "calculator", expression="1+1"),
        returned("c1", "calculator", "2"),
        called("c2", "calculator", expression="2+2"),
        returned("c2", "calculator", "4"),
        TextDelta("4"),
        DONE,
    ],
    "knowledge before the answer": [Cited((CITATION,)), TextDelta("Press it [1]."), DONE],
    "knowledge by a tool": [
        called("c1", "search_knowledge", query="How?"),
        returned("c1", "search_knowledge", "Press the red button."),
        Cited((CITATION,)),
        TextDelta("Press it [1]."),
        DONE,
    ],
    "a refused call": [
        called("c1", "calculator", expression="1+1"),
        ToolReturned("c2", "wether", "", "server", 404, "There is no tool.", 0, "{}"),
        returned("c1", "calculator", "2"),
        TextDelta("2"),
        DONE,
    ],
    "failure": [
        TextDelta("Let me"),
        TurnFailed("upstream", "The vendor is away.", is_retryable=True, usage=Usage(5, 1)),
    ],
    "interruption": [called("c1", "calculator", expression="1+1")],
}


@pytest.mark.parametrize("name", TURNS)
def test_events_are_those_of_the_stream(
    alice_api: APIClient, dialog: Conversation, name: str
) -> None:
    """The same events through the stream's encoder, and through the database."""
    events: list[TurnEvent] = [TurnStarted(1), ModelAsked(1, 1, 3, False), *TURNS[name]]
    encoder = AgentChatEncoder((), search_id="search_knowledge", clock=lambda: 0.0)
    streamed = [
        json.loads(line.removeprefix(b"data: ")) for e in events for line in encoder.encode(e)
    ]
    collector = Collector()
    for event in events:
        collector.push(event)
    said = MessageEntry(turn=1, role="user", text="Hello")
    add_messages(dialog.pk, [said, *history.entries(collector.turn)])

    question, answer = history_of(alice_api, dialog)
    assert (question["role"], question["content"], question["events"]) == ("user", "Hello", [])
    assert answer["events"] == [each["data"] for each in streamed if each["type"] == "event"]
    assert answer["content"] == collector.turn.text
    usage = collector.turn.usage
    assert answer["token_usage"] == usage.input_tokens + usage.output_tokens


class TestRows:
    def test_it_tells_of_one_row_for_each_side(
        self, alice_api: APIClient, dialog: Conversation
    ) -> None:
        first = say(dialog, 1, "user", "One")
        say(dialog, 1, "assistant", "Two ", tool_calls=[])
        last = say(dialog, 1, "assistant", "three", input_tokens=7, output_tokens=2)
        say(dialog, 2, "user", "Four")
        rows = history_of(alice_api, dialog)
        assert [(row["role"], row["content"], row["token_usage"]) for row in rows] == [
            ("user", "One", 0),
            ("assistant", "Two three", 9),
            ("user", "Four", 0),
        ]
        assert [row["id"] for row in rows[:2]] == [str(first.pk), str(last.pk)]
        assert set(rows[0]) == {
            "id", "content", "dialog_id", "role", "token_usage", "events", "is_failed",
            "create_time", "update_time",
        }  # fmt: skip
        assert {row["dialog_id"] for row in rows} == {dialog.pk}

    def test_it_shows_the_last_turns_first_page_by_page(
        self, alice_api: APIClient, dialog: Conversation
    ) -> None:
        for turn in range(1, 6):
            say(dialog, turn, "user", f"question {turn}")
            say(dialog, turn, "assistant", f"answer {turn}")

        def shown(**page: Any) -> list[str]:
            query = {"dialog_id": dialog.pk, **page}
            return [row["content"] for row in data_of(alice_api.get(HISTORY, query))]

        assert shown(limit=2) == ["question 4", "answer 4", "question 5", "answer 5"]
        assert shown(limit=2, page=3) == ["question 1", "answer 1"]
        assert shown(limit=2, page=4) == shown(page=999_999_999) == []
        pages = [shown(limit=2, page=page) for page in (3, 2, 1)]
        assert shown() == [content for page in pages for content in page]
        refused = alice_api.get(f"{HISTORY}?dialog_id={dialog.pk}&page=0")
        assert "at least 1" in refusal_of(refused, 422)

    def test_a_dialog_without_words_is_empty(
        self, alice_api: APIClient, dialog: Conversation
    ) -> None:
        assert history_of(alice_api, dialog) == []

    def test_an_agent_that_is_gone_leaves_its_words(
        self, alice_api: APIClient, dialog: Conversation, ada: Assistant
    ) -> None:
        add_messages(dialog.pk, history.entries(_turn(TURNS["knowledge by a tool"])))
        before = history_of(alice_api, dialog)
        ada.delete()
        assert history_of(alice_api, dialog) == before
        assert before[0]["events"][-1]["sources"][0]["document"] == "Manual"

    def test_the_titles_are_in_the_readers_language(
        self, alice_api: APIClient, dialog: Conversation
    ) -> None:
        add_messages(dialog.pk, history.entries(_turn(TURNS["tools"])))
        titles = {each["title"] for each in history_of(alice_api, dialog)[0]["events"]}
        assert titles == {"Running a tool: calculator", "Running a tool: weather"}


def _turn(events: list[TurnEvent]) -> Any:
    collector = Collector()
    for event in [TurnStarted(1), *events]:
        collector.push(event)
    return collector.turn


class TestRouting:
    def test_it_is_the_platforms_without_a_dialog(
        self, alice_api: APIClient, dialog: Conversation
    ) -> None:
        assert alice_api.get(HISTORY).json()["success"] is True
        assert alice_api.get(HISTORY, {"dialog_id": dialog.pk}).json()["status_code"] == 200

    def test_an_empty_id_is_refused(self, alice_api: APIClient, dialog: Conversation) -> None:
        assert "dialog_id" in refusal_of(alice_api.get(HISTORY, {"dialog_id": ""}), 422)

    def test_each_family_needs_its_own_scope(self, alice: User, dialog: Conversation) -> None:
        chats = client_with(make_key(alice, scopes=["chat"]))
        manages = client_with(make_key(alice, scopes=["manage"]))
        query = {"dialog_id": dialog.pk}
        refusal_of(manages.get(HISTORY, query), 403)
        data_of(chats.get(HISTORY, query))
        assert chats.get(HISTORY).status_code == 403
        assert manages.get(HISTORY).status_code == 200


class TestFeedback:
    BODY: ClassVar[dict[str, Any]] = {"user_input": "How?", "agent_output": "So."}

    @pytest.mark.parametrize(("word", "is_positive"), [("like", True), ("down", False)])
    @pytest.mark.parametrize("field", ["message_id", "history_id"])
    def test_it_is_kept(
        self, alice_api: APIClient, alice: User, dialog: Conversation, word: str,
        is_positive: bool, field: str,
    ) -> None:  # fmt: skip
        message = say(dialog, 1, "assistant", "So.")
        sent = {**self.BODY, field: history_of(alice_api, dialog)[0]["id"]}
        assert data_of(alice_api.post(f"{ROOT}/message/{word}", sent)) is None
        row = Feedback.objects.get()
        assert (row.owner, row.message, row.is_positive) == (alice, message, is_positive)
        assert (row.user_input, row.agent_output) == ("How?", "So.")

    @pytest.mark.parametrize("word", ["like", "down"])
    def test_it_needs_no_message(self, alice_api: APIClient, word: str) -> None:
        data_of(alice_api.post(f"{ROOT}/message/{word}", self.BODY))
        assert Feedback.objects.get().message is None

    @pytest.mark.parametrize("word", ["like", "down"])
    def test_a_foreign_message_is_unknown(
        self, alice_api: APIClient, bob_api: APIClient, dialog: Conversation, word: str
    ) -> None:
        path, message = f"{ROOT}/message/{word}", say(dialog, 1, "assistant", "So.")
        sent = {**self.BODY, "message_id": message.pk}
        foreign = refusal_of(bob_api.post(path, sent), 404)
        for unknown in (message.pk + 1, "x", "9" * 30, "-1"):
            assert refusal_of(bob_api.post(path, {**sent, "message_id": unknown}), 404) == foreign
        assert not Feedback.objects.exists()
        data_of(alice_api.post(path, sent))

    def test_it_needs_both_texts(self, alice_api: APIClient) -> None:
        for field in self.BODY:
            sent = {name: text for name, text in self.BODY.items() if name != field}
            assert field in refusal_of(alice_api.post(f"{ROOT}/message/like", sent), 422)
        data_of(alice_api.post(f"{ROOT}/message/like", self.BODY))
