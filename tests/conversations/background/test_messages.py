"""`/messages`: what is taken, what is refused, and how a message is answered."""

from __future__ import annotations

import json
import struct
import threading
import time
import zlib
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from accounts.principals import principal_for_user
from assistants.models import Assistant
from conversations.background.actions import save_personalization, save_prompt
from conversations.files.folder import UserFolder
from conversations.models import Conversation, Message, Run, RunEvent
from providers.models import Llm
from tests.conftest import client_with
from tests.conversations.background.conftest import make_llm, ok, refused

PATH = "/api/v1/messages"

pytestmark = pytest.mark.django_db


def send(api: APIClient, message: str = "Hello", **body: Any) -> dict[str, Any]:
    return ok(api.post(PATH, {"message": message, **body}), 202)


def asked(body: dict[str, Any]) -> dict[str, Any]:
    """What the run of an answer to `send` was asked; the task is then over."""
    run = Run.objects.get(pk=body["task_id"])
    Run.objects.filter(pk=run.pk).update(status="succeeded")
    return dict(run.request)


def png() -> bytes:
    """The smallest picture: one grey dot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0\x80"))
        + chunk(b"IEND", b"")
    )


# --- What is taken -------------------------------------------------------------------------------


def test_it_begins_a_task_and_a_conversation(alice_api: APIClient, alice: User, llm: Llm) -> None:
    body = send(alice_api, "Say hello")
    assert set(body) == {"success", "task_id", "conversation_id", "status", "created_at"}
    assert body["status"] == "running"
    assert isinstance(body["created_at"], float)
    run = Run.objects.get(pk=body["task_id"])
    assert (run.owner, run.status, run.conversation_id) == (
        alice,
        "pending",
        body["conversation_id"],
    )
    assert [(each.role, each.text) for each in Message.objects.all()] == [("user", "Say hello")]
    events = list(RunEvent.objects.order_by("seq").values_list("seq", "type", "data"))
    assert events == [
        (0, "user_message", {"message": "Say hello"}),
        (1, "conversation_resolved", {"conversation_id": body["conversation_id"], "title": ""}),
    ]
    assert asked(body) == {
        "message": "Say hello",
        "images": [],
        "run_mode": "fast",
        "llm_id": llm.pk,
        "max_iterations": 100,
        "prompt": "",
        "personalization": None,
        "language": "en",
    }


def test_it_goes_on_with_a_conversation(alice_api: APIClient, llm: Llm) -> None:
    first = send(alice_api, "One")
    asked(first)
    second = send(alice_api, "Two", conversation_id=first["conversation_id"])
    assert second["conversation_id"] == first["conversation_id"]
    assert [each.turn for each in Message.objects.order_by("seq")] == [1, 2]


# The sample of the published documents, as it stands there.
SAMPLE = """{
"conversation_id": "%s",
"message": "请用中文简要介绍《明日方舟:终末地》",
"run_mode": "fast", # 可选fast / thinking / deep
"model_key": null,
"max_iterations": 100 # 默认 100示例显式填写便于对齐
}"""


def test_it_reads_the_published_samples(alice_key: str, llm: Llm) -> None:
    """curl with the documents' own bodies: none, and one with comments in its JSON."""
    curl = APIClient(HTTP_AUTHORIZATION=f"Bearer {alice_key}", HTTP_ACCEPT="*/*")
    begun = ok(curl.generic("POST", "/api/v1/conversations"))["conversation_id"]
    sent = curl.generic("POST", PATH, SAMPLE % begun, content_type="application/json")
    body = ok(sent, 202)
    assert body["conversation_id"] == begun
    request = asked(body)
    assert request["message"] == "请用中文简要介绍《明日方舟:终末地》"
    assert (request["run_mode"], request["max_iterations"]) == ("fast", 100)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ('{"message": "a # b"} # "c"', "a # b"),
        ('# before\n{"message": "say \\"#1\\" # loud"}', 'say "#1" # loud'),
        ('{"message": "C:\\\\" # a path\n}', "C:\\"),
        ('{"message": "plain"}', "plain"),
    ],
)
def test_comments_end_at_strings(alice_api: APIClient, llm: Llm, raw: str, message: str) -> None:
    body = ok(alice_api.generic("POST", PATH, raw, content_type="application/json"), 202)
    assert asked(body)["message"] == message


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_json_is_read_whatever_it_is_called(
    alice_api: APIClient, llm: Llm, content_type: str
) -> None:
    ok(alice_api.generic("POST", PATH, '{"message": "Hi"}', content_type=content_type), 202)


