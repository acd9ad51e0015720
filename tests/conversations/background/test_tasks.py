"""`/tasks`: the log from any offset, waiting for it, streaming it, and cancelling."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections
from django.test import AsyncClient
from rest_framework.test import APIClient

from accounts.models import ApiKey, User, hash_key
from conversations.api import tasks_runs
from conversations.chats.dialogs import delete_conversation
from conversations.models import Run, RunStatus
from conversations.runs import store
from conversations.runs.log import follow
from conversations.runs.types import Claim, NewEvent, Outcome, Page
from core.db import in_db
from tests.conftest import client_with, make_key
from tests.conversations.background.conftest import make_llm, ok, refused

PATH = "/api/v1/tasks"
UNKNOWN = "60322db3-f884-4a1e-a9b3-6eeb07fbab47"

# The views read in threads of their own.
pytestmark = pytest.mark.django_db(transaction=True)


def begin(api: APIClient, message: str = "Hello") -> str:
    make_llm()
    return str(ok(api.post("/api/v1/messages", {"message": message}), 202)["task_id"])


def claimed(task_id: str) -> Claim:
    claim = store.claim(uuid.UUID(task_id), worker="tests")
    assert claim is not None
    return claim


def say(claim: Claim, *texts: str) -> None:
    events = [NewEvent("text_chunk", {"content": text}) for text in texts]
    assert store.append(claim, events) is not None


def end(claim: Claim) -> None:
    last = NewEvent("task_complete", {"total_iterations": 1, "total_tool_calls": 0})
    assert store.finish(claim, Outcome(status=RunStatus.SUCCEEDED, last=last, turn=None))


@pytest.fixture
def task(alice_api: APIClient) -> str:
    """A task of alice's that is over, with five events."""
    task_id = begin(alice_api)
    claim = claimed(task_id)
    say(claim, "One", "Two")
    end(claim)
    return task_id


def log(api: APIClient, task_id: str, query: str = "") -> dict[str, Any]:
    data: dict[str, Any] = ok(api.get(f"{PATH}/{task_id}{query}"))["data"]
    return data


# --- Polling -------------------------------------------------------------------------------------


def test_it_tells_how_a_task_stands(alice_api: APIClient) -> None:
    task_id = begin(alice_api)
    data = log(alice_api, task_id, "?from=0")
    assert data["status"] == "pending"
    assert (data["task_id"], data["error"]) == (task_id, None)
    assert isinstance(data["created_at"], float)
    assert isinstance(data["updated_at"], float)
    assert [event["type"] for event in data["events"]] == ["user_message", "conversation_resolved"]
    first = data["events"][0]
    assert set(first) == {"idx", "type", "data", "ts"}
    assert (first["idx"], first["data"]["task_id"]) == (0, task_id)
    assert first["data"]["conversation_id"] == data["conversation_id"]
    assert first["data"]["message"] == "Hello"
    assert data["next_offset"] == 2
    claim = claimed(task_id)
    assert log(alice_api, task_id)["status"] == "running"
    end(claim)
    assert log(alice_api, task_id)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("query", "indices", "following"),
    [
        ("", [0, 1, 2, 3, 4], 5),
        ("?from=", [0, 1, 2, 3, 4], 5),
        ("?from=0", [0, 1, 2, 3, 4], 5),
        ("?from=2", [2, 3, 4], 5),
        ("?from=4", [4], 5),
        ("?from=5", [], 5),
        ("?from=99", [], 99),
        ("?from=99999999999999999999999999", [], 2**62),
    ],
)
def test_it_reads_from_any_offset(
    alice_api: APIClient, task: str, query: str, indices: list[int], following: int
) -> None:
    data = log(alice_api, task, query)
    assert [event["idx"] for event in data["events"]] == indices
    assert (data["next_offset"], data["has_more"]) == (following, False)


@pytest.mark.parametrize(
    "query",
    ["from=-1", "from=x", "from=1.5", "from=٣", "from=+1", "wait=-1", "wait=x", "wait=nan"],
)
def test_it_refuses_what_is_no_number(alice_api: APIClient, task: str, query: str) -> None:
    message = refused(alice_api.get(f"{PATH}/{task}?{query}"), 400)
    assert message.startswith(query.split("=")[0])
    log(alice_api, task, "?from=1&wait=0.1")


