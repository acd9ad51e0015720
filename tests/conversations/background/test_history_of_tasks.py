"""Tasks as the platform's history shows them, from the message to the record."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from assistants.task_agent import TASK_AGENT_ID
from conversations.files.folder import UserFolder
from conversations.models import Call, Conversation
from conversations.runs.host import Host
from conversations.tasks import close_lost_calls
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.conversations.background.conftest import ok
from tests.conversations.background.test_end_to_end import (
    carried_out,
    followed,
    host,
    quiet,
    vendor,
)
from tests.conversations.files.test_attachments import picture
from tests.rest import data_of, error_of

__all__ = ["host", "vendor"]

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/history"


def record_of(api: APIClient, task: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = data_of(api.get(f"{PATH}/{task['conversation_id']}"))
    return record


def test_a_task_is_in_the_history(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, bob_api: APIClient, alice: User
) -> None:
    vendor.script(
        "chat",
        Step(text="Wait.", tool_calls=[{"name": "calculator", "arguments": {"expression": "2+2"}}]),
        Step(text="Four."),
    )
    task = carried_out(host, alice_api, message="2+2?", personalization_name=quiet(alice))
    (item,) = data_of(alice_api.get(PATH, {"channel": "task", "assistant_id": TASK_AGENT_ID}))[
        "items"
    ]
    assert item["id"] == task["conversation_id"]
    assert (item["channel"], item["title"], item["status"]) == ("task", "2+2?", "connected")
    assert (item["user_id"], item["assistant_id"]) == (alice.pk, TASK_AGENT_ID)
    shown = record_of(alice_api, task)
    said = shown["transcripts"]
    assert [(each["speaker"], each["content"].strip(), each["turn"]) for each in said] == [
        ("human", "2+2?", 1),
        ("ai", "Wait.", 1),
        ("ai", "Four.", 1),
    ]
    asked, began, ended = said[0]["start_ms"], said[1]["start_ms"], said[2]["end_ms"]
    assert 0 <= asked <= began <= ended
    # When one piece ended and the next began, nobody noted.
    assert (said[1]["end_ms"], said[2]["start_ms"], said[2]["duration_ms"]) == (None, None, None)
    assert [each["role"] for each in shown["details"]] == ["user", "assistant", "tool", "assistant"]

    stats = data_of(alice_api.get(f"{PATH}/stats"))
    assert [each["total_calls"] for each in stats["by_channel"]] == [0, 0, 1]
    assert [each["assistant_id"] for each in stats["by_assistant"]] == [TASK_AGENT_ID]
    assert data_of(bob_api.get(PATH))["items"] == []
    for method in ("get", "patch", "delete"):
        error_of(getattr(bob_api, method)(f"{PATH}/{task['conversation_id']}"), 404)


def test_a_task_that_failed_says_so_until_the_next_goes_well(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    vendor.script("chat", *[Step(status=401, body={"error": {"message": "no"}})] * 9)
    task = carried_out(host, alice_api, personalization_name=quiet(alice))
    failed = record_of(alice_api, task)
    assert (failed["status"], bool(failed["error_code"])) == ("failed", True)
    assert failed["error_message"] == task["error"]
    vendor.reset()
    carried_out(host, alice_api, conversation_id=task["conversation_id"])
    mended = record_of(alice_api, task)
    assert (mended["status"], mended["error_code"]) == ("connected", "")
    assert failed["started_at"] == mended["started_at"] < failed["ended_at"] < mended["ended_at"]


def test_a_task_that_waits_and_is_stopped_is_in_the_history(
    vendor: FakeUpstream, alice_api: APIClient
) -> None:
    task = ok(alice_api.post("/api/v1/messages", {"message": "Go"}), 202)
    path = f"{PATH}/{task['conversation_id']}"
    assert error_of(alice_api.delete(path), 409)["code"] == "CONVERSATION_BUSY"
    ok(alice_api.post(f"/api/v1/tasks/{task['task_id']}/cancel"))
    record = record_of(alice_api, task)
    assert (record["status"], record["duration_seconds"]) == ("connected", 0)
    assert [each["content"] for each in record["transcripts"]] == ["Go"]
    data_of(alice_api.delete(path))
    assert not Conversation.objects.exists()


def test_an_assistant_keeps_its_place_in_the_record_when_it_is_gone(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    ada = Assistant.objects.create(owner=alice, name="Ada", llm=Llm.objects.get())
    name = quiet(alice)
    task = carried_out(host, alice_api, assistant_id=ada.pk, personalization_name=name)
    kept = record_of(alice_api, task)
    assert (kept["assistant_id"], kept["assistant_name"]) == (ada.pk, "Ada")
    key = ada.pk
    ada.delete()
    assert record_of(alice_api, task) == kept
    carried_out(host, alice_api, conversation_id=task["conversation_id"])
    (item,) = data_of(alice_api.get(PATH, {"assistant_id": key}))["items"]
    assert (item["id"], item["assistant_name"]) == (task["conversation_id"], "Ada")


def test_an_image_of_the_users_folder_is_named(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    Llm.objects.update(accepts_images=True)
    UserFolder.of(alice.pk).save("red.png", [picture()])
    task = carried_out(host, alice_api, message="Colour?", images=["red.png"])
    question = record_of(alice_api, task)["details"][0]
    assert question["image_urls"] == []
    assert question["attachments"] == [
        {
            "kind": "image",
            "name": "red.png",
            "media_type": "image/png",
            "path": "red.png",
            "url": None,
        }
    ]


def test_a_task_is_no_call_whose_process_died(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    waiting = ok(alice_api.post("/api/v1/messages", {"message": "Go"}), 202)
    Call.objects.update(heartbeat_at="2020-01-01T00:00:00Z", ended_at=None)
    assert close_lost_calls() == 0
    host.wake()
    assert followed(alice_api, waiting)["status"] == "succeeded"
    assert record_of(alice_api, waiting)["status"] == "connected"