@pytest.mark.parametrize("raw", ["{", "message=Hi", "[]", '"Hi"', "null", "# nothing", "\xff"])
def test_what_is_no_json_object_is_refused(alice_api: APIClient, llm: Llm, raw: str) -> None:
    for path in (PATH, "/api/v1/conversations", "/api/v1/prompts", "/api/v1/personalizations"):
        sent: Any = raw.encode("latin-1")
        response = alice_api.generic("POST", path, sent, content_type="application/json")
        assert refused(response, 400) == "The request body must be a JSON object."
    send(alice_api)


@pytest.mark.parametrize("text", ["a\\u0000b", "a\\ud800b"])
def test_characters_that_cannot_be_stored_are_refused_by_field(
    alice_api: APIClient, llm: Llm, text: str
) -> None:
    for path, body, field in (
        (PATH, '{"message": "%s"}', "message"),
        (PATH, '{"message": "Hi", "images": ["%s"]} # sent', "images.0"),
        ("/api/v1/conversations", '{"%s": 1, "prompt_name": "a"}', ""),
        ("/api/v1/prompts", '{"name": "a", "content": "%s"}', "content"),
        ("/api/v1/personalizations", '{"name": "a", "content": {"tone": "%s"}}', "content.tone"),
    ):
        response = alice_api.generic("POST", path, body % text, content_type="application/json")
        start = f"{field}: The text" if field else "The text"
        assert refused(response, 400).startswith(f"{start} contains characters")
    send(alice_api, message="a \U0001f600")


def test_no_body_makes_its_reader_try_again_and_again(alice_api: APIClient, llm: Llm) -> None:
    # A string without an end, in which each quote might be the beginning of another.
    raw = '{"message": "' + '\\"' * 500_000
    started = time.monotonic()
    refused(alice_api.generic("POST", PATH, raw, content_type="application/json"), 400)
    assert time.monotonic() - started < 5
    ok(alice_api.generic("POST", PATH, '{"message": "\\"\\""}', content_type="text/plain"), 202)


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [{}, {"message": ""}, {"message": " \n"}, {"message": None}, {"images": []}]
)
def test_an_empty_message_is_refused(alice_api: APIClient, llm: Llm, body: dict[str, Any]) -> None:
    assert refused(alice_api.post(PATH, body), 400) == "The message must not be empty."
    assert not Conversation.objects.exists()
    send(alice_api)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run_mode", "slow"),
        ("run_mode", 1),
        ("max_iterations", 0),
        ("max_iterations", 1001),
        ("max_iterations", -1),
        ("max_iterations", "many"),
        ("thinking_mode", "perhaps"),
        ("images", "a.png"),
        ("images", [{}]),
        ("images", ["a.png"] * 11),
        ("message", {"text": "Hi"}),
        ("message", "x" * 100_001),
        ("conversation_id", "conv_20260101_000000_000"),
        ("conversation_id", "x" * 65),
        ("model_key", "no-such-model"),
        ("assistant_id", "000000000000"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    alice_api: APIClient, llm: Llm, field: str, value: Any
) -> None:
    message = refused(alice_api.post(PATH, {"message": "Hi", field: value}), 400)
    assert field in message
    assert not Run.objects.exists()
    send(alice_api)


def test_it_says_which_run_modes_there_are(alice_api: APIClient, llm: Llm) -> None:
    message = refused(alice_api.post(PATH, {"message": "Hi", "run_mode": "slow"}), 400)
    assert message == "run_mode supports fast, thinking and deep only."
    send(alice_api, run_mode="deep")


@pytest.mark.parametrize("field", ["prompt_name", "personalization_name"])
def test_guidance_that_is_not_there_is_not_found(
    alice_api: APIClient, alice: User, bob: User, llm: Llm, field: str
) -> None:
    save_prompt(principal_for_user(bob), "his", "")
    save_personalization(principal_for_user(bob), "his", {})
    refused(alice_api.post(PATH, {"message": "Hi", field: "his"}), 404)
    assert not Conversation.objects.exists()
    save_prompt(principal_for_user(alice), "his", "")
    save_personalization(principal_for_user(alice), "his", {})
    send(alice_api, **{field: "his"})


