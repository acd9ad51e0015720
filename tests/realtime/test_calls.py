"""Whole conversations over a real socket, with models that speak the real protocols."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from assistants.models import Assistant
from conversations.models import Call, CallStatus, Message
from core.db import in_db
from providers.fakes import Behaviour, FakeUpstream, Stats, Step
from realtime import pipeline
from realtime.admission import Slot
from tests.realtime.conftest import PATIENCE_S, SILENCE, Client, Connect, change
from tooling.models import Tool

LONG = "This is the first sentence. " + "And here comes one more sentence of it. " * 8


def audio_between(client: Client, first: str, last: str) -> bytes:
    """The audio between two events."""
    types = [item["type"] if isinstance(item, dict) else "" for item in client.seen]
    start, end = types.index(first), types.index(last)
    return b"".join(item for item in client.seen[start:end] if isinstance(item, bytes))


async def messages_of(session_id: str) -> list[Message]:
    def read() -> list[Message]:
        return list(Message.objects.filter(conversation_id=session_id).order_by("seq"))

    return await in_db(read)


async def call_of(session_id: str) -> Call:
    def read() -> Call:
        return Call.objects.get(conversation_id=session_id)

    return await in_db(read)


async def until(upstream: FakeUpstream, is_so: Callable[[Stats], bool]) -> bool:
    """Waits for the fake vendor to have seen it, without stopping the server of this test."""
    return await asyncio.to_thread(upstream.stats.wait_until, is_so)


async def finish(client: Client) -> str:
    """Stops the session and waits until everything is written; its id."""
    await client.send("session.stop", reason="done")
    assert await client.closed() == 1000
    await pipeline.close_all()
    return str(client.events[-1]["sessionId"])


async def test_a_spoken_question_gets_a_spoken_answer(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    upstream.set_behaviour(Behaviour(transcript="What do you do?", reply="I talk. I listen."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech)
        final = await client.wait("assistant.response.final")
        session_id = await finish(client)
    assert final["text"] == final["data"]["text"] == "I talk. I listen."
    wanted = [
        "session.started",
        "input.speech_started",
        "input.speech_stopped",
        "transcript.final",
        "metrics.ttfb",
        "assistant.response.delta",
        "output.audio.start",
        "metrics.turn",
        "output.audio.segment",
        "output.audio.end",
        "assistant.response.final",
        "session.stopped",
    ]
    assert list(dict.fromkeys(t for t in client.types if t in wanted)) == wanted
    assert client.of("transcript.final")[0]["text"] == "What do you do?"
    assert [e["text"] for e in client.of("output.audio.segment")] == ["I talk. ", "I listen."]
    pcm = audio_between(client, "output.audio.start", "output.audio.end")
    assert pcm == client.audio
    assert len(pcm) % 640 == 0
    assert len(pcm) / 32 == pytest.approx(60 * len("I talk. I listen."), rel=0.25)
    times = client.of("metrics.turn")[0]["data"]
    assert all(times[name] is not None for name in ("eot_ms", "asr_ms", "llm_ttft_ms", "v2v_ms"))
    human, ai = await messages_of(session_id)
    assert (human.role, human.text) == ("user", "What do you do?")
    assert (ai.role, ai.text, ai.is_interrupted) == ("assistant", "I talk. I listen.", False)
    assert ai.metrics["v2v_ms"] == times["v2v_ms"]
    assert human.start_ms is not None
    assert human.end_ms is not None
    assert human.end_ms >= human.start_ms
    call = await call_of(session_id)
    assert (call.status, call.error_code) == (CallStatus.CONNECTED, "")
    assert call.ended_at is not None


async def test_numbers_of_messages_never_skip(
    connect_to: Connect, assistant: Assistant, alice_key: str, speech: bytes
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.send("nonsense")
        await client.start()
        await client.say(speech)
        await client.wait("output.audio.start")
        await client.send("input.text", text="And more.")
        await client.wait("assistant.response.final")
        await finish(client)
    assert [event["seq"] for event in client.events] == list(range(1, len(client.events) + 1))
    assert len({event["sessionId"] for event in client.events}) == 1


async def test_the_opener_comes_first_and_is_paced(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    opener = "Hello {{name}}. Nice to see you."
    await change(assistant, first_turn_mode="bot_first", opener=opener)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(dynamicVariables={"name": "Ada"})
        started = asyncio.get_running_loop().time()
        await client.wait("output.audio.end")
        took_s = asyncio.get_running_loop().time() - started
        final = await client.wait("assistant.response.final")
        await finish(client)
    assert final["text"] == "Hello Ada. Nice to see you."
    assert final["data"]["turn"] == 0
    sent_s = len(client.audio) / 32_000
    assert sent_s - 0.3 < took_s
    assert upstream.stats.of("chat").requests == 0


async def test_speech_before_the_openers_sound_cancels_it(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    upstream.set_behaviour(Behaviour(tts_first_ms=60_000))
    await change(assistant, first_turn_mode="bot_first", opener="Hello.")
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.wait("assistant.response.delta")
        await client.say(speech)
        interrupted = await client.wait("response.interrupted")
        await client.wait("transcript.final")
        await finish(client)
    assert interrupted["data"]["heard_text"] == ""
    assert client.of("output.audio.start") == []
    assert await until(upstream, lambda stats: stats.of("speech").cancelled >= 1)


async def test_a_generated_opener_is_written_by_the_model(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply="Welcome!"))
    await change(assistant, first_turn_mode="bot_first", generated_opener_enabled=True)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        final = await client.wait("assistant.response.final")
        session_id = await finish(client)
    assert final["text"] == "Welcome!"
    assert [m.role for m in await messages_of(session_id)] == ["assistant"]


async def test_talking_over_the_answer_stops_it(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=30, tts_speed=2))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(capabilities=["playback_ack"])
        await client.send("input.text", text="Tell me.")
        while len(client.audio) < 32 * 1500:
            await client.wait_audio()
        await client.send("output.audio.played", tts_id="tts_1", played_ms=800)
        await client.say(speech)
        interrupted = (await client.wait("response.interrupted"))["data"]
        at = len(client.seen)
        assert client.types[-2:] == ["output.audio.clear", "response.interrupted"]
        await client.wait("output.audio.start", turn=2)
        after = client.seen[at:]
        await finish(client)
        session_id = client.events[0]["sessionId"]
    assert not any(isinstance(item, bytes) for item in after)
    assert interrupted["reason"] == "barge_in"
    assert interrupted["turn"] == 1
    assert interrupted["heard_text"].startswith("This is")
    assert interrupted["generated_text"].startswith(interrupted["heard_text"])
    assert len(interrupted["heard_text"]) < len(interrupted["generated_text"])
    assert 800 <= interrupted["heard_ms"] < 3000
    assert await until(
        upstream,
        lambda stats: stats.of("chat").cancelled >= 1 and stats.of("speech").cancelled >= 1,
    )
    answer = (await messages_of(session_id))[1]
    assert answer.text == interrupted["heard_text"]
    assert answer.is_interrupted
    asked = upstream.stats.last("chat")[-1]["body"]["messages"]
    assert interrupted["heard_text"] in asked[-2]["content"]
    assert "of it. And here comes one more sentence of it. And" not in asked[-2]["content"]


async def test_a_short_word_over_the_answer_is_ignored(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG))
    await change(assistant, interruption_sensitivity_ms=5000)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Tell me.")
        await client.wait("output.audio.segment")
        await client.say(speech)
        await client.wait("input.speech_stopped")
        await client.wait("output.audio.segment")
        assert client.of("output.audio.clear") == []
        await finish(client)
    assert upstream.stats.of("transcriptions").requests == 0


async def test_an_assistant_that_cannot_be_interrupted_goes_on(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    upstream.set_behaviour(Behaviour(reply="One two three four five six seven eight nine."))
    await change(assistant, bot_cannot_be_interrupted=True)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Tell me.")
        await client.wait("output.audio.segment")
        await client.say(speech)
        await client.wait("assistant.response.final")
        await finish(client)
    assert client.of("response.interrupted") == []
    assert len(client.of("input.speech_started")) >= 1


async def test_text_mode_sends_no_sound(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Hi")
        final = await client.wait("assistant.response.final")
        await finish(client)
    deltas = "".join(event["text"] for event in client.of("assistant.response.delta"))
    assert deltas == final["text"] == Behaviour().reply
    assert client.audio == b""
    assert not [name for name in client.types if name.startswith("output.audio")]
    assert upstream.stats.of("speech").requests == 0
    assert len(client.of("metrics.turn")) == 1


async def test_a_voice_question_in_text_mode_is_answered_in_text(
    connect_to: Connect, assistant: Assistant, alice_key: str, speech: bytes
) -> None:
    await change(assistant, voice_output_enabled=False)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech)
        await client.wait("transcript.final")
        await client.wait("assistant.response.final")
        await finish(client)
    assert client.audio == b""


@pytest.mark.parametrize("is_graceful", [False, True])
async def test_a_cancel_stops_now_or_after_the_sentence(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    is_graceful: bool,
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Tell me.")
        await client.wait("output.audio.segment")
        await client.send("response.cancel", graceful=is_graceful)
        interrupted = (await client.wait("response.interrupted"))["data"]
        await client.send("response.cancel")
        await client.send("input.text", text="Again.")
        await client.wait("output.audio.start", turn=2)
        await finish(client)
    assert interrupted["reason"] == "client_cancel"
    first = client.types[: client.types.index("response.interrupted")]
    if is_graceful:
        assert interrupted["heard_text"] == "This is the first sentence. "
        assert "output.audio.clear" not in first
        assert first[-1] == "output.audio.end"
    else:
        assert len(interrupted["heard_text"]) < len("This is the first sentence. ")
        assert first[-1] == "output.audio.clear"


async def test_a_graceful_cancel_of_text_ends_with_a_sentence(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=20))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Tell me.")
        await client.wait("assistant.response.delta")
        await client.send("response.cancel", graceful=True)
        interrupted = (await client.wait("response.interrupted"))["data"]
        await finish(client)
    assert interrupted["heard_text"].startswith("This is the first sentence.")
    assert len(interrupted["heard_text"]) < len(LONG) / 2


async def test_push_to_talk_ends_the_turn_by_hand(
    connect_to: Connect, assistant: Assistant, alice_key: str, speech: bytes
) -> None:
    await change(assistant, end_of_turn_silence_ms=3000)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech[: 640 * 70], silence_ms=0)
        await client.send("input.commit")
        await client.wait("input.speech_stopped")
        await client.wait("transcript.final")
        await client.wait("assistant.response.final")
        await finish(client)


async def test_push_to_talk_can_forget(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    await change(assistant, end_of_turn_silence_ms=3000)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech[: 640 * 70], silence_ms=0)
        await client.wait("input.speech_started")
        await client.send("input.clear")
        await client.send("input.commit")
        await client.say(b"", silence_ms=4000)
        await client.send("input.text", text="Hi")
        await client.wait("assistant.response.final")
        await finish(client)
    assert client.of("transcript.final") == []
    assert upstream.stats.of("transcriptions").finished == 0


async def test_a_turn_ends_when_the_microphone_goes_away(
    connect_to: Connect, assistant: Assistant, alice_key: str, speech: bytes
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech[: 640 * 70], silence_ms=0)
        await client.wait("transcript.final")
        await finish(client)


async def test_silence_and_noise_are_not_turns(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    upstream.script("transcriptions", Step(transcript=" "), Step(transcript="now words"))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(SILENCE * 100)
        await client.say(speech)
        await client.wait("input.speech_stopped")
        await client.say(speech)
        await client.wait("assistant.response.final")
        await finish(client)
    assert [event["text"] for event in client.of("transcript.final")] == ["now words"]


async def test_interim_transcripts_come_when_asked_for(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.realtime.listeners import Parrot

    monkeypatch.setattr("realtime.ear.recogniser", lambda spec: Parrot())
    await change(assistant, asr_interim_enabled=True, end_of_turn_silence_ms=3000)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech, silence_ms=0)
        delta = await client.wait("transcript.delta")
        await client.send("input.commit")
        final = await client.wait("transcript.final")
        await finish(client)
    assert delta["data"]["utterance_id"] == final["data"]["utterance_id"]
    assert final["text"].startswith("heard ")


async def test_the_recogniser_hears_what_came_before_the_detector(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.realtime.listeners import Parrot

    parrot = Parrot()
    monkeypatch.setattr("realtime.ear.recogniser", lambda spec: parrot)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(SILENCE * 50 + speech)
        await client.wait("transcript.final")
        await finish(client)
    heard = bytes(parrot.heard[0])
    assert speech[3200:40000] in heard
    lead = heard.index(speech[3200:40000])
    assert 32 * 150 <= lead <= 32 * 900


async def test_what_fails_is_said_and_the_call_goes_on(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    upstream.script("transcriptions", Step(status=500))
    upstream.script("chat", Step(status=401))
    upstream.script("speech", Step(status=500))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech)
        asr = (await client.wait("error"))["data"]
        await client.send("input.text", text="One")
        llm = (await client.wait("error"))["data"]
        await client.send("input.text", text="Two")
        tts = (await client.wait("error"))["data"]
        final = await client.wait("assistant.response.final")
        await client.send("input.text", text="Three")
        await client.wait("output.audio.end")
        session_id = await finish(client)
    assert (asr["code"], asr["stage"], asr["retryable"]) == ("asr.failed", "asr", True)
    assert (llm["code"], llm["stage"], llm["retryable"]) == ("llm.failed", "llm", False)
    assert llm["response_id"] == "resp_2"
    assert (tts["code"], tts["stage"], tts["retryable"]) == ("tts.failed", "tts", True)
    assert final["text"] == Behaviour().reply
    assert [event["data"]["turn"] for event in client.of("assistant.response.final")] == [3]
    failed = [(m.role, m.turn) for m in await messages_of(session_id) if m.error]
    assert failed == [("user", 1), ("assistant", 2), ("assistant", 3)]


async def test_without_a_recogniser_text_still_works(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("assistants.runtime._recogniser", lambda row: None)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.say(speech)
        await client.send("input.text", text="Hi")
        await client.wait("assistant.response.final")
        await finish(client)
    assert [event["data"]["code"] for event in client.of("error")] == ["asr.failed"]


async def test_without_a_model_it_says_so(
    connect_to: Connect, assistant: Assistant, alice_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assistants.runtime._llm", lambda row: None)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Hi")
        error = await client.wait("error")
        await finish(client)
    assert error["data"]["code"] == "llm.failed"


# --- tools ----------------------------------------------------------------------------------
OPTIONS = {"question": "Which?", "options": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]}


def asks(name: str, **arguments: Any) -> Step:
    return Step(tool_calls=[{"name": name, "arguments": arguments}])


async def give(assistant: Assistant, *tool_ids: str) -> None:
    await in_db(assistant.tools.set, Tool.objects.filter(pk__in=tool_ids))


async def test_a_choice_on_the_device_reaches_the_model(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "text_choice_prompt")
    upstream.script("chat", asks("text_choice_prompt", **OPTIONS), Step(text="You chose B."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Ask me.")
        call = (await client.wait("assistant.tool_call"))["tool_call"]
        answer = {
            "tool_call_id": call["id"],
            "name": "text_choice_prompt",
            "output": {"selected_id": "b", "selected_label": "B", "cancelled": False},
            "status": {"code": 200, "message": "ok"},
        }
        await client.send("tool_call.results", results=[answer])
        result = await client.wait("assistant.tool_result")
        await client.wait("assistant.response.final", text="You chose B.")
        await client.send("tool_call.results", results=[answer])
        error = await client.wait("error")
        session_id = await finish(client)
    assert call["executor"] == "client"
    assert call["wait_for_response"] is True
    assert call["timeout_ms"] == 60_000
    assert json.loads(call["function"]["arguments"])["question"] == "Which?"
    assert result["data"]["result"]["status"]["code"] == 200
    assert result["data"]["source"] == "client"
    assert error["data"]["code"] == "tool.unknown_call"
    assert '"selected_id": "b"' in str(upstream.stats.last("chat")[-1]["body"]).replace("\\", "")
    roles = [message.role for message in await messages_of(session_id)]
    assert roles == ["user", "assistant", "tool", "assistant"]


async def test_calls_that_are_refused_are_seen_and_stored(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "calculator")
    bad = {"name": "calculator", "arguments": "{oops"}
    upstream.script("chat", Step(tool_calls=[bad]), asks("nothing", a=1), Step(text="Sorry."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Go on.")
        await client.wait("assistant.response.final", text="Sorry.")
        calls = client.of("assistant.tool_call")
        results = client.of("assistant.tool_result")
        session_id = await finish(client)
    functions = [call["tool_call"]["function"] for call in calls]
    assert functions == [
        {"name": "calculator", "arguments": "{oops"},
        {"name": "nothing", "arguments": '{"a": 1}'},
    ]
    assert [each["data"]["result"]["status"]["code"] for each in results] == [400, 404]
    stored = await messages_of(session_id)
    roles = ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert [message.role for message in stored] == roles
    assert [message.tool_calls[0]["arguments"] for message in stored if message.tool_calls] == [
        "{oops",
        '{"a": 1}',
    ]


async def test_a_tool_that_is_not_waited_for_is_accepted_at_once(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "turn_on_camera")
    upstream.script("chat", asks("turn_on_camera"), Step(text="Done."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Camera on.")
        result = (await client.wait("assistant.tool_result"))["data"]["result"]
        await client.wait("assistant.response.final", text="Done.")
        await finish(client)
    assert result["status"] == {"code": 200, "message": "accepted"}
    assert len(client.of("assistant.tool_call")) == 1


async def test_a_silent_device_times_out_and_the_model_goes_on(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dataclasses import replace

    from assistants import runtime
    from tooling.specs import tool_spec

    monkeypatch.setattr(
        runtime,
        "tool_spec",
        lambda tool, language: replace(tool_spec(tool, language), timeout_ms=50),
    )
    await give(assistant, "text_choice_prompt")
    upstream.script("chat", asks("text_choice_prompt", **OPTIONS), Step(text="Never mind."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Ask me.")
        result = (await client.wait("assistant.tool_result"))["data"]["result"]
        error = (await client.wait("error"))["data"]
        await client.wait("assistant.response.final", text="Never mind.")
        await finish(client)
    assert result["status"]["code"] == 504
    assert error["code"] == "tool.timeout"


async def test_a_server_tool_runs_here(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "calculator")
    upstream.script("chat", asks("calculator", expression="6*7"), Step(text="It is 42."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="6*7?")
        call = (await client.wait("assistant.tool_call"))["tool_call"]
        result = (await client.wait("assistant.tool_result"))["data"]
        await client.wait("assistant.response.final", text="It is 42.")
        await finish(client)
    assert call["executor"] == result["source"] == "server"
    assert result["result"]["output"] == "42"


async def test_a_pending_choice_survives_an_interruption(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "text_choice_prompt")
    upstream.script("chat", asks("text_choice_prompt", **OPTIONS), Step(text="Fine."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Ask me.")
        call = (await client.wait("assistant.tool_call"))["tool_call"]
        await client.send("input.text", text="Something else.")
        await client.wait("assistant.response.final", text="Fine.")
        answer = {
            "tool_call_id": call["id"],
            "name": "text_choice_prompt",
            "output": "B",
            "status": {"code": 200, "message": "ok"},
        }
        await client.send("tool_call.results", results=[answer])
        result = (await client.wait("assistant.tool_result"))["data"]["result"]
        await finish(client)
    assert result["output"] == "B"
    assert client.of("error") == []


async def test_tool_calls_follow_the_opener(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    await give(assistant, "text_msg_prompt", "turn_on_camera")
    await change(
        assistant,
        first_turn_mode="bot_first",
        opener="Hi.",
        manual_opener_tool_calls=[
            {"toolName": "text_msg_prompt", "arguments": {"msg": "Welcome"}},
            {"toolName": "unknown_tool", "arguments": {}},
            {"toolName": "turn_on_camera", "arguments": {}},
        ],
    )
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.wait("assistant.tool_result")
        await client.wait("assistant.tool_result")
        await finish(client)
    wanted = [
        "assistant.response.final",
        "assistant.tool_call",
        "assistant.tool_result",
        "assistant.tool_call",
        "assistant.tool_result",
    ]
    start = client.types.index("assistant.response.final")
    assert client.types[start : start + 5] == wanted
    names = [e["tool_call"]["function"]["name"] for e in client.of("assistant.tool_call")]
    assert names == ["text_msg_prompt", "turn_on_camera"]


# --- start and overrides --------------------------------------------------------------------
async def test_variables_and_overrides_reach_the_model(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(
            channel="debug",
            dynamicVariables={"who": "Ada"},
            overrides={
                "systemPrompt": "You talk to {{who}}.",
                "greeting": "Hey {{who}}!",
                "firstTurnMode": "bot_first",
                "output": {"mode": "text"},
            },
        )
        config = await client.wait("config.resolved")
        greeting = await client.wait("assistant.response.final")
        await client.send("input.text", text="Hi")
        await client.wait("assistant.response.final")
        session_id = await finish(client)
    assert greeting["text"] == "Hey Ada!"
    assert config["config"] == {
        "channel": "debug",
        "output": {"mode": "text"},
        "tools": {"enabled": False, "count": 0},
        "tracks": {"audio_in": "audio_in", "audio_out": "audio_out", "control": "control"},
    }
    assert "You talk to Ada." in str(upstream.stats.last("chat")[-1]["body"])
    assert (await call_of(session_id)).source == "debug"


@pytest.mark.parametrize(
    "overrides",
    [{"tools": ["calculator"]}, {"knowledgeBaseId": "somebodys"}, {"voice": "x"}],
)
async def test_overrides_cannot_widen_an_assistant(
    connect_to: Connect, assistant: Assistant, alice_key: str, overrides: dict[str, Any]
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.send("session.start", metadata={"overrides": overrides})
        error = await client.wait("error")
        await client.start()
        await finish(client)
    assert error["data"]["code"] == "protocol.invalid_override"


async def test_the_order_of_messages_is_kept(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.send("input.text", text="too early")
        await client.wait("error", code="protocol.order")
        await client.socket.send(bytes(640))
        await client.wait("error", code="protocol.order")
        await client.socket.send("{")
        await client.wait("error", code="protocol.invalid_json")
        await client.send("hello", version="v2")
        await client.wait("error", code="protocol.version_unsupported")
        await client.send("hello", version="v1")
        assert (await client.wait("hello.ack"))["version"] == "v1"
        await client.start()
        await client.send("session.start")
        await client.wait("error", code="protocol.order")
        await client.socket.send(bytes(641))
        await client.wait("error", code="audio.invalid_pcm")
        await client.socket.send(bytes(642))
        await client.wait("error", code="audio.frame_size_mismatch")
        await client.send("input.text", text="Hi")
        await client.wait("assistant.response.final")
        await finish(client)


@pytest.mark.parametrize("frame", ["x" * 70_000, bytes(640 * 103)])
async def test_frames_that_are_too_big_end_the_call(
    connect_to: Connect, assistant: Assistant, alice_key: str, frame: str | bytes
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.socket.send(frame)
        assert await client.closed() == 1009
    assert "error" in client.types


async def test_a_silent_socket_is_closed(
    connect_to: Connect, assistant: Assistant, alice_key: str, settings: Any
) -> None:
    settings.VOICE_INACTIVITY_S = 1
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        assert await client.closed() == 4408
    assert client.events[-1]["type"] == "session.stopped"
    assert client.events[-1]["reason"] == "inactivity"


async def test_any_frame_counts_as_activity(
    connect_to: Connect, assistant: Assistant, alice_key: str, settings: Any
) -> None:
    settings.VOICE_INACTIVITY_S = 1
    loop = asyncio.get_running_loop()
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        started = loop.time()
        while loop.time() - started < 2:
            await client.socket.send(SILENCE)
            await client.socket.ping()
            await asyncio.sleep(0.1)
        await client.send("input.text", text="Hi")
        await client.wait("assistant.response.final")


async def test_heartbeats_come(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "TICK_S", 0.05)
    monkeypatch.setattr(pipeline, "HEARTBEAT_EVERY_S", 0.1)
    async with connect_to(assistant, key=alice_key) as client:
        await client.wait("heartbeat")


async def test_a_lost_client_leaves_a_closed_call(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=50, tts_speed=1))
    async with connect_to(assistant, key=alice_key) as client:
        session_id = (await client.start())["sessionId"]
        await client.send("input.text", text="Tell me.")
        await client.wait("output.audio.segment")
        client.socket.transport.abort()
    assert await until(upstream, lambda stats: stats.of("chat").cancelled == 1)
    await pipeline.close_all()
    call = await call_of(session_id)
    assert call.status == CallStatus.CONNECTED
    assert call.ended_at is not None
    assert [m.is_interrupted for m in await messages_of(session_id)] == [False, True]


async def test_a_call_that_never_starts_was_missed(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.send("hello", version="v1")
        session_id = (await client.wait("hello.ack"))["sessionId"]
    await pipeline.close_all()
    assert (await call_of(session_id)).status == CallStatus.MISSED


async def test_a_call_ends_also_when_its_cancellation_gets_lost(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renewing = asyncio.Event()

    async def renew(slot: Slot) -> None:
        """Returns where it should be cancelled, as the client of Redis may."""
        renewing.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(Slot, "renew", renew)
    monkeypatch.setattr(pipeline, "TICK_S", 0.01)
    monkeypatch.setattr(pipeline, "RENEW_EVERY_S", 0.01)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        (call,) = pipeline._calls
        async with asyncio.timeout(PATIENCE_S):
            await renewing.wait()
            await finish(client)
            await call.ended.wait()


async def test_a_server_that_stops_says_so(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        closing = asyncio.create_task(pipeline.close_all())
        assert await client.closed() == 1001
        await closing
    assert client.events[-1]["reason"] == "server_shutdown"


async def test_what_breaks_inside_ends_the_call_with_1011(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        session_id = (await client.start())["sessionId"]
        monkeypatch.setattr("realtime.session.step", lambda *args: 1 / 0)
        await client.send("input.text", text="Hi")
        assert await client.closed() == 1011
    await pipeline.close_all()
    assert client.events[-1]["data"]["code"] == "internal"
    assert "ZeroDivision" not in json.dumps(client.events[-1])
    call = await call_of(session_id)
    assert (call.status, call.error_code) == (CallStatus.FAILED, "internal")


async def test_what_breaks_between_events_says_so_before_the_1011(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "TICK_S", 0.01)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        monkeypatch.setattr("realtime.ear.Ear.end_stalled_turn", lambda ear: 1 / 0)
        assert await client.closed() == 1011
    assert client.events[-1]["type"] == "error"
    assert client.events[-1]["data"]["code"] == "internal"


async def test_a_reply_that_breaks_while_it_sounds_is_cut_off(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, tts_speed=2))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Tell me.")
        await client.wait("output.audio.segment")
        monkeypatch.setattr("realtime.player.Player.begin_segment", lambda *_args: 1 / 0)
        interrupted = (await client.wait("response.interrupted"))["data"]
        monkeypatch.undo()
        upstream.set_behaviour(Behaviour(reply="Fine."))
        at = len(client.seen)
        await client.send("input.text", text="Again.")
        await client.wait("assistant.response.final", text="Fine.")
        await finish(client)
    assert interrupted["reason"] == "failed"
    cut = [name for name in client.types if name in ("error", "output.audio.clear")]
    assert cut == ["error", "output.audio.clear"]
    second = next(i for i, e in enumerate(client.seen) if isinstance(e, dict) and i >= at)
    assert not any(isinstance(item, bytes) for item in client.seen[at:second])


async def test_a_voice_that_fails_in_the_last_sentence_ends_the_reply(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, tts_speed=1))
    upstream.script("speech", Step(break_after=3))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        await client.send("input.text", text="Tell me.")
        await client.wait("output.audio.start")
        await client.send("response.cancel", graceful=True)
        await client.wait("response.interrupted")
        await client.send("input.text", text="Again.")
        await client.wait("output.audio.start", turn=2)
        await finish(client)


class Clock:
    """The time, and more of it."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    def time(self) -> float:
        return time.time()


async def test_too_many_texts_are_dropped(
    connect_to: Connect, assistant: Assistant, alice_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TEXTS_PER_MINUTE", 2)
    clock = Clock()
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        monkeypatch.setattr(pipeline, "time", clock)
        for text in ("One", "Two", "Three"):
            await client.send("input.text", text=text)
        error = (await client.wait("error"))["data"]
        await client.wait("assistant.response.final", turn=2)
        clock.ahead_s += 60
        await client.send("input.text", text="Four")
        await client.wait("assistant.response.final", turn=3)
        await finish(client)
    assert (error["code"], error["retryable"]) == ("rate_limit.turns", True)


async def test_a_text_has_an_end(connect_to: Connect, assistant: Assistant, alice_key: str) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="长" * 8001)
        await client.wait("error", code="protocol.invalid_message")
        await client.send("input.text", text="长" * 8000)
        await client.wait("assistant.response.final", turn=1)
        await finish(client)
