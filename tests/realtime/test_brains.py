"""Calls with assistants that Dify and FastGPT answer for, and what is learnt from calls."""

from __future__ import annotations

import pytest

from assistants.models import Assistant
from conversations.models import Conversation, Memory
from core.db import in_db
from providers.fakes import Behaviour, FakeUpstream, Step
from providers.types import BrainKind
from tests.conversations.memory.conftest import add, proposing, queued, work
from tests.realtime.conftest import Client, Connect, change
from tests.realtime.test_calls import finish, messages_of, until

BOTH: tuple[BrainKind, ...] = ("dify", "fastgpt")


async def put_in_the_place_of_the_model(
    assistant: Assistant, kind: BrainKind, upstream: FakeUpstream
) -> None:
    await change(assistant, config_mode=kind, api_url=upstream.root_url, api_key="brain-key")


async def say(client: Client, text: str) -> str:
    """What is answered to a typed text."""
    await client.send("input.text", text=text)
    return str((await client.wait("assistant.response.final"))["text"])


@pytest.mark.parametrize("kind", BOTH)
async def test_the_service_answers_all_turns_of_a_call_in_one_conversation(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
    kind: BrainKind,
) -> None:
    upstream.set_behaviour(Behaviour(transcript="What do you do?", reply="You said {text}"))
    await put_in_the_place_of_the_model(assistant, kind, upstream)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech)
        final = await client.wait("assistant.response.final")
        assert final["text"] == "You said What do you do?"
        assert client.audio
        assert await say(client, "And then?") == "You said And then?"
        session_id = await finish(client)
    ((remote_id, said),) = upstream.conversations.items()
    assert said == ["What do you do?", "And then?"]
    row = await in_db(Conversation.objects.get, pk=session_id)
    assert row.remote_id == remote_id
    if kind == "fastgpt":
        assert remote_id == session_id
    texts = [message.text for message in await messages_of(session_id)]
    assert texts == [
        "What do you do?",
        "You said What do you do?",
        "And then?",
        "You said And then?",
    ]


@pytest.mark.parametrize("kind", BOTH)
async def test_the_service_opens_the_call(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    kind: BrainKind,
) -> None:
    upstream.set_behaviour(Behaviour(reply="Welcome!"))
    await put_in_the_place_of_the_model(assistant, kind, upstream)
    await change(assistant, first_turn_mode="bot_first", generated_opener_enabled=True)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        assert (await client.wait("assistant.response.final"))["text"] == "Welcome!"
        await say(client, "Hi")
        await finish(client)
    ((_remote_id, said),) = upstream.conversations.items()
    assert said == ["Hello!", "Hi"]


@pytest.mark.parametrize("kind", BOTH)
async def test_an_interrupted_answer_ends_there_and_the_call_goes_on(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    kind: BrainKind,
) -> None:
    await put_in_the_place_of_the_model(assistant, kind, upstream)
    upstream.script(kind, Step(text="First sentence. " * 3, hang_after=4), Step(text="Yes?"))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Talk")
        await client.wait("assistant.response.delta")
        assert await say_over(client, "Stop") == "Yes?"
        await finish(client)
    assert await until(upstream, lambda stats: stats.of(kind).cancelled == 1)
    ((_remote_id, said),) = upstream.conversations.items()
    # What nobody heard an answer to is said again, with what came after.
    assert said == ["Talk", "Talk Stop"]


async def say_over(client: Client, text: str) -> str:
    """What is answered to a text that interrupts an answer."""
    await client.send("input.text", text=text)
    while True:
        final = await client.wait("assistant.response.final")
        if not final["data"].get("interrupted"):
            return str(final["text"])


async def test_a_call_says_why_the_service_does_not_answer(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await put_in_the_place_of_the_model(assistant, "dify", upstream)
    upstream.script("dify", Step(status=401, body={"code": "unauthorized", "message": "no"}))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Hi")
        problem = await client.wait("error")
        assert "Dify refused the API key." in str(problem)
        assert await say(client, "Again")
        await finish(client)


async def test_what_was_told_in_a_call_is_known_in_the_next(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await change(assistant, enable_memory=True)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await say(client, "I live in Berlin.")
        session_id = await finish(client)
    upstream.script("chat", proposing(add("The user lives in Berlin.")))
    assert await in_db(work) == 1
    assert (await in_db(Memory.objects.get)).conversation_id == session_id
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await say(client, "Where do I live?")
        await finish(client)
    asked = upstream.stats.last("chat")[-1]["body"]["messages"]
    assert "The user lives in Berlin." in asked[0]["content"]


async def test_nothing_is_learnt_from_callers_without_an_account(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await change(assistant, enable_memory=True, is_public=True)
    async with connect_to(assistant) as client:
        await client.start()
        await say(client, "I live in Berlin.")
        await finish(client)
    assert await in_db(queued) == []
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await say(client, "I live in Berlin.")
        await finish(client)
    assert len(await in_db(queued)) == 1