def test_foreign_things_are_answered_like_unknown_ones(
    alice_api: APIClient, bob_api: APIClient, bob: User, alice: User, llm: Llm
) -> None:
    begun = ok(bob_api.post("/api/v1/conversations", {}))["conversation_id"]
    his_model = make_llm("His", owner=bob)
    his_agent = Assistant.objects.create(name="His", owner=bob)
    for field, foreign, unknown in (
        ("conversation_id", begun, "conv_20260101_000000_000"),
        ("model_key", his_model.pk, "000000000000"),
        ("model_key", "His", "Nobodys"),
        ("assistant_id", his_agent.pk, "000000000000"),
    ):
        answers = [
            refused(alice_api.post(PATH, {"message": "Hi", field: value}), 400)
            for value in (foreign, unknown)
        ]
        assert answers[0] == answers[1]
        assert field in answers[0]
    send(bob_api, conversation_id=begun, model_key="His", assistant_id=his_agent.pk)


def test_operators_go_on_with_nobody_elses_conversation(
    alice_api: APIClient, carol_api: APIClient, llm: Llm
) -> None:
    begun = ok(alice_api.post("/api/v1/conversations", {}))["conversation_id"]
    refused(carol_api.post(PATH, {"message": "Hi", "conversation_id": begun}), 400)
    send(alice_api, conversation_id=begun)


def test_without_a_model_the_system_is_not_set_up(alice_api: APIClient) -> None:
    refused(alice_api.post(PATH, {"message": "Hi"}), 503)
    assert not Conversation.objects.exists()
    make_llm()
    send(alice_api)


def test_a_disabled_model_is_refused(alice_api: APIClient, llm: Llm) -> None:
    off = make_llm("Off", is_enabled=False)
    assert "model_key" in refused(alice_api.post(PATH, {"message": "Hi", "model_key": off.pk}), 400)
    assert asked(send(alice_api, model_key=llm.pk))["llm_id"] == llm.pk


def test_a_second_task_is_refused_and_leaves_nothing(alice_api: APIClient, llm: Llm) -> None:
    first = send(alice_api)
    response = alice_api.post(PATH, {"message": "Again"})
    message = refused(response, 409)
    assert message.startswith("A task is already running. Please try again later.")
    assert first["task_id"] in message
    assert response.json()["task_id"] == first["task_id"]
    assert (Conversation.objects.count(), Message.objects.count()) == (1, 1)
    asked(first)
    send(alice_api)


def test_each_user_has_a_task_of_their_own(
    alice_api: APIClient, bob_api: APIClient, llm: Llm
) -> None:
    send(alice_api)
    send(bob_api)


# --- How it is answered --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept", "liked", "mode"),
    [
        ({}, None, None, "fast"),
        ({}, None, "deep", "deep"),
        ({}, "thinking", "deep", "thinking"),
        ({"run_mode": "fast"}, "thinking", "deep", "fast"),
        ({"run_mode": None}, "thinking", "deep", "thinking"),
        ({"run_mode": ""}, None, "deep", "deep"),
        ({"thinking_mode": True}, None, None, "thinking"),
        ({"thinking_mode": False}, "deep", "deep", "fast"),
        ({"thinking_mode": True, "run_mode": "deep"}, None, None, "deep"),
    ],
)
def test_a_message_says_how_then_its_conversation_then_its_user(
    alice_api: APIClient,
    alice: User,
    llm: Llm,
    sent: dict[str, Any],
    kept: str | None,
    liked: str | None,
    mode: str,
) -> None:
    save_personalization(principal_for_user(alice), "me", {"default_run_mode": liked})
    begun = ok(alice_api.post("/api/v1/conversations", {"personalization_name": "me"}))
    if kept:
        asked(send(alice_api, conversation_id=begun["conversation_id"], run_mode=kept))
    body = send(alice_api, conversation_id=begun["conversation_id"], **sent)
    assert asked(body)["run_mode"] == mode


