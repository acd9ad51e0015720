"""Assistants as models behind both dialects, and what the built-in models cannot do."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from accounts.models import User
from assistants.models import Assistant
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.conftest import make_key, make_user
from tests.conversations.library import museum
from tests.conversations.memory.conftest import known
from tests.gateway.conformance.conftest import Served
from tests.gateway.conformance.test_pieces import CHAT, MESSAGES, PATHS, payload_texts, payloads
from tests.gateway.conftest import make_llm
from tooling.catalogue import sync_builtin_tools

pytestmark = pytest.mark.django_db

STREAMED = pytest.mark.parametrize("streamed", [False, True])
GUIDE = "assistant:Guide"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.fixture(scope="module")
def guide(served: Served, upstream_server: FakeUpstream) -> Assistant:
    """Alice's, who knows a museum, calculates and remembers."""
    owner = served.user
    sync_builtin_tools()
    hashing = Llm.objects.get(pk="builtin-hashing")
    llm = make_llm(upstream_server, name="behind the guide")
    row = Assistant.objects.create(
        owner=owner, name="Guide", prompt="You are a guide.", language="en", llm=llm,
        embedder=hashing, enable_memory=True,
    )  # fmt: skip
    row.set_tools(["calculator"])
    row.set_knowledge_bases([museum(owner).pk])
    return row


@pytest.fixture(scope="module")
def stranger(served: Served) -> User:
    return make_user("bob")


def body(path: str, model: str = GUIDE, said: str = "Hi", **fields: Any) -> dict[str, Any]:
    limit = {"max_tokens": 99} if path == MESSAGES else {}
    return {"model": model, "messages": [{"role": "user", "content": said}], **limit, **fields}


def ask(served: Served, path: str, key: str | None = None, **fields: Any) -> httpx.Response:
    with served.client(key) as client:
        return client.post(path, json=body(path, **fields))


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        return "".join(payload_texts(answer.text))
    told = answer.json()
    if "content" in told:
        return "".join(block.get("text", "") for block in told["content"])
    return str(told["choices"][0]["message"]["content"])


def reason_of(answer: httpx.Response) -> str:
    if answer.headers["content-type"].startswith("text/event-stream"):
        found = [
            each["delta"]["stop_reason"] if "delta" in each else each["choices"][0]["finish_reason"]
            for each in payloads(answer.text)
            if "stop_reason" in each.get("delta", {})
            or (each.get("choices") and each["choices"][0]["finish_reason"])
        ]
        return str(found[-1])
    told = answer.json()
    return str(told["stop_reason"] if "content" in told else told["choices"][0]["finish_reason"])


@PATHS
@STREAMED
def test_it_uses_its_prompt_knowledge_and_tools(
    served: Served, guide: Assistant, upstream: FakeUpstream, path: str, streamed: bool
) -> None:
    call = {"name": "calculator", "arguments": '{"expression": "6*7"}'}
    upstream.script("chat", Step(tool_calls=[call]), Step(text="Twelve euros; and 42."))
    said = "What does admission cost, and what is 6*7?"
    answer = ask(served, path, said=said, stream=streamed)
    assert text_of(answer) == "Twelve euros; and 42."
    # The tools are its own affair, which no client is to answer.
    assert "calculator" not in answer.text
    assert reason_of(answer) in ("end_turn", "stop")
    first, second = (json.dumps(each["body"]) for each in upstream.stats.last("chat")[-2:])
    assert "You are a guide." in first
    assert "Admission costs twelve euros" in first
    assert "42" in second
    row = served.records()[-1]
    assert (row.model, row.target_row, row.status) == (GUIDE, guide.pk, 200)
    assert row.input_tokens > 0
    assert row.output_tokens > 0


@PATHS
def test_it_remembers_the_user(
    served: Served, guide: Assistant, upstream: FakeUpstream, path: str
) -> None:
    (note,) = served.commit(lambda: known(served.user, guide, "The user keeps bees."))
    assert ask(served, path, said="What does the user keep? Bees?").status_code == 200
    assert "The user keeps bees." in json.dumps(upstream.stats.last("chat")[-1]["body"])
    served.commit(note.delete)


@PATHS
def test_it_reads_the_conversation_and_the_callers_instructions(
    served: Served, guide: Assistant, upstream: FakeUpstream, path: str
) -> None:
    turns = [
        {"role": "user", "content": "My name is Ann."},
        {"role": "assistant", "content": "Hello Ann."},
        {"role": "user", "content": "And now?"},
    ]
    if path == MESSAGES:
        answer = ask(served, path, messages=turns, system="Speak like a pirate.")
    else:
        system = {"role": "system", "content": "Speak like a pirate."}
        answer = ask(served, path, messages=[system, *turns])
    assert answer.status_code == 200
    sent = upstream.stats.last("chat")[-1]["body"]["messages"]
    assert "Speak like a pirate." in json.dumps(sent)
    assert [each["content"] for each in sent if each["role"] == "assistant"] == ["Hello Ann."]


@PATHS
@STREAMED
def test_no_more_is_said_than_was_asked_for(
    served: Served, guide: Assistant, upstream: FakeUpstream, path: str, streamed: bool
) -> None:
    upstream.script("chat", Step(text="one two three four five six seven eight nine ten"))
    answer = ask(served, path, stream=streamed, max_tokens=3)
    assert text_of(answer).startswith("one")
    assert "ten" not in text_of(answer)
    assert reason_of(answer) in ("max_tokens", "length")


