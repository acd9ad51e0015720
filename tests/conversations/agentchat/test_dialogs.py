"""`/dialog`: made, listed, renamed and deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from conversations.chats import dialogs
from conversations.models import (
    Call,
    Channel,
    Conversation,
    Memory,
    Message,
    Run,
    RunEvent,
    RunKind,
    RunStatus,
)
from core.errors import Conflict
from tests.conftest import client_with, make_key
from tests.conversations.agentchat.conftest import DIALOG, ROOT, data_of, refusal_of, say


def make(client: APIClient, agent: Assistant, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = data_of(client.post(DIALOG, {"agent_id": agent.pk, **fields}))
    return made


def listed(client: APIClient) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = data_of(client.get(f"{DIALOG}/list"))
    return rows


class TestMaking:
    def test_it_says_its_id(self, alice_api: APIClient, alice: User, ada: Assistant) -> None:
        made = make(alice_api, ada, name="Plans")
        assert re.fullmatch("[0-9a-f]{32}", made["dialog_id"])
        assert datetime.fromisoformat(made.pop("create_time"))
        assert datetime.fromisoformat(made.pop("update_time"))
        assert made == {
            "dialog_id": made["dialog_id"],
            "alias": "",
            "name": "Plans",
            "agent_id": ada.pk,
            "agent_name": "Ada",
            "agent_type": "Agent",
            "user_id": str(alice.pk),
            "summary": "",
            "summary_last_time": None,
        }

    def test_it_is_named_after_its_agent_if_nobody_names_it(
        self, alice_api: APIClient, ada: Assistant
    ) -> None:
        made = make(alice_api, ada, agent_type="MCPAgent")
        assert (made["name"], made["agent_type"]) == ("Ada", "MCPAgent")

    def test_an_agent_that_may_not_be_seen_is_unknown(
        self, alice_api: APIClient, bob_api: APIClient, ada: Assistant
    ) -> None:
        foreign = refusal_of(bob_api.post(DIALOG, {"name": "x", "agent_id": ada.pk}), 404)
        unknown = refusal_of(bob_api.post(DIALOG, {"name": "x", "agent_id": "nothing"}), 404)
        assert foreign == unknown
        assert foreign.startswith("agent_id: ")
        make(alice_api, ada)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("agent_id", None),
            ("agent_type", "Robot"),
            ("name", "x" * 201),
            ("dialog_id", "a/b"),
            ("dialog_id", "x" * 65),
        ],
    )
    def test_it_refuses_wrong_values(
        self, alice_api: APIClient, ada: Assistant, field: str, value: Any
    ) -> None:
        good = {"name": "Plans", "agent_id": ada.pk, "dialog_id": "dialog-123"}
        assert field in refusal_of(alice_api.post(DIALOG, {**good, field: value}), 422)
        data_of(alice_api.post(DIALOG, good))

    def test_a_client_may_give_it_an_id(
        self, alice_api: APIClient, bob_api: APIClient, ada: Assistant
    ) -> None:
        made = make(alice_api, ada, dialog_id="dialog-123")
        assert made["alias"] == "dialog-123"
        for dialog_id in ("dialog-123", made["dialog_id"]):
            renamed = data_of(alice_api.put(DIALOG, {"dialog_id": dialog_id, "name": dialog_id}))
            assert renamed["dialog_id"] == made["dialog_id"]
            assert renamed["name"] == dialog_id
            again = {"agent_id": ada.pk, "dialog_id": dialog_id}
            refusal_of(alice_api.post(DIALOG, again), 409)
        # It is an id of this user's own.
        public = Assistant.objects.create(owner=None, name="Everybody's")
        bobs = make(bob_api, public, dialog_id="dialog-123")
        assert bobs["dialog_id"] != made["dialog_id"]

    def test_it_needs_the_scope_to_chat(self, alice: User, ada: Assistant) -> None:
        body = {"name": "Plans", "agent_id": ada.pk}
        refusal_of(client_with(make_key(alice, scopes=["manage"])).post(DIALOG, body), 403)
        data_of(client_with(make_key(alice, scopes=["chat"])).post(DIALOG, body))


class TestListing:
    def test_it_shows_own_dialogs_with_their_agents(
        self, alice_api: APIClient, bob_api: APIClient, carol_api: APIClient, ada: Assistant
    ) -> None:
        first, second = make(alice_api, ada, name="First"), make(alice_api, ada, name="Second")
        rows = listed(alice_api)
        assert [row["name"] for row in rows] == ["Second", "First"]
        assert rows[1]["dialog_id"] == first["dialog_id"]
        assert rows[0]["agent"]["name"] == rows[0]["agent_name"] == "Ada"
        assert rows[0]["logo_url"] == rows[0]["agent"]["logo_url"]
        assert "id" not in rows[0]
        assert {name: rows[0][name] for name in second} == second
        assert listed(bob_api) == listed(carol_api) == []

    def test_it_shows_neither_calls_nor_tasks_nor_sessions(
        self, alice_api: APIClient, alice: User, ada: Assistant
    ) -> None:
        for channel in Channel:
            Conversation.objects.create(owner=alice, assistant=ada, channel=channel)
        assert listed(alice_api) == []
        make(alice_api, ada)
        assert len(listed(alice_api)) == 1

    def test_an_agent_that_is_gone_leaves_its_dialogs_to_be_read(
        self, alice_api: APIClient, ada: Assistant
    ) -> None:
        made = make(alice_api, ada)
        assert alice_api.delete(f"{ROOT}/assistants/{ada.pk}").status_code == 200
        row = listed(alice_api)[0]
        assert (row["dialog_id"], row["agent"], row["agent_name"]) == (
            made["dialog_id"],
            None,
            "Ada",
        )

    def test_it_asks_the_same_few_questions_for_many(
        self, alice_api: APIClient, ada: Assistant
    ) -> None:
        def queries() -> int:
            with CaptureQueriesContext(
                connection,
            ) as made:
                listed(alice_api)
            return len(made)

        make(alice_api, ada)
        listed(alice_api)
        before = queries()
        for _number in range(5):
            make(alice_api, ada)
        assert queries() == before

    def test_it_pages(self, alice_api: APIClient, ada: Assistant) -> None:
        for name in "abc":
            make(alice_api, ada, name=name)
        second = data_of(alice_api.get(f"{DIALOG}/list", {"limit": 2, "page": 2}))
        assert [row["name"] for row in second] == ["a"]


CHANGES: dict[str, Callable[[APIClient, str], Any]] = {
    "rename": lambda client, key: client.put(DIALOG, {"dialog_id": key, "name": "New"}),
    "history": lambda client, key: client.get(f"{ROOT}/history", {"dialog_id": key}),
    "delete": lambda client, key: client.delete(DIALOG, {"dialog_id": key}),
    "delete by query": lambda client, key: client.delete(f"{DIALOG}?dialog_id={key}"),
}


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("who", ["bob_api", "carol_api"])
def test_a_foreign_dialog_is_unknown(
    request: pytest.FixtureRequest,
    alice_api: APIClient,
    ada: Assistant,
    verb: str,
    who: str,
) -> None:
    made, change = make(alice_api, ada, dialog_id="dialog-123"), CHANGES[verb]
    client = request.getfixturevalue(who)
    unknown = refusal_of(change(client, "nothing"), 404)
    assert unknown == "dialog_id: Dialog not found."
    for key in (made["dialog_id"], "dialog-123", "'"):
        assert refusal_of(change(client, key), 404) == unknown
    data_of(change(alice_api, made["dialog_id"]))


class TestDeleting:
    def active_run(self, dialog: Conversation, alice: User) -> Run:
        run = Run.objects.create(
            kind=RunKind.CHAT,
            owner=alice,
            conversation=dialog,
            turn=1,
            status=RunStatus.RUNNING,
            attempt=1,
        )
        RunEvent.objects.create(run=run, seq=0, type="user_message", data={})
        return run

    def test_everything_goes_with_it(
        self, alice_api: APIClient, alice: User, ada: Assistant, dialog: Conversation
    ) -> None:
        say(dialog, 1, "user", "Hello")
        Call.objects.create(conversation=dialog, source="external")
        Memory.objects.create(
            owner=alice, assistant=ada, conversation=dialog, text="Likes tea", digest="1"
        )
        assert data_of(alice_api.delete(DIALOG, {"dialog_id": dialog.pk})) is None
        for model in (Conversation, Message, Call, Memory):
            assert not model._default_manager.exists()

    def test_an_answer_in_the_making_stops(
        self, alice_api: APIClient, alice: User, dialog: Conversation
    ) -> None:
        self.active_run(dialog, alice)
        data_of(alice_api.delete(DIALOG, {"dialog_id": dialog.pk}))
        assert not Run.objects.exists()
        assert not RunEvent.objects.exists()

    def test_other_conversations_are_not_deleted_while_they_are_answered(
        self, alice: User, dialog: Conversation
    ) -> None:
        run = self.active_run(dialog, alice)
        with pytest.raises(Conflict) as refused:
            dialogs.delete_conversation(dialog)
        assert refused.value.error_code == "CONVERSATION_BUSY"
        run.status = RunStatus.SUCCEEDED
        run.save()
        dialogs.delete_conversation(dialog)
        assert not Conversation.objects.exists()

    def test_an_agent_takes_its_owners_dialogs_along(
        self, alice_api: APIClient, alice: User, ada: Assistant, dialog: Conversation
    ) -> None:
        other = Assistant.objects.create(owner=alice, name="Other")
        kept = make(alice_api, other)
        call = Conversation.objects.create(owner=alice, assistant=ada, channel=Channel.VOICE)
        data_of(alice_api.delete(f"{ROOT}/agent", {"agent_id": ada.pk}))
        left = set(Conversation.objects.values_list("pk", flat=True))
        assert left == {kept["dialog_id"], call.pk}

    def test_an_agent_with_many_dialogs_takes_no_more_questions(
        self, alice_api: APIClient, alice: User
    ) -> None:
        def queries(count: int) -> int:
            agent = Assistant.objects.create(owner=alice, name=f"With {count}")
            for _number in range(count):
                made = make(alice_api, agent)
                dialog = Conversation.objects.get(pk=made["dialog_id"])
                say(dialog, 1, "user", "Hello")
                self.active_run(dialog, alice)
            with CaptureQueriesContext(connection) as asked:
                data_of(alice_api.delete(f"{ROOT}/agent", {"agent_id": agent.pk}))
            assert not Conversation.objects.exists()
            assert not Run.objects.exists()
            return len(asked)

        queries(1)
        assert queries(1) == queries(6)

    def test_an_operator_who_deletes_everybodys_agent_deletes_no_dialogs(
        self, alice_api: APIClient, carol_api: APIClient
    ) -> None:
        public = Assistant.objects.create(owner=None, name="Everybody's")
        make(alice_api, public)
        data_of(carol_api.delete(f"{ROOT}/agent", {"agent_id": public.pk}))
        assert [row["agent"] for row in listed(alice_api)] == [None]