def test_a_conversation_keeps_what_a_message_chose(
    alice_api: APIClient, alice: User, llm: Llm
) -> None:
    principal = principal_for_user(alice)
    save_prompt(principal, "short", "Be short.")
    save_personalization(principal, "me", {"tone": "幽默"})
    second = make_llm("Second", aliases=["gpt-4"])
    first = send(
        alice_api,
        model_key="gpt-4",
        run_mode="deep",
        prompt_name="short",
        personalization_name="me",
    )
    for body in (first, None):
        body = body or send(alice_api, conversation_id=first["conversation_id"])
        request = asked(body)
        assert (request["llm_id"], request["run_mode"]) == (second.pk, "deep")
        assert request["prompt"] == "Be short."
        assert request["personalization"]["tone"] == "幽默"
        assert request["max_iterations"] == 200


def test_what_a_conversation_keeps_and_is_gone_is_passed_over_with_a_note(
    alice_api: APIClient, alice: User, llm: Llm
) -> None:
    principal = principal_for_user(alice)
    prompt = save_prompt(principal, "short", "Be short.")
    personalization = save_personalization(principal, "me", {})
    second = make_llm("Second")
    key = second.pk
    first = send(alice_api, model_key="Second", prompt_name="short", personalization_name="me")
    asked(first)
    for row in (prompt, personalization, second):
        row.delete()
    body = send(alice_api, conversation_id=first["conversation_id"])
    notes = RunEvent.objects.filter(run_id=body["task_id"], type="system_message")
    told = [note.data["content"] for note in notes.order_by("seq")]
    assert ["short" in told[0], "me" in told[1], key in told[2]] == [True] * 3
    request = asked(body)
    assert (request["llm_id"], request["prompt"], request["personalization"]) == (llm.pk, "", None)


def test_an_assistant_that_is_gone_is_stood_in_for_with_a_note(
    alice_api: APIClient, alice: User, llm: Llm
) -> None:
    ada = Assistant.objects.create(name="Ada", owner=alice)
    first = send(alice_api, assistant_id=ada.pk)
    asked(first)
    key = ada.pk
    ada.delete()
    body = send(alice_api, conversation_id=first["conversation_id"])
    (note,) = RunEvent.objects.filter(run_id=body["task_id"], type="system_message")
    assert "Ada" in note.data["content"]
    row = Conversation.objects.get(pk=first["conversation_id"])
    assert (row.assistant_key, row.assistant_name) == (key, "Ada")


def test_a_conversation_without_words_can_still_get_an_assistant(
    alice_api: APIClient, alice: User, llm: Llm
) -> None:
    begun = ok(alice_api.post("/api/v1/conversations", {}))["conversation_id"]
    ada = Assistant.objects.create(name="Ada", owner=alice)
    body = send(alice_api, conversation_id=begun, assistant_id=ada.pk)
    row = Conversation.objects.get(pk=begun)
    assert (row.assistant_id, row.assistant_name) == (ada.pk, "Ada")
    assert not RunEvent.objects.filter(run_id=body["task_id"], type="system_message").exists()


def test_a_dialog_is_no_conversation_of_tasks(alice_api: APIClient, alice: User, llm: Llm) -> None:
    chat = Conversation.objects.create(owner=alice, channel="chat")
    refused(alice_api.post(PATH, {"message": "Hi", "conversation_id": chat.pk}), 400)
    Conversation.objects.filter(pk=chat.pk).update(channel="task")
    send(alice_api, conversation_id=chat.pk)


@pytest.mark.parametrize("by", ["pk", "name", "alias"])
def test_a_model_is_asked_for_by_id_name_or_alias(alice_api: APIClient, llm: Llm, by: str) -> None:
    second = make_llm("Second", aliases=["other"])
    key = {"pk": second.pk, "name": "Second", "alias": "other"}[by]
    assert asked(send(alice_api, model_key=key))["llm_id"] == second.pk


def test_the_agents_own_model_goes_before_the_default(
    alice_api: APIClient, alice: User, llm: Llm
) -> None:
    second = make_llm("Second")
    ada = Assistant.objects.create(name="Ada", owner=alice, llm=second)
    first = send(alice_api, assistant_id=ada.pk)
    assert asked(first)["llm_id"] == second.pk
    resumed = send(alice_api, conversation_id=first["conversation_id"])
    assert asked(resumed)["llm_id"] == second.pk
    other = Assistant.objects.create(name="Other", owner=alice)
    body = {"message": "Hi", "conversation_id": first["conversation_id"]}
    assert "assistant_id" in refused(alice_api.post(PATH, {**body, "assistant_id": other.pk}), 400)
    send(alice_api, conversation_id=first["conversation_id"], assistant_id=ada.pk)