def test_texts_are_read_as_they_were_written(alice_api: APIClient) -> None:
    task_id = begin(alice_api, "终末地 🚀")
    response = alice_api.get(f"{PATH}/{task_id}")
    assert "终末地 🚀" in response.content.decode()
    assert response["Content-Type"] == "application/json"


# --- Waiting -------------------------------------------------------------------------------------


def meanwhile(work: Callable[[], None]) -> threading.Thread:
    """Does the work in another thread, with a connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_it_waits_for_the_next_event(alice_api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = begin(alice_api)
    claim = claimed(task_id)
    is_waiting = threading.Event()

    async def waiting(run_id: uuid.UUID, **options: Any) -> Page:
        is_waiting.set()
        return await follow(run_id, **options)

    monkeypatch.setattr(tasks_runs, "follow", waiting)

    def work() -> None:
        assert is_waiting.wait(20)
        say(claim, "One")

    thread = meanwhile(work)
    data = log(alice_api, task_id, "?from=2&wait=25")
    thread.join()
    assert [event["data"]["content"] for event in data["events"]] == ["One"]
    assert data["next_offset"] == 3


def test_it_waits_no_longer_than_asked(alice_api: APIClient) -> None:
    task_id = begin(alice_api)
    data = log(alice_api, task_id, "?from=2&wait=0.05")
    assert (data["events"], data["next_offset"], data["status"]) == ([], 2, "pending")


def test_it_waits_for_nothing_behind_the_end(alice_api: APIClient, task: str) -> None:
    assert log(alice_api, task, "?from=5&wait=25")["status"] == "succeeded"


# --- Streaming -----------------------------------------------------------------------------------


def streamed(key: str, task_id: str, query: str = "", **headers: str) -> tuple[int, list[Any]]:
    """The status, and the events of the whole stream with their ids."""

    async def read() -> tuple[int, bytes]:
        sent = {"Authorization": f"Bearer {key}", **headers}
        # The types of Django know of no streams here.
        path = f"{PATH}/{task_id}/events{query}"
        response: Any = await AsyncClient().get(path, headers=sent)
        if response.status_code != 200:
            return response.status_code, b""
        assert response["Content-Type"].startswith("text/event-stream")
        pieces = [piece async for piece in response.streaming_content]
        return response.status_code, b"".join(pieces)

    status, raw = async_to_sync(read)()
    events = []
    for block in filter(None, raw.decode().split("\n\n")):
        if block.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((int(fields["id"]), json.loads(fields["data"])))
    return status, events


@pytest.mark.parametrize(
    ("query", "headers", "indices"),
    [
        ("", {}, [0, 1, 2, 3, 4]),
        ("?from=3", {}, [3, 4]),
        ("", {"Last-Event-ID": "1"}, [2, 3, 4]),
        ("?from=0", {"Last-Event-ID": "3"}, [4]),
    ],
)
def test_the_same_log_is_streamed(
    alice_api: APIClient,
    alice_key: str,
    task: str,
    query: str,
    headers: dict[str, str],
    indices: list[int],
) -> None:
    status, events = streamed(alice_key, task, query, **headers)
    assert (status, [number for number, _event in events]) == (200, indices)
    polled = log(alice_api, task)["events"]
    assert [event for _number, event in events] == [polled[at] for at in indices]


def test_a_stream_goes_on_until_the_task_ends(alice_api: APIClient, alice_key: str) -> None:
    task_id = begin(alice_api)
    claim = claimed(task_id)

    def work() -> None:
        say(claim, "One")
        say(claim, "Two")
        end(claim)

    thread = meanwhile(work)
    _status, events = streamed(alice_key, task_id)
    thread.join()
    assert [number for number, _event in events] == [0, 1, 2, 3, 4]
    assert events[-1][1]["type"] == "task_complete"


def test_behind_the_end_there_is_no_content(alice_key: str, task: str) -> None:
    """A browser that connects again after the last event is told to stop."""
    assert streamed(alice_key, task, **{"Last-Event-ID": "4"}) == (204, [])
    assert streamed(alice_key, task, **{"Last-Event-ID": "3"})[0] == 200
    assert streamed(alice_key, task, **{"Last-Event-ID": "x"})[0] == 400


def test_a_stream_ends_where_its_reader_may_not_read_on(
    alice_api: APIClient, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_runs, "STREAM_WAIT_S", 0.02)
    monkeypatch.setattr(tasks_runs, "STREAM_CHECK_S", 0)
    task_id, key = begin(alice_api), make_key(alice)

    async def read() -> list[bytes]:
        sent = {"Authorization": f"Bearer {key}"}
        response: Any = await AsyncClient().get(f"{PATH}/{task_id}/events", headers=sent)
        assert response.status_code == 200
        await in_db(ApiKey.objects.filter(digest=hash_key(key)).delete)
        return [piece async for piece in response.streaming_content]

    raw = b"".join(async_to_sync(read)())
    assert raw.count(b"\nid: ") + raw.startswith(b"id: ") <= 2
    assert log(alice_api, task_id)["status"] == "pending"


# --- Listing -------------------------------------------------------------------------------------


def test_it_lists_the_callers_tasks(alice_api: APIClient, bob_api: APIClient, task: str) -> None:
    body = ok(alice_api.get(PATH))
    assert body["total"] == 1
    (listed,) = body["data"]
    assert (listed["task_id"], listed["status"], listed["message"]) == (task, "succeeded", "Hello")
    assert ok(bob_api.get(PATH)) == {"success": True, "data": [], "total": 0}


# --- Cancelling ----------------------------------------------------------------------------------


def test_a_task_that_waits_is_stopped_at_once(alice_api: APIClient) -> None:
    task_id = begin(alice_api)
    ok(alice_api.post(f"{PATH}/{task_id}/cancel"))
    data = log(alice_api, task_id)
    assert data["status"] == "canceled"
    last = data["events"][-1]
    assert (last["type"], last["data"]["reason"]) == ("task_stopped", "user_requested")
    ok(alice_api.post("/api/v1/messages", {"message": "Next"}), 202)


def test_a_task_that_runs_is_asked_to_stop(alice_api: APIClient) -> None:
    task_id = begin(alice_api)
    claim = claimed(task_id)
    ok(alice_api.generic("POST", f"{PATH}/{task_id}/cancel"))
    assert log(alice_api, task_id)["status"] == "cancel_requested"
    assert refused(alice_api.post("/api/v1/messages", {"message": "Next"}), 409)
    appended = store.append(claim, [])
    assert appended is not None
    assert appended.is_cancel_requested


def test_cancelling_what_is_over_changes_nothing(alice_api: APIClient, task: str) -> None:
    before = log(alice_api, task)
    assert ok(alice_api.post(f"{PATH}/{task}/cancel"))["status"] == "succeeded"
    assert log(alice_api, task) == before


def test_a_task_that_goes_with_its_conversation_meanwhile_is_not_found(
    alice_api: APIClient, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok(alice_api.post(f"{PATH}/{task}/cancel"))
    stop = store.request_cancel

    def stop_and_delete(run: Run) -> None:
        stop(run)
        delete_conversation(run.conversation)

    monkeypatch.setattr(store, "request_cancel", stop_and_delete)
    refused(alice_api.post(f"{PATH}/{task}/cancel"), 404)


# --- Isolation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "suffix"),
    [("get", ""), ("get", "?from=0&wait=1"), ("get", "/events"), ("post", "/cancel")],
)
def test_a_foreign_task_is_answered_like_an_unknown_one(
    alice_api: APIClient, bob_api: APIClient, verb: str, suffix: str
) -> None:
    task_id = begin(alice_api)
    answers = [
        refused(getattr(bob_api, verb)(f"{PATH}/{each}{suffix}"), 404)
        for each in (task_id, UNKNOWN, "1", "x" * 200, "%2e%2e")
    ]
    assert set(answers) == {"Task not found."}
    if suffix != "/events":
        ok(getattr(alice_api, verb)(f"{PATH}/{task_id}{suffix}"))


def test_operators_read_and_stop_any(
    alice_api: APIClient, carol_api: APIClient, alice: User
) -> None:
    task_id = begin(alice_api)
    assert log(carol_api, task_id)["status"] == "pending"
    ok(carol_api.post(f"{PATH}/{task_id}/cancel"))
    assert log(alice_api, task_id)["status"] == "canceled"


def test_polls_do_not_use_up_what_other_requests_may(alice: User) -> None:
    api = client_with(make_key(alice, requests_per_minute=3))
    task_id = begin(api)
    for _poll in range(10):
        log(api, task_id)
    ok(api.post(f"{PATH}/{task_id}/cancel"))
