"""What a task runs with: agent, model, thinking, instructions, history, files."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from accounts.principals import principal_for_user
from assistants.models import Assistant
from assistants.task_agent import TASK_AGENT_ID, create_task_agent
from conversations import journal
from conversations.background.actions import save_personalization, save_prompt
from conversations.background.setup import TaskSetup, prepare
from conversations.files.folder import UserFolder
from conversations.models import Conversation, Run
from conversations.runs import store
from conversations.types import MessageEntry
from knowledge.models import KnowledgeBase
from providers.models import Llm
from tests.conversations.background.conftest import make_llm, ok
from tests.conversations.background.test_messages import png
from tooling.catalogue import sync_builtin_tools

pytestmark = pytest.mark.django_db


def begin(api: APIClient, message: str = "Hello", **body: Any) -> store.Claim:
    """A task that a worker has claimed."""
    answer = ok(api.post("/api/v1/messages", {"message": message, **body}), 202)
    claim = store.claim(uuid.UUID(answer["task_id"]), worker="tests")
    assert claim is not None
    return claim


def prepared(api: APIClient, message: str = "Hello", **body: Any) -> TaskSetup:
    return prepare(begin(api, message, **body))


def model_of(setup: TaskSetup) -> str:
    assert setup.runtime.llm is not None
    return setup.runtime.llm.name


@pytest.fixture
def agent(db: None) -> Assistant:
    sync_builtin_tools()
    return create_task_agent()


# --- Agent and model -----------------------------------------------------------------------------


def test_the_agent_of_all_users_works_for_those_who_name_none(
    alice_api: APIClient, alice: User, agent: Assistant, llm: Llm
) -> None:
    setup = prepared(alice_api)
    assert (setup.runtime.id, setup.runtime.caller_id) == (TASK_AGENT_ID, alice.pk)
    assert {"calculator", "code_interpreter"} <= {tool.id for tool in setup.runtime.tools}
    assert model_of(setup) == llm.name


def test_the_users_own_model_goes_before_the_systems(
    alice_api: APIClient, bob_api: APIClient, alice: User, agent: Assistant, llm: Llm
) -> None:
    make_llm("Own", owner=alice)
    assert model_of(prepared(alice_api)) == "Own"
    assert model_of(prepared(bob_api)) == llm.name


def test_without_the_agent_one_stands_in(alice_api: APIClient, alice: User, llm: Llm) -> None:
    make_llm("Own", owner=alice)
    setup = prepared(alice_api)
    assert (setup.runtime.id, model_of(setup)) == (TASK_AGENT_ID, "Own")
    assert setup.runtime.tools == ()
    assert "background" in setup.runtime.prompt
    assert not Assistant.objects.exists()


def test_a_named_assistant_works_with_all_it_has(
    alice_api: APIClient, alice: User, agent: Assistant, llm: Llm
) -> None:
    second = make_llm("Second")
    ada = Assistant.objects.create(name="Ada", owner=alice, llm=second, prompt="You are Ada.")
    ada.set_tools(["weather"])
    ada.set_knowledge_bases([KnowledgeBase.objects.create(name="Facts", owner=alice).pk])
    setup = prepared(alice_api, assistant_id=ada.pk)
    runtime = setup.runtime
    assert (runtime.id, runtime.prompt, model_of(setup)) == (ada.pk, "You are Ada.", "Second")
    assert [tool.id for tool in runtime.tools] == ["weather"]
    assert runtime.knowledge is not None


def test_a_message_can_ask_for_another_model(alice_api: APIClient, alice: User, llm: Llm) -> None:
    second = make_llm("Second")
    ada = Assistant.objects.create(name="Ada", owner=alice, llm=second)
    assert model_of(prepared(alice_api, assistant_id=ada.pk, model_key=llm.pk)) == llm.name
    ada.refresh_from_db()
    assert ada.llm == second


def test_what_was_taken_away_meanwhile_is_not_used(
    alice_api: APIClient, alice: User, bob: User, agent: Assistant, llm: Llm
) -> None:
    second = make_llm("Second", owner=alice)
    ada = Assistant.objects.create(name="Ada", owner=alice)
    claim = begin(alice_api, assistant_id=ada.pk, model_key=second.pk)
    assert prepare(claim).runtime.id == ada.pk
    Assistant.objects.filter(pk=ada.pk).update(owner=bob)
    Llm.objects.filter(pk=second.pk).update(owner=bob)
    setup = prepare(claim)
    assert (setup.runtime.id, model_of(setup)) == (TASK_AGENT_ID, llm.name)


# --- Run mode and guidance -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "thinking", "interval"),
    [("fast", "never", None), ("thinking", "first", 4), ("deep", "always", None)],
)
def test_a_run_mode_says_when_the_model_thinks(
    alice_api: APIClient, alice: User, llm: Llm, mode: str, thinking: str, interval: int | None
) -> None:
    save_personalization(principal_for_user(alice), "me", {"thinking_interval": 4})
    request = prepared(
        alice_api, run_mode=mode, max_iterations=7, personalization_name="me"
    ).request
    assert (request.thinking, request.thinking_interval) == (thinking, interval)
    assert (request.max_model_calls, request.max_attempts) == (7, 3)


def test_prompt_and_personalization_become_instructions(
    alice_api: APIClient, alice: User, agent: Assistant, llm: Llm
) -> None:
    principal = principal_for_user(alice)
    save_prompt(principal, "short", "Be short, {name}. {{system_time}}")
    save_personalization(
        principal,
        "me",
        {"user_name": "Ann", "disabled_tool_categories": ["code", "network", "file_edit"]},
    )
    claim = begin(alice_api, prompt_name="short", personalization_name="me")
    save_prompt(principal, "short", "Changed since.")
    setup = prepare(claim)
    assert setup.request.instructions == (
        "Be short, {name}. {{system_time}}\n\n"
        "How the user wants to be treated:\n- The user is called: Ann"
    )
    offered = {tool.id for tool in setup.runtime.tools}
    assert offered == {"calculator", "current_time", "translate"}
    assert setup.disabled_tools == {"write_file", "append_file"}


def test_without_knowledge_nothing_is_searched(alice_api: APIClient, alice: User, llm: Llm) -> None:
    ada = Assistant.objects.create(name="Ada", owner=alice)
    ada.set_knowledge_bases([KnowledgeBase.objects.create(name="Facts", owner=alice).pk])
    save_personalization(
        principal_for_user(alice), "me", {"disabled_tool_categories": ["knowledge"]}
    )
    setup = prepared(alice_api, assistant_id=ada.pk, personalization_name="me")
    assert setup.runtime.knowledge is None


@pytest.mark.parametrize(
    ("title", "content", "is_wanted"),
    [("", {}, True), ("Mine", {}, False), ("", {"auto_generate_title": False}, False)],
)
def test_a_title_is_wanted_where_there_is_none(
    alice_api: APIClient,
    alice: User,
    llm: Llm,
    title: str,
    content: dict[str, Any],
    is_wanted: bool,
) -> None:
    save_personalization(principal_for_user(alice), "me", content)
    begun = ok(alice_api.post("/api/v1/conversations", {"personalization_name": "me"}))
    Conversation.objects.update(title=title)
    setup = prepared(alice_api, conversation_id=begun["conversation_id"])
    assert setup.wants_title is is_wanted


# --- History and what was sent along -------------------------------------------------------------


def test_earlier_turns_come_before_the_message(alice_api: APIClient, llm: Llm) -> None:
    first = begin(alice_api, "One")
    journal.add(
        first.conversation_id, [MessageEntry(turn=first.turn, role="assistant", text="Uno")]
    )
    Run.objects.update(status="succeeded")
    request = prepared(alice_api, "Two", conversation_id=first.conversation_id).request
    assert (request.turn, request.text) == (2, "Two")
    assert [message.text for message in request.history] == ["One", "Uno"]
    assert request.conversation_id == first.conversation_id


def test_images_are_read_from_the_users_folder(
    alice_api: APIClient, alice: User, settings: Settings, tmp_path: Any
) -> None:
    settings.USER_FILES_DIR = tmp_path
    make_llm(accepts_images=True)
    UserFolder.of(alice.pk).save("dot.png", [png()])
    setup = prepared(alice_api, "What is this?", images=["dot.png"])
    (image,) = setup.request.images
    assert (image.media_type, image.data) == ("image/png", png())


def test_the_language_is_that_of_who_asked(alice_api: APIClient, llm: Llm) -> None:
    assert prepared(alice_api).language == "en"
    Run.objects.update(status="succeeded")
    alice_api.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-CN"
    assert prepared(alice_api).language == "zh-hans"
