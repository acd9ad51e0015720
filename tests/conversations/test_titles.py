"""Titles of conversations: what a model writes, and what stands in for it."""

from __future__ import annotations

import dataclasses

import pytest

from accounts.models import User
from assistants.runtime import AssistantRuntime
from conversations import titles
from providers.fakes import FakeUpstream, Step
from providers.types import Usage
from tests.conversations.made import conversation
from tests.conversations.scripted import assistant
from tests.upstream import llm_spec


async def title_of(
    runtime: AssistantRuntime, message: str, spent: list[Usage] | None = None
) -> str:
    return await titles.make_title(runtime, message, [] if spent is None else spent)


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("A walk in the park", "A walk in the park"),
        ('"A walk in the park."', "A walk in the park"),
        ("“公园散步”。", "公园散步"),
        ("《公园散步》", "公园散步"),
        ("Title: A walk", "A walk"),
        ("**标题：公园散步**", "公园散步"),
        ("# A walk\n\nHere is why I chose it.", "A walk"),
        ("\n\n  A   walk  ", "A walk"),
        ("", ""),
        (' "" ', ""),
        ("x" * 61, "x" * 59 + "…"),
        ("x" * 60, "x" * 60),
    ],
)
def test_a_models_answer_becomes_a_title(answer: str, title: str) -> None:
    assert titles.cleaned(answer) == title


async def test_the_assistants_model_writes_it(upstream: FakeUpstream) -> None:
    upstream.script("chat", Step(text="“Stars by night”"))
    runtime = assistant(llm=llm_spec(upstream.base_url))
    assert await title_of(runtime, "Tell me about stars. " * 500) == "Stars by night"
    (request,) = upstream.stats.last("chat")
    system, user = request["body"]["messages"]
    assert "language of the message" in system["content"]
    assert user["content"] == ("Tell me about stars. " * 500)[: titles.MAX_READ_CHARS]
    assert "tools" not in request["body"]


@pytest.mark.parametrize(
    ("step", "costs"),
    [
        (Step(status=500, body={"error": {"message": "down"}}), False),
        (Step(status=401, body={"error": {"message": "no"}}), False),
        (Step(text="Half of a title", break_after=1), True),
        (Step(text=""), False),
    ],
)
async def test_a_failing_model_leaves_the_beginning_of_the_message(
    upstream: FakeUpstream, step: Step, costs: bool
) -> None:
    upstream.script("chat", step, step, step)
    runtime = assistant(llm=llm_spec(upstream.base_url))
    spent: list[Usage] = []
    assert await title_of(runtime, "Tell me\nabout stars", spent) == "Tell me about stars"
    assert (sum(spent, Usage()).input_tokens > 0) is costs


async def test_a_model_that_is_slow_is_not_waited_for(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(titles, "TIMEOUT_S", 0.05)
    upstream.script("chat", Step(text="Too late", wait_ms=60_000))
    runtime = assistant(llm=llm_spec(upstream.base_url))
    spent: list[Usage] = []
    assert await title_of(runtime, "Hello", spent) == "Hello"
    # It read the question all the same.
    assert spent[0].input_tokens > 0


async def test_without_a_model_it_is_the_beginning() -> None:
    assert await title_of(assistant(llm=None), "Hello") == "Hello"
    long = await title_of(assistant(llm=None), "word " * 50)
    assert (len(long), long[-1]) == (60, "…")
    assert await title_of(assistant(llm=None), " \n") == ""


async def test_the_demo_model_is_not_asked() -> None:
    demo = llm_spec("http://127.0.0.1:9", vendor="builtin")
    runtime = assistant(llm=dataclasses.replace(demo, name="Demo"))
    assert await title_of(runtime, "What time is it?") == "What time is it?"


@pytest.mark.django_db
def test_it_is_stored_where_there_is_none(alice: User) -> None:
    untitled, titled = conversation(alice), conversation(alice, title="Mine")
    assert titles.store_title(untitled.pk, "Stars")
    assert not titles.store_title(untitled.pk, "Others")
    assert not titles.store_title(titled.pk, "Stars")
    assert not titles.store_title("gone", "Stars")
    assert not titles.store_title(conversation(alice).pk, "")
    untitled.refresh_from_db()
    titled.refresh_from_db()
    assert (untitled.title, titled.title) == ("Stars", "Mine")
