from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from assistants.runtime import load_runtime
from conversations.models import Conversation, Memory, Message
from providers.fakes import Behaviour, FakeUpstream
from providers.fakes.behaviour import Step
from providers.models import Llm
from tests.upstream import SECRET
from tooling.autotest import engine
from tooling.catalogue import sync_builtin_tools
from tooling.models import AutotestRun, RunStatus, Scenario, Subject, Trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ada(upstream: FakeUpstream, alice: User) -> Assistant:
    llm = Llm.objects.create(
        owner=alice,
        name="Model",
        vendor="openai_compatible",
        base_url=upstream.base_url,
        api_key=SECRET,
        model_name="fake",
    )
    sync_builtin_tools()
    return Assistant.objects.create(name="Ada", owner=alice, language="en", llm=llm)


def script(ada: Assistant, *steps: dict[str, Any], owner: User | None = None) -> Scenario:
    return Scenario.objects.create(
        name="Talk", assistant_id=ada.pk, steps=list(steps), owner=owner or ada.owner
    )


def run_of(ada: Assistant, owner: User | None = None) -> AutotestRun:
    asked_by = owner or ada.owner
    assert asked_by is not None
    return engine.run_now(Subject.ASSISTANT, ada.pk, owner_id=asked_by.pk, trigger=Trigger.API)


def cases_of(run: AutotestRun) -> dict[str, tuple[bool, str]]:
    return {case["name"]: (case["passed"], case["message"]) for case in run.cases}


def said_to_model(upstream: FakeUpstream) -> list[list[tuple[str, str]]]:
    return [
        [(each["role"], each["content"]) for each in request["body"]["messages"]]
        for request in upstream.stats.last("chat")
    ]


def test_it_holds_a_default_conversation(ada: Assistant, upstream: FakeUpstream) -> None:
    upstream.script("chat", Step(text="I am Ada."), Step(text="With anything."))
    run = run_of(ada)
    found = cases_of(run)
    assert list(found) == ["Assistant Existence", "Conversation · 1", "Conversation · 2"]
    assert run.status == RunStatus.PASSED, found
    assert found["Assistant Existence"] == (True, "Found assistant: Ada")
    assert "“I am Ada.”" in found["Conversation · 1"][1]
    # The second thing said knows the first.
    assert ("assistant", "I am Ada.") in said_to_model(upstream)[1]
    assert not Conversation.objects.exists()
    assert not Message.objects.exists()


def test_it_knows_nothing_of_who_asks(ada: Assistant, alice: User, upstream: FakeUpstream) -> None:
    Assistant.objects.update(enable_memory=True)
    Memory.objects.create(owner=alice, assistant=ada, text="The user likes tea.", digest="1")
    assert load_runtime(ada.pk, caller_id=alice.pk).remembers
    assert run_of(ada).status == RunStatus.PASSED
    assert "likes tea" not in str(said_to_model(upstream))


def test_it_speaks_the_assistants_language(ada: Assistant, upstream: FakeUpstream) -> None:
    Assistant.objects.update(language="zh")
    assert run_of(ada).status == RunStatus.PASSED
    assert "介绍" in said_to_model(upstream)[0][-1][1]


def test_it_expects_and_forbids_words(ada: Assistant, upstream: FakeUpstream) -> None:
    script(
        ada,
        {"say": "When?", "expect_words": ["nine|9"], "forbid_words": ["sorry"]},
        {"say": "And on Sunday?", "expect_words": ["closed"]},
    )
    upstream.script("chat", Step(text="At nine."), Step(text="Sorry, I do not know."))
    run = run_of(ada)
    found = cases_of(run)
    assert found["Talk · 1"][0] is True
    assert found["Talk · 2"] == (
        False,
        "Not said: “closed”. Answered: “Sorry, I do not know.”",
    )
    assert (run.passed, run.failed, run.status) == (2, 1, RunStatus.FAILED)