def test_an_agent_with_another_brain_needs_no_model(alice_api: APIClient, alice: User) -> None:
    ada = Assistant.objects.create(
        name="Ada", owner=alice, config_mode="dify", api_url="http://127.0.0.1:9/v1"
    )
    assert asked(send(alice_api, assistant_id=ada.pk))["llm_id"] is None


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        ({}, 100),
        ({"run_mode": "deep"}, 200),
        ({"run_mode": "deep", "max_iterations": 100}, 100),
        ({"run_mode": "deep", "max_iterations": 1}, 1),
        ({"max_iterations": 1000}, 1000),
        ({"max_iterations": None}, 100),
    ],
)
def test_a_deep_answer_has_more_calls_of_the_model_unless_asked(
    alice_api: APIClient, llm: Llm, sent: dict[str, Any], count: int
) -> None:
    assert asked(send(alice_api, **sent))["max_iterations"] == count


def test_a_title_is_the_beginning_where_no_model_is_to_write_it(
    alice_api: APIClient, alice: User, llm: Llm
) -> None:
    save_personalization(principal_for_user(alice), "me", {"auto_generate_title": False})
    body = send(alice_api, "Count the\nstars " * 20, personalization_name="me")
    title = Conversation.objects.get(pk=body["conversation_id"]).title
    assert title.startswith("Count the stars Count")
    assert len(title) <= 60
    event = RunEvent.objects.get(run_id=body["task_id"], type="conversation_resolved")
    assert event.data["title"] == title


# --- Images --------------------------------------------------------------------------------------


@pytest.fixture
def picture(settings: Settings, tmp_path: Any, alice: User) -> str:
    settings.USER_FILES_DIR = tmp_path
    UserFolder.of(alice.pk).save("in/dot.png", [png()])
    return "in/dot.png"


def test_images_go_along_with_a_message(alice_api: APIClient, picture: str) -> None:
    make_llm(accepts_images=True)
    body = ok(alice_api.post(PATH, {"images": [picture, picture]}), 202)
    first = RunEvent.objects.get(run_id=body["task_id"], seq=0)
    assert first.data == {"message": "", "images": [picture]}
    (attachment,) = Message.objects.get().attachments
    assert (attachment["kind"], attachment["media_type"]) == ("image", "image/png")
    shown = ok(alice_api.get(f"/api/v1/conversations/{body['conversation_id']}?full=1"))
    assert shown["data"]["messages"][0]["images"] == [picture]


def test_a_model_that_sees_nothing_is_sent_no_images(
    alice_api: APIClient, picture: str, llm: Llm
) -> None:
    assert "images" in refused(alice_api.post(PATH, {"message": "Hi", "images": [picture]}), 400)
    # What is not the user's own is not looked at with the model's eyes.
    foreign = refused(alice_api.post(PATH, {"images": ["../../etc/passwd"]}), 400)
    assert "images" in foreign
    assert "sees no" not in foreign
    Llm.objects.update(accepts_images=True)
    send(alice_api, images=[picture])


@pytest.mark.parametrize("path", ["in/none.png", "../dot.png", "/etc/passwd", "in", "in/text.txt"])
def test_what_is_no_image_of_the_users_own_is_refused(
    alice_api: APIClient, alice: User, picture: str, path: str
) -> None:
    make_llm(accepts_images=True)
    UserFolder.of(alice.pk).save("in/text.txt", [b"no picture"])
    assert "images" in refused(alice_api.post(PATH, {"message": "Hi", "images": [path]}), 400)
    send(alice_api, images=[picture])


# --- At once -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_fifty_at_once_one_is_taken(alice_key: str) -> None:
    make_llm()
    together, answers = threading.Barrier(50), []

    def post() -> None:
        client = client_with(alice_key)
        together.wait()
        try:
            response = client.post(PATH, {"message": "Hello"})
            answers.append((response.status_code, json.loads(response.content)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=post) for _each in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _body in answers) == [202] + [409] * 49
    (run,) = Run.objects.all()
    assert Conversation.objects.count() == 1
    assert {body["task_id"] for _status, body in answers} == {str(run.pk)}
