"""Prompts and choices of whole calls: what is said for them, and what the user answers."""

from __future__ import annotations

import json
from typing import Any

from assistants.models import Assistant
from providers.fakes import FakeUpstream, Step
from tests.realtime.conftest import Client, Connect, change
from tests.realtime.test_calls import OPTIONS, asks, audio_between, finish, give, messages_of

SPEAKS = {"capabilities": ["spoken_prompts"]}
CHOICE = {**OPTIONS, "question": "Which letter?"}


def calls_of(client: Client) -> list[dict[str, Any]]:
    return [event["data"]["tool_call"] for event in client.of("assistant.tool_call")]


def texts_of(client: Client, kind: str) -> list[str]:
    return [event["data"]["text"] for event in client.of(kind)]


async def test_a_choice_is_made_by_voice(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    speech: bytes,
) -> None:
    await give(assistant, "text_choice_prompt")
    upstream.script("chat", asks("text_choice_prompt", **OPTIONS), Step(text="You chose B."))
    upstream.script("transcriptions", Step(transcript="the second one please"))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Ask me.")
        await client.wait("assistant.tool_call")
        await client.say(speech)
        await client.wait("transcript.final", text="the second one please")
        result = (await client.wait("assistant.tool_result"))["data"]["result"]
        final = await client.wait("assistant.response.final", text="You chose B.")
        session_id = await finish(client)
    assert result["status"]["code"] == 200
    assert json.loads(result["output"]) == {
        "selected_id": "b",
        "selected_label": "B",
        "cancelled": False,
    }
    assert client.of("response.interrupted") == []
    assert final["data"]["turn_id"] == "turn_1"
    told = upstream.stats.last("chat")[-1]["body"]["messages"][-1]
    assert told["role"] == "tool"
    assert result["output"] in told["content"]
    said = [message.text for message in await messages_of(session_id) if message.role == "user"]
    assert said == ["Ask me.", "the second one please"]


async def test_a_question_about_the_options_is_answered_and_the_choice_stays(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    speech: bytes,
) -> None:
    await give(assistant, "text_choice_prompt")
    upstream.script(
        "chat",
        asks("text_choice_prompt", **OPTIONS),
        Step(text="The second is B."),
        Step(text="Fine, B."),
    )
    upstream.script("transcriptions", Step(transcript="what is the second one"))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Ask me.")
        call = (await client.wait("assistant.tool_call"))["data"]["tool_call"]
        await client.say(speech)
        await client.wait("assistant.response.final", text="The second is B.")
        output = {"selected_id": "b", "selected_label": "B", "cancelled": False}
        answer = {
            "tool_call_id": call["id"],
            "name": "text_choice_prompt",
            "output": output,
            "status": {"code": 200, "message": "ok"},
        }
        await client.send("tool_call.results", results=[answer])
        await client.wait("assistant.tool_result")
        await client.wait("assistant.response.final", text="Fine, B.")
        await finish(client)
    assert client.of("error") == []
    asked = upstream.stats.last("chat")[-1]["body"]["messages"]
    assert asked[-1] == {"role": "user", "content": "B"}
    assert any(message["role"] == "tool" and '"b"' in message["content"] for message in asked)


async def test_a_voice_prompt_is_said_in_the_answer_that_calls_it(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "voice_msg_prompt")
    upstream.script(
        "chat",
        Step(
            text="One moment.",
            tool_calls=[{"name": "voice_msg_prompt", "arguments": {"msg": "Mind the step!"}}],
        ),
        Step(text="Anything else?"),
    )
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**SPEAKS)
        await client.send("input.text", text="Warn me.")
        await client.wait("assistant.response.final")
        await finish(client)
    assert calls_of(client)[0]["spoken"] is True
    assert texts_of(client, "assistant.response.final") == [
        "One moment.\nMind the step!\nAnything else?"
    ]
    spoken = [text.strip() for text in texts_of(client, "output.audio.segment")]
    assert spoken == ["One moment.", "Mind the step!", "Anything else?"]


async def test_clients_that_know_nothing_of_it_say_prompts_themselves(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "voice_msg_prompt")
    prompt = asks("voice_msg_prompt", msg="Mind the step!")
    for metadata in ({}, {**SPEAKS, "overrides": {"output": {"mode": "text"}}}):
        upstream.script("chat", prompt, Step(text="Anything else?"))
        async with connect_to(assistant, key=alice_key) as client:
            await client.start(**metadata)
            await client.send("input.text", text="Warn me.")
            await client.wait("assistant.response.final", text="Anything else?")
            await finish(client)
        assert "spoken" not in calls_of(client)[0]


async def test_what_the_model_has_just_said_is_not_said_again(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "voice_choice_prompt")
    upstream.script(
        "chat",
        Step(
            text="Of course. Which letter?",
            tool_calls=[{"name": "voice_choice_prompt", "arguments": CHOICE}],
        ),
        Step(text="B it is."),
    )
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**SPEAKS)
        await client.send("input.text", text="Ask me.")
        await client.wait("assistant.tool_call")
        await client.send("input.text", text="B")
        await client.wait("assistant.response.final")
        await finish(client)
    assert texts_of(client, "assistant.response.final") == ["Of course. Which letter?\nB it is."]


async def test_prompts_of_the_set_up_are_said_one_after_the_other(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "voice_msg_prompt", "voice_choice_prompt", "turn_on_camera")
    await change(
        assistant,
        first_turn_mode="bot_first",
        opener="Hi.",
        manual_opener_tool_calls=[
            {"toolName": "voice_msg_prompt", "arguments": {"msg": "You can talk to me."}},
            {"toolName": "voice_choice_prompt", "arguments": CHOICE},
            {"toolName": "turn_on_camera", "arguments": {}},
        ],
    )
    upstream.script("chat", Step(text="You said A."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**SPEAKS)
        await client.wait("assistant.response.final", text="Which letter?")
        await client.send("input.text", text="option a")
        await client.wait("assistant.response.final", text="You said A.")
        await client.wait("assistant.tool_result", tool_call_id="opener_3")
        await finish(client)
    finals = ["Hi.", "You can talk to me.", "Which letter?", "You said A."]
    assert texts_of(client, "assistant.response.final") == finals
    assert [call["id"] for call in calls_of(client)] == ["opener_1", "opener_2", "opener_3"]
    assert [call.get("spoken", False) for call in calls_of(client)] == [True, True, False]
    assert audio_between(client, "output.audio.start", "output.audio.end")
    asked = upstream.stats.last("chat")[-1]["body"]["messages"]
    assert any(message["role"] == "tool" and '"a"' in message["content"] for message in asked)
