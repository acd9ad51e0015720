"""From the message to the last event, with the worker's loop in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from accounts.principals import principal_for_user
from assistants.task_agent import create_task_agent
from conversations.background.actions import save_personalization, save_prompt
from conversations.files.folder import UserFolder
from conversations.runs.host import Host
from providers.fakes import FakeUpstream, Step
from tests.conversations.background.conftest import make_llm, ok
from tests.conversations.background.test_messages import SAMPLE
from tooling.catalogue import sync_builtin_tools

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def host(settings: Settings, tmp_path: Any) -> Iterator[Host]:
    """A worker that is up, and gone with the test."""
    settings.USER_FILES_DIR = tmp_path
    host = Host(capacity=4)
    host.start()
    yield host
    host.stop()
    assert host.join(20)


@pytest.fixture
def vendor(upstream: FakeUpstream) -> FakeUpstream:
    sync_builtin_tools()
    create_task_agent()
    make_llm(base_url=upstream.base_url, supports_thinking=True)
    return upstream


def carried_out(host: Host, api: APIClient, **body: Any) -> dict[str, Any]:
    """The task, as a client sees it who polls until its end, and all of its events."""
    task = ok(api.post("/api/v1/messages", {"message": "Go", **body}), 202)
    host.wake()
    return followed(api, task)


def followed(api: APIClient, task: dict[str, Any]) -> dict[str, Any]:
    events: list[dict[str, Any]] = []
    until = time.monotonic() + 60
    while time.monotonic() < until:
        path = f"/api/v1/tasks/{task['task_id']}?from={len(events)}&wait=5"
        data: dict[str, Any] = ok(api.get(path))["data"]
        events += data["events"]
        assert data["next_offset"] == len(events)
        if data["status"] not in ("pending", "running", "cancel_requested"):
            assert [event["idx"] for event in events] == list(range(len(events)))
            return {**data, "events": events}
    raise AssertionError(f"not over: {events}")


def types_of(task: dict[str, Any]) -> list[str]:
    return [event["type"] for event in task["events"]]


def quiet(user: User) -> str:
    """A personalization with which the model is asked for nothing but the answer."""
    save_personalization(principal_for_user(user), "quiet", {"auto_generate_title": False})
    return "quiet"


def test_a_message_is_answered(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    vendor.script("chat", Step(text="Four.", usage={"prompt_tokens": 12, "completion_tokens": 3}))
    task = carried_out(host, alice_api, message="2+2?", personalization_name=quiet(alice))
    assert (task["status"], task["error"]) == ("succeeded", None)
    kinds = types_of(task)
    assert kinds[:2] == ["user_message", "conversation_resolved"]
    assert kinds[-1] == "task_complete"
    assert sum(kind in ("task_complete", "task_stopped", "error") for kind in kinds) == 1
    chunks = [e["data"]["content"] for e in task["events"] if e["type"] == "text_chunk"]
    (ended,) = (e["data"]["full_content"] for e in task["events"] if e["type"] == "text_end")
    assert "".join(chunks) == ended == "Four."

    shown = ok(alice_api.get(f"/api/v1/conversations/{task['conversation_id']}?full=1"))["data"]
    assert [(each["role"], each["content"]) for each in shown["messages"]] == [
        ("user", "2+2?"),
        ("assistant", "Four."),
    ]
    assert shown["metadata"]["status"] == "active"
    assert shown["token_statistics"]["total_output_tokens"] > 0
    assert shown["title"] == "2+2?"


def test_the_published_programs_run(host: Host, vendor: FakeUpstream, alice_key: str) -> None:
    """The documents' curl commands, one after the other."""
    curl = APIClient(HTTP_AUTHORIZATION=f"Bearer {alice_key}", HTTP_ACCEPT="*/*")
    begun = ok(curl.generic("POST", "/api/v1/conversations"))["conversation_id"]
    body = SAMPLE % begun
    sent = curl.generic("POST", "/api/v1/messages", body, content_type="application/json")
    task = ok(sent, 202)
    host.wake()
    assert followed(curl, task)["status"] == "succeeded"
    ok(curl.generic("POST", f"/api/v1/tasks/{task['task_id']}/cancel"))
    assert followed(curl, task)["status"] == "succeeded"