def test_it_expects_tools_to_be_called(ada: Assistant, upstream: FakeUpstream) -> None:
    ada.set_tools(["calculator"])
    script(ada, {"say": "6 * 7?", "expect_words": ["42"], "expect_tools": ["calculator"]})
    call = {"name": "calculator", "arguments": '{"expression": "6 * 7"}'}
    upstream.script("chat", Step(tool_calls=[call]), Step(text="It is 42."))
    passed, message = cases_of(run_of(ada))["Talk · 1"]
    assert passed, message
    assert "with calculator" in message
    upstream.script("chat", Step(text="It is 42."))
    assert cases_of(run_of(ada))["Talk · 1"] == (
        False,
        "Not called: calculator. Answered: “It is 42.”",
    )
    bad = {"name": "calculator", "arguments": '{"expression": "1 / 0"}'}
    upstream.script("chat", Step(tool_calls=[bad]), Step(text="It is 42."))
    passed, message = cases_of(run_of(ada))["Talk · 1"]
    assert (passed, message.split(".")[0]) == (False, "Called, but failed: calculator")


def test_a_device_does_what_it_is_asked(ada: Assistant, upstream: FakeUpstream) -> None:
    ada.set_tools(["turn_on_camera", "text_choice_prompt"])
    tools = ["turn_on_camera", "text_choice_prompt"]
    script(ada, {"say": "Go.", "expect_tools": tools})
    options = '[{"id": "a", "label": "Tea"}, {"id": "b", "label": "Coffee"}]'
    choice = {
        "name": "text_choice_prompt",
        "arguments": f'{{"question": "What?", "options": {options}}}',
    }
    camera = {"name": "turn_on_camera", "arguments": "{}"}
    upstream.script("chat", Step(tool_calls=[camera, choice]), Step(text="Done."))
    passed, message = cases_of(run_of(ada))["Talk · 1"]
    assert passed, message
    (answer,) = [text for _role, text in said_to_model(upstream)[-1] if text and "Tea" in text]
    assert '"selected_id": "a"' in answer


def test_a_failing_model_ends_the_conversation(ada: Assistant, upstream: FakeUpstream) -> None:
    script(ada, {"say": "One"}, {"say": "Two"})
    upstream.script("chat", Step(status=401, body={"error": {"message": SECRET}}))
    run = run_of(ada)
    found = cases_of(run)
    assert found["Talk · 1"][0] is False
    assert found["Talk · 2"] == (False, "Not tried: the conversation broke off.")
    assert SECRET not in str(run.cases)
    assert upstream.stats.of("chat").requests == 1


def test_it_reports_an_assistant_without_a_model(ada: Assistant) -> None:
    Llm.objects.all().delete()
    passed, message = cases_of(run_of(ada))["Conversation · 1"]
    assert (passed, message) == (
        False,
        "No language model is configured for this assistant.",
    )


def test_it_holds_the_conversations_of_who_asks(
    ada: Assistant, upstream: FakeUpstream, bob: User, carol: User
) -> None:
    Assistant.objects.update(owner=None)
    for name, owner in (("Alice's", ada.owner), ("Bob's", bob), ("System's", None)):
        Scenario.objects.create(name=name, assistant_id=ada.pk, steps=[{"say": "Hi"}], owner=owner)
    assert list(cases_of(run_of(ada, bob))) == [
        "Assistant Existence",
        "Bob's · 1",
        "System's · 1",
    ]
    assert "Bob's · 1" not in cases_of(run_of(ada, carol))


def test_steps_that_were_spoilt_by_hand_fail_alone(ada: Assistant, upstream: FakeUpstream) -> None:
    script(ada, {"expect_words": "x"}, {"say": "Hi"})
    assert list(cases_of(run_of(ada))) == ["Assistant Existence", "Talk · 1", "Talk · 2"]


def test_it_is_served(
    alice_api: APIClient, bob_api: APIClient, ada: Assistant, upstream: FakeUpstream
) -> None:
    url = f"/api/v1/tools/autotest/assistant/{ada.pk}"
    refused = bob_api.post(url)
    assert (refused.status_code, refused.json()) == (404, {"detail": "Assistant not found."})
    body = alice_api.post(url).json()
    assert (body["subject"], body["status"]) == ("assistant", "passed")


@pytest.mark.parametrize("mode", ["dify", "fastgpt"])
def test_it_holds_one_conversation_with_a_service_that_answers(
    ada: Assistant, upstream: FakeUpstream, mode: str
) -> None:
    upstream.set_behaviour(Behaviour(reply="You said {text}."))
    Assistant.objects.update(config_mode=mode, api_url=upstream.root_url, api_key=SECRET)
    script(ada, {"say": "one", "expect_words": ["said one"]}, {"say": "two"})
    assert run_of(ada).status == RunStatus.PASSED
    ((_remote_id, said),) = upstream.conversations.items()
    assert said == ["one", "two"]