@PATHS
@STREAMED
def test_it_stops_where_it_is_told(
    served: Served, guide: Assistant, upstream: FakeUpstream, path: str, streamed: bool
) -> None:
    upstream.script("chat", Step(text="one two three four"))
    stop: dict[str, Any] = (
        {"stop_sequences": ["two th"]} if path == MESSAGES else {"stop": "two th"}
    )
    answer = ask(served, path, stream=streamed, **stop)
    assert text_of(answer) == "one "
    assert reason_of(answer) in ("stop_sequence", "stop")


_FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
_REFUSED = [
    (MESSAGES, "tools", [{"name": "weather", "input_schema": WEATHER}]),
    (MESSAGES, "temperature", 0.5),
    (MESSAGES, "top_p", 0.5),
    (MESSAGES, "top_k", 5),
    (CHAT, "tools", [_FUNCTION]),
    (CHAT, "temperature", 0.5),
    (CHAT, "top_p", 0.5),
    (CHAT, "response_format", {"type": "json_object"}),
    (CHAT, "seed", 7),
]


@pytest.mark.parametrize(("path", "param", "value"), _REFUSED)
def test_it_names_what_an_assistant_cannot_be_asked(
    served: Served, guide: Assistant, path: str, param: str, value: Any
) -> None:
    answer = ask(served, path, **{param: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@PATHS
def test_it_is_there_for_those_who_may_see_it(
    served: Served, guide: Assistant, stranger: User, path: str
) -> None:
    strangers = served.commit(lambda: make_key(stranger))
    for model in (GUIDE, f"assistant:{guide.pk}"):
        assert ask(served, path, model=model).status_code == 200
        answer = ask(served, path, strangers, model=model)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"
    unknown = ask(served, path, model="assistant:Nobody")
    assert unknown.json()["error"] == answer.json()["error"]


@PATHS
def test_keys_with_a_list_of_models_may_ask_no_other_assistant(
    served: Served, guide: Assistant, path: str
) -> None:
    def status(*allowed: str, model: str = GUIDE) -> int:
        key = served.commit(lambda: make_key(served.user, allowed_models=list(allowed)))
        return ask(served, path, key, model=model).status_code

    assert status(GUIDE) == 200
    assert status(f"assistant:{guide.pk}") == 200
    assert status(f"assistant:{guide.pk}", model=f"assistant:{guide.pk}") == 200
    assert status("over-openai") == 404
    assert status("assistant:Other") == 404


def test_its_tokens_are_counted_for_those_who_may_see_it(
    served: Served, guide: Assistant, stranger: User
) -> None:
    strangers = served.commit(lambda: make_key(stranger))
    path = "messages/count_tokens"
    assert ask(served, path).json()["input_tokens"] > 0
    assert ask(served, path, strangers).status_code == 404


@PATHS
@STREAMED
def test_a_model_that_fails_is_told_of(
    served: Served, guide: Assistant, upstream: FakeUpstream, path: str, streamed: bool
) -> None:
    upstream.script("chat", *[Step(status=400, body={"error": {"message": "no"}})] * 4)
    answer = ask(served, path, stream=streamed)
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "upstream_error"
    upstream.reset()
    upstream.script("chat", Step(text="one two three four", break_after=2))
    answer = ask(served, path, stream=streamed)
    if streamed:
        assert "error" in payloads(answer.text)[-1]
    else:
        assert answer.status_code == 502


# --- The built-in models --------------------------------------------------------------------------

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO/w=="}}
DEMO = "xiaoai-chat-v1"


@pytest.mark.parametrize(
    ("path", "param", "fields"),
    [
        (CHAT, "response_format", {"response_format": {"type": "json_object"}}),
        (CHAT, "tool_choice", {"tools": [_FUNCTION], "tool_choice": "required"}),
        (CHAT, "seed", {"seed": 7}),
        (CHAT, "logprobs", {"logprobs": True}),
        (CHAT, "messages[0].content[0]", {"messages": [{"role": "user", "content": [IMAGE]}]}),
        (MESSAGES, "tool_choice", {
            "tools": [{"name": "weather", "input_schema": WEATHER}], "tool_choice": {"type": "any"}
        }),
    ],
)  # fmt: skip
def test_built_in_models_name_what_they_cannot_do(
    served: Served, path: str, param: str, fields: dict[str, Any]
) -> None:
    assert ask(served, path, model=DEMO).status_code == 200
    answer = ask(served, path, **{"model": DEMO, **fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@PATHS
@STREAMED
def test_built_in_models_stop_where_they_are_told(
    served: Served, path: str, streamed: bool
) -> None:
    whole = text_of(ask(served, path, model=DEMO, said="你是谁", stream=streamed))
    stop: dict[str, Any] = {"stop_sequences": ["演示"]} if path == MESSAGES else {"stop": ["演示"]}
    answer = ask(served, path, model=DEMO, said="你是谁", stream=streamed, **stop)
    assert text_of(answer) == whole.partition("演示")[0] != whole
    assert reason_of(answer) in ("stop_sequence", "stop")


@PATHS
@STREAMED
def test_built_in_models_call_tools(served: Served, path: str, streamed: bool) -> None:
    if path == MESSAGES:
        tools: list[Any] = [{"name": "calculator", "input_schema": {"type": "object"}}]
    else:
        tools = [{"type": "function", "function": {"name": "calculator"}}]
    answer = ask(served, path, model=DEMO, said="What is 6 times 7?", tools=tools, stream=streamed)
    assert answer.status_code == 200
    assert "6 * 7" in answer.text.replace("\\\\", "")
    assert reason_of(answer) in ("tool_use", "tool_calls")