def test_the_agent_uses_its_tools_and_its_users_files(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    write = {"name": "write_file", "arguments": {"path": "out/sum.txt", "content": "42"}}
    plan = {"items": [{"text": "Add", "status": "done"}]}
    vendor.script(
        "chat",
        Step(tool_calls=[{"name": "calculator", "arguments": {"expression": "40+2"}}]),
        Step(tool_calls=[write, {"name": "update_todo", "arguments": plan}]),
        Step(text="It is in out/sum.txt."),
    )
    task = carried_out(host, alice_api, personalization_name=quiet(alice))
    assert task["status"] == "succeeded"
    kinds = types_of(task)
    for kind in ("tool_start", "update_action", "modify_payload", "todo_updated", "token_update"):
        assert kind in kinds
    with UserFolder.of(alice.pk).open_read("out/sum.txt").file as file:
        assert file.read() == b"42"
    shown = ok(alice_api.get(f"/api/v1/conversations/{task['conversation_id']}"))["data"]
    assert shown["todo_list"] == plan["items"]
    assert shown["metadata"]["total_tools"] == 3


@pytest.mark.parametrize("is_wanted", [True, False])
def test_it_says_what_its_calls_are_for(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User, is_wanted: bool
) -> None:
    content = {"auto_generate_title": False, "tool_intent_enabled": is_wanted}
    save_personalization(principal_for_user(alice), "me", content)
    arguments = {"expression": "40+2"} | ({"intent": "Add them"} if is_wanted else {})
    vendor.script(
        "chat", Step(tool_calls=[{"name": "calculator", "arguments": arguments}]), Step(text="42")
    )
    task = carried_out(host, alice_api, personalization_name="me")
    assert task["status"] == "succeeded"
    told = [e["data"]["intent"] for e in task["events"] if e["type"] == "tool_intent"]
    assert told == (["Add them"] if is_wanted else [])
    (started,) = (e["data"] for e in task["events"] if e["type"] == "tool_start")
    assert started["arguments"] == {"expression": "40+2"}
    offered = vendor.stats.last("chat")[-1]["body"]["tools"]
    asked = ["intent" in each["function"]["parameters"]["properties"] for each in offered]
    assert set(asked) == {is_wanted}


@pytest.mark.parametrize(("mode", "thinks"), [("fast", False), ("deep", True)])
def test_run_modes_reach_the_events(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User, mode: str, thinks: bool
) -> None:
    vendor.set_behaviour(type(vendor.behaviour)(thinking="Let me see."))
    task = carried_out(host, alice_api, run_mode=mode, personalization_name=quiet(alice))
    assert task["status"] == "succeeded"
    assert any(kind.startswith("thinking_") for kind in types_of(task)) is thinks


def test_guidance_reaches_the_model(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    principal = principal_for_user(alice)
    save_prompt(principal, "short", "Be short.")
    save_personalization(
        principal,
        "me",
        {
            "tone": "诗意",
            "auto_generate_title": False,
            "disabled_tool_categories": ["code", "files", "todo"],
        },
    )
    carried_out(host, alice_api, prompt_name="short", personalization_name="me")
    (request,) = vendor.stats.last("chat")
    system = request["body"]["messages"][0]["content"]
    assert system.index("background") < system.index("Be short.") < system.index("诗意")
    offered = {tool["function"]["name"] for tool in request["body"]["tools"]}
    assert offered == {"calculator", "current_time", "weather", "translate"}


def test_a_title_is_found_meanwhile(host: Host, vendor: FakeUpstream, alice_api: APIClient) -> None:
    task = carried_out(host, alice_api, message="Tell me about stars")
    (changed,) = (e for e in task["events"] if e["type"] == "conversation_changed")
    title = changed["data"]["title"]
    assert title
    listed = ok(alice_api.get("/api/v1/conversations"))["data"]
    assert [each["title"] for each in listed] == [title]


def test_a_model_that_is_down_ends_the_task_with_a_reason(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    refusal = Step(status=401, body={"error": {"message": "no"}})
    vendor.script("chat", *[refusal] * 9)
    task = carried_out(host, alice_api, personalization_name=quiet(alice))
    assert task["status"] == "failed"
    assert task["error"]
    assert types_of(task)[-1] == "error"
    vendor.reset()
    again = carried_out(host, alice_api, conversation_id=task["conversation_id"])
    assert again["status"] == "succeeded"


def test_a_task_is_stopped_between_two_words(
    host: Host, vendor: FakeUpstream, alice_api: APIClient, alice: User
) -> None:
    vendor.script("chat", Step(text="word " * 50, hang_after=5))
    name = quiet(alice)
    task = ok(
        alice_api.post("/api/v1/messages", {"message": "Go", "personalization_name": name}), 202
    )
    host.wake()
    path = f"/api/v1/tasks/{task['task_id']}"
    seen: list[str] = []
    while "text_chunk" not in seen:
        seen += _more(alice_api, path, len(seen))
    ok(alice_api.post(f"{path}/cancel"))
    ended = followed(alice_api, task)
    assert ended["status"] == "canceled"
    assert types_of(ended)[-1] == "task_stopped"
    assert vendor.stats.wait_until(lambda stats: stats.of("chat").cancelled == 1)
    shown = ok(alice_api.get(f"/api/v1/conversations/{task['conversation_id']}?full=1"))["data"]
    said = shown["messages"][-1]
    assert (said["role"], said["is_interrupted"]) == ("assistant", True)
    assert said["content"].startswith("word")


def _more(api: APIClient, path: str, first: int) -> list[str]:
    """The types of the events that follow."""
    events = ok(api.get(f"{path}?from={first}&wait=10"))["data"]["events"]
    assert events
    return [event["type"] for event in events]
