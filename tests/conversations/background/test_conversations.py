"""`/conversations`: begun, listed, read and deleted."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from accounts.principals import principal_for_user
from assistants.models import Assistant
from assistants.task_agent import TASK_AGENT_ID, create_task_agent
from conversations.background.actions import save_personalization, save_prompt
from conversations.models import Channel, Conversation, Message, Run, RunKind
from providers.models import Llm
from tests.conftest import client_with, make_key
from tests.conversations.background.conftest import make_llm, ok, refused
from tooling.catalogue import sync_builtin_tools

PATH = "/api/v1/conversations"
UNKNOWN = "conv_20260101_000000_000"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("llm")]


def begin(api: APIClient, **body: Any) -> str:
    return str(ok(api.post(PATH, body))["conversation_id"])


def say(conversation_id: str, seq: int, role: str, text: str, **fields: Any) -> Message:
    return Message.objects.create(
        conversation_id=conversation_id, turn=1, seq=seq, role=role, text=text, **fields
    )


def run_of(user: User, conversation_id: str, **fields: Any) -> Run:
    return Run.objects.create(
        kind=RunKind.TASK, owner=user, conversation_id=conversation_id, turn=1, **fields
    )


# --- Beginning -----------------------------------------------------------------------------------


def test_it_begins_one_without_a_body(alice_key: str) -> None:
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {alice_key}")
    body = ok(client.generic("POST", PATH))
    assert set(body) == {"success", "conversation_id"}
    assert re.fullmatch(r"conv_\d{8}_\d{6}_\d{3}", body["conversation_id"])


@pytest.mark.parametrize("raw", ["{}", '{"prompt_name": null}', '{"prompt_name": ""} # none'])
def test_it_begins_one_with_an_empty_body(alice_api: APIClient, raw: str) -> None:
    ok(alice_api.generic("POST", PATH, raw, content_type="application/json"))


def test_an_id_that_is_taken_becomes_the_next_millisecond(
    alice_api: APIClient, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 1, 23, 23, 42, 45, 999_000, UTC)
    monkeypatch.setattr("conversations.background.actions.timezone.localtime", lambda: now)
    begun = [begin(alice_api) for _each in range(3)]
    assert begun == [
        "conv_20260123_234245_999",
        "conv_20260123_234246_000",
        "conv_20260123_234246_001",
    ]


def test_it_keeps_who_works_in_it_and_what_guides_them(alice_api: APIClient, alice: User) -> None:
    principal = principal_for_user(alice)
    save_prompt(principal, "short", "Be short.")
    save_personalization(principal, "me", {"default_run_mode": "deep"})
    ada = Assistant.objects.create(name="Ada", owner=alice)
    begun = begin(alice_api, prompt_name="short", personalization_name="me", assistant_id=ada.pk)
    metadata = ok(alice_api.get(f"{PATH}/{begun}"))["data"]["metadata"]
    assert metadata["custom_prompt_name"] == "short"
    assert metadata["personalization_name"] == "me"
    assert metadata["run_mode"] == "deep"
    assert metadata["thinking_mode"] is True
    assert (metadata["assistant_id"], metadata["assistant_name"]) == (ada.pk, "Ada")


def test_it_is_the_agent_of_all_users_who_works_where_none_is_named(
    alice_api: APIClient,
) -> None:
    sync_builtin_tools()
    create_task_agent()
    row = Conversation.objects.get(pk=begin(alice_api))
    assert (row.assistant_id, row.assistant_key) == (TASK_AGENT_ID, TASK_AGENT_ID)
    assert row.channel == Channel.TASK


@pytest.mark.parametrize("field", ["prompt_name", "personalization_name"])
def test_guidance_that_is_not_there_is_not_found(
    alice_api: APIClient, alice: User, bob: User, field: str
) -> None:
    save_prompt(principal_for_user(bob), "his", "")
    save_personalization(principal_for_user(bob), "his", {})
    assert refused(alice_api.post(PATH, {field: "his"}), 404) == refused(
        alice_api.post(PATH, {field: "nobodys"}), 404
    )
    assert not Conversation.objects.exists()
    save_prompt(principal_for_user(alice), "his", "")
    save_personalization(principal_for_user(alice), "his", {})
    begin(alice_api, **{field: "his"})


def test_it_takes_no_foreign_assistant(alice_api: APIClient, bob: User, alice: User) -> None:
    his = Assistant.objects.create(name="His", owner=bob)
    foreign = refused(alice_api.post(PATH, {"assistant_id": his.pk}), 400)
    assert foreign == refused(alice_api.post(PATH, {"assistant_id": "000000000000"}), 400)
    assert foreign.startswith("assistant_id")
    mine = Assistant.objects.create(name="Mine", owner=alice)
    begin(alice_api, assistant_id=mine.pk)


# --- Listing -------------------------------------------------------------------------------------


def test_it_lists_the_latest_first_with_how_they_are_carried_on(
    alice_api: APIClient, llm: Llm
) -> None:
    first, second = begin(alice_api), begin(alice_api)
    say(first, 1, "user", "Hello")
    say(first, 2, "assistant", "Hi")
    Conversation.objects.get(pk=first).save()
    body = ok(alice_api.get(PATH))
    assert (body["total"], [each["id"] for each in body["data"]]) == (2, [first, second])
    shown = body["data"][0]
    assert shown | {"created_at": "", "updated_at": ""} == {
        "id": first,
        "title": "",
        "created_at": "",
        "updated_at": "",
        "run_mode": "fast",
        "model_key": llm.pk,
        "custom_prompt_name": None,
        "personalization_name": None,
        "messages_count": 2,
        "assistant_id": TASK_AGENT_ID,
    }


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 20),
        ("limit=5", 5),
        ("limit=0", 1),
        ("limit=-3", 1),
        ("limit=1000", 23),
        ("limit=many", 20),
        ("limit=99999999999999999999999999", 23),
        ("offset=20", 3),
        ("offset=-1", 20),
        ("offset=x", 20),
        ("offset=23", 0),
        ("offset=99999999999999999999999999", 0),
        ("limit=2&offset=22", 1),
    ],
)
def test_numbers_of_a_page_are_brought_within_their_bounds(
    alice_api: APIClient, alice: User, query: str, count: int
) -> None:
    Conversation.objects.bulk_create(
        Conversation(id=f"conv_{n:02}", owner=alice, channel=Channel.TASK) for n in range(23)
    )
    body = ok(alice_api.get(f"{PATH}?{query}"))
    assert (len(body["data"]), body["total"]) == (count, 23)


def test_a_list_takes_as_many_queries_however_long_it_is(alice_api: APIClient, alice: User) -> None:
    save_personalization(principal_for_user(alice), "me", {"default_run_mode": "deep"})
    ada = Assistant.objects.create(name="Ada", owner=alice)
    taken = []
    for count in (1, 12):
        for _each in range(count):
            begin(alice_api, personalization_name="me", assistant_id=ada.pk)
        with CaptureQueriesContext(connection) as queries:
            ok(alice_api.get(PATH))
        taken.append(len(queries))
    assert taken[0] == taken[1] <= 6


def test_other_channels_are_not_listed(alice_api: APIClient, alice: User) -> None:
    Conversation.objects.create(owner=alice, channel=Channel.CHAT)
    mine = begin(alice_api)
    assert [each["id"] for each in ok(alice_api.get(PATH))["data"]] == [mine]


# --- Reading -------------------------------------------------------------------------------------


def test_it_shows_a_conversation_with_its_figures(alice_api: APIClient, alice: User) -> None:
    begun = begin(alice_api)
    Conversation.objects.filter(pk=begun).update(
        todo=[{"text": "Look", "status": "done"}], title="Looking"
    )
    picture = {
        "kind": "image", "name": "a.png", "source": "file:in/a.png", "media_type": "image/png",
        "text": "",
    }  # fmt: skip
    say(begun, 1, "user", "Look", attachments=[picture])
    say(
        begun, 2, "assistant", "", input_tokens=10, output_tokens=2,
        tool_calls=[{"id": "c1", "name": "calculator", "arguments": "{}"}],
    )  # fmt: skip
    result = {"call_id": "c1", "name": "calculator", "code": 200, "message": "ok"}
    say(begun, 3, "tool", "4", tool_result={**result, "is_error": False, "duration_ms": 1})
    say(begun, 4, "assistant", "It is 4.", input_tokens=20, output_tokens=5)

    short = ok(alice_api.get(f"{PATH}/{begun}"))["data"]
    assert short["messages"] is None
    assert short["todo_list"] == [{"text": "Look", "status": "done"}]
    assert short["title"] == "Looking"
    metadata = short["metadata"]
    assert (metadata["total_messages"], metadata["total_tools"]) == (4, 1)
    assert (metadata["status"], metadata["active_task_id"]) == ("active", None)
    tokens = short["token_statistics"]
    assert tokens.pop("updated_at")
    assert tokens == {"total_input_tokens": 30, "total_output_tokens": 7, "total_tokens": 37}

    full = ok(alice_api.get(f"{PATH}/{begun}?full=1"))["data"]
    assert [each["role"] for each in full["messages"]] == ["user", "assistant", "tool", "assistant"]
    asked, called, returned, said = full["messages"]
    assert (asked["content"], asked["images"]) == ("Look", ["in/a.png"])
    assert called["tool_calls"][0]["function"] == {"name": "calculator", "arguments": "{}"}
    assert (returned["tool_call_id"], returned["name"]) == ("c1", "calculator")
    assert said["content"] == "It is 4."
    assert ok(alice_api.get(f"{PATH}/{begun}?full=0"))["data"]["messages"] is None


def test_it_says_that_a_task_is_running(alice_api: APIClient, alice: User) -> None:
    begun = begin(alice_api)
    run = run_of(alice, begun)
    metadata = ok(alice_api.get(f"{PATH}/{begun}"))["data"]["metadata"]
    assert (metadata["status"], metadata["active_task_id"]) == ("running", str(run.pk))


def test_a_page_takes_as_many_queries_however_much_was_said(alice_api: APIClient) -> None:
    begun, taken, seq = begin(alice_api), [], 1
    for count in (1, 30):
        for _each in range(count):
            say(begun, seq, "user", "Hello")
            seq += 1
        with CaptureQueriesContext(connection) as queries:
            ok(alice_api.get(f"{PATH}/{begun}?full=1"))
        taken.append(len(queries))
    assert taken[0] == taken[1] <= 7


def test_a_model_that_the_personalization_names_is_shown(alice_api: APIClient, alice: User) -> None:
    save_personalization(principal_for_user(alice), "me", {"default_model": "Second"})
    make_llm("Second")
    begun = begin(alice_api, personalization_name="me")
    assert ok(alice_api.get(f"{PATH}/{begun}"))["data"]["metadata"]["model_key"] == "Second"


# --- Deleting ------------------------------------------------------------------------------------


def test_it_deletes_one_with_all_that_was_said(alice_api: APIClient) -> None:
    begun = begin(alice_api)
    say(begun, 1, "user", "Hello")
    assert ok(alice_api.delete(f"{PATH}/{begun}"))["message"]
    refused(alice_api.get(f"{PATH}/{begun}"), 404)
    assert not Message.objects.exists()
    refused(alice_api.delete(f"{PATH}/{begun}"), 404)


def test_it_deletes_none_while_a_task_works_on_it(alice_api: APIClient, alice: User) -> None:
    begun = begin(alice_api)
    run = run_of(alice, begun, status="running")
    refused(alice_api.delete(f"{PATH}/{begun}"), 409)
    Run.objects.filter(pk=run.pk).update(status="succeeded")
    ok(alice_api.delete(f"{PATH}/{begun}"))


# --- Isolation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_a_foreign_one_is_answered_like_an_unknown_one(
    alice_api: APIClient, bob_api: APIClient, verb: str
) -> None:
    begun = begin(alice_api)
    foreign = getattr(bob_api, verb)(f"{PATH}/{begun}")
    unknown = getattr(bob_api, verb)(f"{PATH}/{UNKNOWN}")
    assert refused(foreign, 404) == refused(unknown, 404)
    assert ok(bob_api.get(PATH)) == {"success": True, "data": [], "total": 0}
    ok(getattr(alice_api, verb)(f"{PATH}/{begun}"))


def test_operators_read_any(alice_api: APIClient, carol_api: APIClient) -> None:
    begun = begin(alice_api)
    assert ok(carol_api.get(f"{PATH}/{begun}"))["data"]["id"] == begun


def test_it_needs_the_scope_of_tasks(alice: User) -> None:
    lacking, having = (client_with(make_key(alice, scopes=[scope])) for scope in ("chat", "tasks"))
    refused(lacking.get(PATH), 403)
    ok(having.get(PATH))
