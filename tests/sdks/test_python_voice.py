"""Conversations of the Python client, with the real product over real sockets."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any

import pytest
from ai_video_assistant import (
    AsyncAIVideoAssistant,
    Conversation,
    Reconnect,
    ToolError,
    errors,
    events,
    models,
)
from ai_video_assistant.audio import Playback
from ai_video_assistant.voice import conversation as conversation_module
from ai_video_assistant.voice import socket as socket_module

from providers.fakes import Behaviour, FakeUpstream
from providers.fakes.behaviour import Step
from tests.browser.speech import spoken
from tests.sdks.conftest import Server
from tests.sdks.proxy import Proxy, proxy_to

PATIENCE_S = 40.0
LONG = "word " * 60


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncAIVideoAssistant]:
    async with AsyncAIVideoAssistant(api_url=server.api_url, api_key=server.key) as client:
        yield client


async def until(read: AsyncIterator[events.Event], kind: type[events.Event]) -> Any:
    """The next event of a kind."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in read:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__} came")


def pcm(text: str) -> bytes:
    """A sentence as sound."""
    with wave.open(BytesIO(spoken(text))) as file:
        frames: bytes = file.readframes(file.getnframes())
    return frames


# --- talking -------------------------------------------------------------------------------------
async def test_it_answers_texts_one_after_the_other(client: AsyncAIVideoAssistant) -> None:
    ann = await client.assistants.create(name="Ann", language="en", tools=["calculator"])
    async with client.connect(ann.id, output="text", source="tests") as conversation:
        assert await conversation.send_text("What is 6 * 7?") == "6 times 7 is 42."
        assert await conversation.send_text("Thank you") == "You are welcome."
        session_id = conversation.session_id
    async with asyncio.timeout(PATIENCE_S):
        # What was said is written down behind the conversation's back.
        while len((call := await client.history.get(session_id)).transcripts) < 4:
            await asyncio.sleep(0)
    assert [entry.speaker for entry in call.transcripts] == ["human", "ai", "human", "ai"]


async def test_an_opener_is_not_taken_for_a_reply(client: AsyncAIVideoAssistant) -> None:
    ann = await client.assistants.create(name="Ann", language="en", opener="Welcome to the shop.")
    async with client.connect(ann.id, output="text") as conversation:
        assert await conversation.send_text("Thank you") == "You are welcome."
    async with client.connect(ann.id, output="text") as conversation:
        assert (await until(aiter(conversation), events.ResponseFinal)).text.startswith("Welcome")


async def test_it_fills_in_variables_and_overrides(client: AsyncAIVideoAssistant) -> None:
    ann = await client.assistants.create(name="Ann", language="en")
    async with client.connect(
        ann.id,
        variables={"guest": "Mary"},
        overrides={"greeting": "Hello {{guest}}.", "output": {"mode": "text"}},
    ) as conversation:
        assert (await until(aiter(conversation), events.ResponseFinal)).text == "Hello Mary."


async def test_it_is_heard_and_answers_with_sound(
    client: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    vendor.set_behaviour(Behaviour(reply="I heard you.", transcript="hello there"))
    ear = await client.asr.create(
        name="ear", vendor="openai_compatible", base_url=vendor.base_url, api_key="k", language="en"
    )
    ann = await client.assistants.create(name="Ann", language="en", asr_model_id=ear.id)
    sound = pcm("hello there")
    async with client.connect(ann.id) as conversation:
        # Cut anywhere, as a microphone does.
        for start in range(0, len(sound), 998):
            await conversation.send_audio(sound[start : start + 998])
        await conversation.commit()
        read = aiter(conversation)
        assert (await until(read, events.TranscriptFinal)).text == "hello there"
        chunk = await until(read, events.AudioChunk)
        assert chunk.tts_id
        assert len(chunk.pcm) % 640 == 0
        assert (await until(read, events.ResponseFinal)).text == "I heard you."


async def test_a_text_interrupts_the_reply_before_it(
    client: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    vendor.set_behaviour(Behaviour(reply=LONG, llm_token_ms=30))
    ann = await client.assistants.create(name="Ann", language="en")
    async with client.connect(ann.id, output="text") as conversation:
        first = asyncio.create_task(conversation.send_text("Tell me a lot"))
        await until(aiter(conversation), events.ResponseDelta)
        vendor.set_behaviour(Behaviour(reply="Short."))
        assert await conversation.send_text("Stop that") == "Short."
        with pytest.raises(errors.ReplyInterruptedError) as interrupted:
            await first
    assert interrupted.value.reason == "input_text"
    assert interrupted.value.text.startswith("word")


async def test_a_reply_can_be_cancelled(
    client: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    vendor.set_behaviour(Behaviour(reply=LONG, llm_token_ms=30))
    ann = await client.assistants.create(name="Ann", language="en")
    async with client.connect(ann.id, output="text") as conversation:
        reply = asyncio.create_task(conversation.send_text("Tell me a lot"))
        await until(aiter(conversation), events.ResponseDelta)
        await conversation.cancel()
        with pytest.raises(errors.ReplyInterruptedError) as interrupted:
            await reply
    assert interrupted.value.reason == "client_cancel"


async def test_a_model_that_fails_is_an_error_and_no_end(
    client: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    ann = await client.assistants.create(name="Ann", language="en", llm_model_id=model.id)
    vendor.script("chat", Step(status=400, body={"error": {"message": "no"}}))
    async with client.connect(ann.id, output="text") as conversation:
        with pytest.raises(errors.ReplyFailedError) as failed:
            await conversation.send_text("Hello")
        assert failed.value.code == "llm.failed"
        assert await conversation.send_text("Hello again") == vendor.behaviour.reply


async def test_a_reply_that_does_not_come_is_given_up(
    client: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    ann = await client.assistants.create(name="Ann", language="en", llm_model_id=model.id)
    vendor.script("chat", Step(text="One. Two.", hang_after=1))
    async with client.connect(ann.id, output="text", reply_timeout=0.5) as conversation:
        with pytest.raises(errors.ReplyTimeoutError):
            await conversation.send_text("Hello")


async def test_a_text_behind_one_that_was_given_up_gets_its_own_reply(
    client: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    ann = await client.assistants.create(name="Ann", language="en", llm_model_id=model.id)
    async with client.connect(ann.id, output="text") as conversation:
        for given_up in ({"timeout": 0.3}, {}):
            vendor.script("chat", Step(text="One. Two.", hang_after=0), Step(text="Second."))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(conversation.send_text("First", **given_up), 0.6)
            assert await conversation.send_text("Second") == "Second."


@pytest.mark.parametrize("text", ["", "  ", "x" * 8001])
async def test_a_text_that_cannot_be_sent_is_refused_here(
    client: AsyncAIVideoAssistant, text: str
) -> None:
    ann = await client.assistants.create(name="Ann", language="en")
    async with client.connect(ann.id, output="text") as conversation:
        with pytest.raises(errors.ConfigurationError):
            await conversation.send_text(text)
        assert await conversation.send_text("Thank you") == "You are welcome."


async def test_iterating_ends_with_the_conversation(client: AsyncAIVideoAssistant) -> None:
    ann = await client.assistants.create(name="Ann", language="en")
    async with client.connect(ann.id, output="text") as conversation:
        await conversation.stop("enough")
        seen = [event async for event in conversation]
        assert [event async for event in conversation.events()] == []
        with pytest.raises(errors.ConversationClosedError):
            await conversation.send_text("Hello?")
    assert isinstance(seen[0], events.SessionStarted)
    assert isinstance(seen[-1], events.SessionStopped)
    assert seen[-1].reason == "enough"


# --- tools ---------------------------------------------------------------------------------------
async def test_it_runs_tools_of_the_client(
    client: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    lights = await client.tools.resources.create(
        name="Lights",
        category="system",
        wait_for_response=True,
        parameter_schema={"type": "object", "properties": {"room": {"type": "string"}}},
    )
    ann = await client.assistants.create(name="Ann", llm_model_id=model.id, tools=[lights.id])
    call = {"name": lights.id, "arguments": {"room": "hall"}}

    def fail(room: str) -> None:
        raise ToolError(f"no light in the {room}")

    def crash(room: str) -> None:
        raise RuntimeError("a secret of the program")

    async def switch(room: str) -> dict[str, Any]:
        return {"room": room, "on": True}

    def wrong() -> None:
        raise AssertionError

    outcomes: list[tuple[int, str, Any]] = []
    async with client.connect(ann.id, output="text") as conversation:
        read = aiter(conversation)
        for function in (switch, lambda room: f"{room}!", fail, crash, wrong, None):
            if function is not None:
                conversation.tool(lights.id)(function)
            vendor.script("chat", Step(tool_calls=[call]), Step(text="Done."))
            assert await conversation.send_text("Lights!") == "Done."
            result = await until(read, events.ToolResult)
            outcomes.append((result.code, result.message, result.output))
    assert outcomes[0][0] == outcomes[1][0] == 200
    assert "hall" in outcomes[0][2]
    assert outcomes[1][2] == "hall!"
    assert outcomes[2][:2] == (500, "no light in the hall")
    assert outcomes[3][:2] == (500, "The tool failed.")
    assert outcomes[4][0] == 400
    async with client.connect(ann.id, output="text") as conversation:
        vendor.script("chat", Step(tool_calls=[call]), Step(text="Done."))
        await conversation.send_text("Lights!")
        assert (await until(aiter(conversation), events.ToolResult)).code == 501


async def test_a_choice_may_be_made_in_writing(
    client: AsyncAIVideoAssistant, model: models.Llm, vendor: FakeUpstream
) -> None:
    ann = await client.assistants.create(
        name="Ann", language="en", llm_model_id=model.id, tools=["text_choice_prompt"]
    )
    question = {"question": "Tea or coffee?", "options": ["Tea", "Coffee"]}
    vendor.script(
        "chat",
        Step(tool_calls=[{"name": "text_choice_prompt", "arguments": question}]),
        Step(text="Here is your tea."),
    )
    is_asked, taken_back = asyncio.Event(), asyncio.Event()

    async def ask(question: str, options: list[Any]) -> None:
        is_asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            taken_back.set()

    async with client.connect(
        ann.id, output="text", tools={"text_choice_prompt": ask}
    ) as conversation:
        order = asyncio.create_task(conversation.send_text("A drink, please"))
        async with asyncio.timeout(PATIENCE_S):
            await is_asked.wait()
        answer = asyncio.create_task(conversation.send_text("Tea"))
        async with asyncio.timeout(PATIENCE_S):
            assert await order == await answer == "Here is your tea."
    assert taken_back.is_set()


# --- refusals ------------------------------------------------------------------------------------
async def test_a_wrong_key_and_an_unknown_assistant_are_told_apart(
    server: Server, client: AsyncAIVideoAssistant
) -> None:
    ann = await client.assistants.create(name="Ann", language="en")
    stranger = AsyncAIVideoAssistant(api_url=server.api_url, api_key="sk-gw-wrong")
    with pytest.raises(errors.ConversationAuthError) as refused:
        await stranger.connect(ann.id).__aenter__()
    assert (refused.value.code, refused.value.close_code) == ("auth.invalid_api_key", 4401)
    with pytest.raises(errors.AssistantNotFoundError) as unknown:
        await client.connect("nobody").__aenter__()
    assert (unknown.value.code, unknown.value.close_code) == ("assistant.not_found", 4404)
    async with client.connect(ann.id, output="text") as conversation:
        assert conversation.session_id


async def test_a_key_without_the_right_to_talk_is_refused(
    server: Server, client: AsyncAIVideoAssistant
) -> None:
    ann = await client.assistants.create(name="Ann", language="en")
    key = await client.api_keys.create(name="silent", scopes=["manage"])
    silent = AsyncAIVideoAssistant(api_url=server.api_url, api_key=key.key)
    with pytest.raises(errors.ConversationAuthError) as refused:
        await silent.connect(ann.id).__aenter__()
    assert refused.value.close_code == 4403


async def test_an_override_that_is_none_is_told_of_before_anything_is_said(
    client: AsyncAIVideoAssistant,
) -> None:
    ann = await client.assistants.create(name="Ann", language="en")
    with pytest.raises(errors.ProtocolError) as refused:
        await client.connect(ann.id, overrides={"colour": "red"}, timeout=10).__aenter__()
    assert refused.value.code == "protocol.invalid_override"


async def test_nobody_there_is_an_error() -> None:
    client = AsyncAIVideoAssistant(api_url="http://localhost:9", api_key="k")
    conversation = client.connect("ann")
    with pytest.raises(errors.APIConnectionError) as lost:
        await conversation.__aenter__()
    assert isinstance(lost.value, errors.ConversationLostError)
    assert lost.value.code == "connection.failed"
    with pytest.raises(errors.ConversationLostError):
        await conversation.send_text("Hello?")


async def test_an_address_without_a_voice_socket_is_no_matter_of_keys(server: Server) -> None:
    client = AsyncAIVideoAssistant(
        api_url=server.api_url, ws_url=f"{server.ws_url}/console", api_key=server.key
    )
    with pytest.raises(errors.ProtocolError, match=r"/console/ws .* is the address right"):
        await client.connect("ann").__aenter__()


async def test_an_id_that_is_missing_is_told_of_before_anybody_is_asked(
    client: AsyncAIVideoAssistant,
) -> None:
    with pytest.raises(errors.ConfigurationError, match="id is missing"):
        client.connect("")


# --- a network that fails ------------------------------------------------------------------------
@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with proxy_to(server.api_url) as proxy:
        yield proxy


@pytest.fixture
async def far(server: Server, proxy: Proxy) -> AsyncIterator[AsyncAIVideoAssistant]:
    """A client behind the proxy."""
    async with AsyncAIVideoAssistant(api_url=proxy.http_url, api_key=server.key) as client:
        yield client


async def test_a_conversation_survives_its_connection(
    far: AsyncAIVideoAssistant, proxy: Proxy, model: models.Llm, vendor: FakeUpstream
) -> None:
    vendor.set_behaviour(Behaviour(reply=LONG, llm_token_ms=30))
    ann = await far.assistants.create(name="Ann", language="en")
    async with far.connect(ann.id, output="text") as conversation:
        session_id = conversation.session_id
        for _ in range(2):
            read = conversation.events()
            reply = asyncio.create_task(conversation.send_text("Tell me a lot"))
            await until(read, events.ResponseDelta)
            proxy.cut()
            await until(read, events.Reconnecting)
            assert isinstance(await until(read, events.Reconnected), events.Reconnected)
            async with asyncio.timeout(PATIENCE_S):
                assert (await reply).strip() == LONG.strip()
        assert conversation.session_id == session_id
        await conversation.stop()
        seen = [event async for event in conversation]
    own = (events.Reconnecting, events.Reconnected)
    numbers = [event.seq for event in seen if not isinstance(event, own)]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_sound_goes_on_where_the_connection_broke(
    far: AsyncAIVideoAssistant, proxy: Proxy, model: models.Llm, vendor: FakeUpstream
) -> None:
    vendor.set_behaviour(Behaviour(reply="From nine to five."))
    tone = await far.voices.create(
        name="tone",
        vendor="openai_compatible",
        base_url=vendor.base_url,
        api_key="k",
        language="en",
    )
    ann = await far.assistants.create(name="Ann", language="en", voice=tone.id)

    async def heard(*, is_cut: bool) -> bytes:
        playback, sound = Playback(), b""
        async with far.connect(ann.id) as conversation:
            reply = asyncio.create_task(conversation.send_text("When is it open?"))
            async with asyncio.timeout(PATIENCE_S):
                async for event in conversation:
                    playback.note(event)
                    if isinstance(event, events.AudioChunk) and is_cut:
                        # A little of what came was played, and the rest waits.
                        sound, is_cut = playback.take(320), False
                        proxy.cut()
                    if isinstance(event, events.ResponseFinal):
                        break
            await reply
        while not playback.is_empty:
            sound += playback.take(320)
        return sound

    whole = await heard(is_cut=False)
    assert len(whole) > 16_000
    assert await heard(is_cut=True) == whole


async def test_a_network_that_falls_silent_is_noticed_and_what_was_on_its_way_is_said_again(
    far: AsyncAIVideoAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_module, "CLOSE_TIMEOUT_S", 0.2)
    ann = await far.assistants.create(name="Ann", language="en")
    async with far.connect(ann.id, output="text", ping_interval=0.3) as conversation:
        assert await conversation.send_text("Thank you") == "You are welcome."
        read = conversation.events()
        proxy.freeze()
        reply = asyncio.create_task(conversation.send_text("Thank you"))
        await until(read, events.Reconnecting)
        proxy.cut()
        await until(read, events.Reconnected)
        assert await reply == "You are welcome."


ECHO = Behaviour(reply="You said: {text}.")


async def lose_texts(conversation: Conversation, proxy: Proxy, *, moment: str) -> list[str]:
    """Says "One" and "Two" in a connection that breaks: what came of them.

    moment: "unread" by the server; "unanswered", as no word of it comes back; "half", the one read
    and in the middle of its reply, the other unread.
    """
    read = conversation.events()

    def say(text: str) -> asyncio.Task[str]:
        return asyncio.create_task(conversation.send_text(text))

    if moment == "half":
        replies = [say("One")]
        await until(read, events.ResponseDelta)
        proxy.freeze()
        replies.append(say("Two"))
    else:
        proxy.freeze(only_back=moment == "unanswered")
        replies = [say("One"), say("Two")]
    await proxy.held()
    proxy.cut()
    await until(read, events.Reconnected)
    outcomes = await asyncio.gather(*replies, return_exceptions=True)
    return [each if isinstance(each, str) else type(each).__name__ for each in outcomes]


async def asked_in(client: AsyncAIVideoAssistant, session_id: str, count: int) -> list[str]:
    """What the user said in a conversation, as soon as it is so much."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            entries = (await client.history.get(session_id)).transcripts
            asked = [entry.content for entry in entries if entry.speaker == "human"]
            if len(asked) >= count:
                return asked


@pytest.mark.parametrize("moment", ["unread", "unanswered", "half"])
async def test_what_is_said_as_the_connection_breaks_is_answered_once(
    far: AsyncAIVideoAssistant,
    proxy: Proxy,
    model: models.Llm,
    vendor: FakeUpstream,
    moment: str,
) -> None:
    vendor.set_behaviour(ECHO)
    ann = await far.assistants.create(name="Ann", language="en", llm_model_id=model.id)
    async with asyncio.timeout(PATIENCE_S), far.connect(ann.id, output="text") as conversation:
        assert await conversation.send_text("Zero") == "You said: Zero."
        if moment == "half":
            vendor.script("chat", Step(text="I begin to say", hang_after=2))
        one, two = await lose_texts(conversation, proxy, moment=moment)
        # As where nothing breaks, the second interrupts the first, and is answered with it.
        assert one == "ReplyInterruptedError"
        assert two == ("You said: Two." if moment == "half" else "You said: One Two.")
        assert await conversation.send_text("Three") == "You said: Three."
        session_id = conversation.session_id
    assert await asked_in(far, session_id, 4) == ["Zero", "One", "Two", "Three"]


async def test_a_text_is_said_again_as_often_as_the_connection_breaks(
    far: AsyncAIVideoAssistant, proxy: Proxy, model: models.Llm, vendor: FakeUpstream
) -> None:
    vendor.set_behaviour(ECHO)
    ann = await far.assistants.create(name="Ann", language="en", llm_model_id=model.id)
    async with asyncio.timeout(PATIENCE_S), far.connect(ann.id, output="text") as conversation:
        read = conversation.events()
        proxy.freeze()
        reply = asyncio.create_task(conversation.send_text("One"))
        await proxy.held()
        proxy.cut()
        for _ in range(3):
            # Whether it was received this time, only the server knows.
            await until(read, events.Reconnected)
            proxy.freeze()
            reporting = asyncio.create_task(conversation.report_played("none", 0))
            await proxy.held()
            proxy.cut()
            await reporting
        assert await reply == "You said: One."
        session_id = conversation.session_id
    assert await asked_in(far, session_id, 1) == ["One"]


async def test_what_a_tool_has_done_is_told_though_the_connection_breaks(
    far: AsyncAIVideoAssistant, proxy: Proxy, model: models.Llm, vendor: FakeUpstream
) -> None:
    lights = await far.tools.resources.create(
        name="Lights", category="system", wait_for_response=True
    )
    ann = await far.assistants.create(name="Ann", llm_model_id=model.id, tools=[lights.id])
    vendor.script("chat", Step(tool_calls=[{"name": lights.id, "arguments": {}}]), Step(text="On."))
    calls = 0

    def switch() -> str:
        nonlocal calls
        calls += 1
        proxy.freeze()
        return "on"

    async with asyncio.timeout(PATIENCE_S), far.connect(ann.id, output="text") as conversation:
        conversation.tool(lights.id)(switch)
        reply = asyncio.create_task(conversation.send_text("Light, please"))
        await proxy.held()
        proxy.cut()
        assert await reply == "On."
    assert calls == 1
    messages = vendor.stats.last("chat")[-1]["body"]["messages"]
    (told,) = [each["content"] for each in messages if each["role"] == "tool"]
    assert "\non\n" in told


async def test_a_server_that_is_gone_ends_conversations_for_everybody_who_waits(
    far: AsyncAIVideoAssistant, proxy: Proxy, vendor: FakeUpstream, model: models.Llm
) -> None:
    vendor.set_behaviour(Behaviour(reply=LONG, llm_token_ms=30))
    ann = await far.assistants.create(name="Ann", language="en")
    async with AsyncExitStack() as stack:
        conversations, replies = [], []
        for reconnect in (False, Reconnect(within_s=1.5)):
            connecting = far.connect(ann.id, output="text", reconnect=reconnect)
            conversation = await stack.enter_async_context(connecting)
            read = conversation.events()
            replies.append(asyncio.create_task(conversation.send_text("Tell me a lot")))
            conversations.append(conversation)
            await until(read, events.ResponseDelta)
        proxy.is_refusing = True
        proxy.cut()
        async with asyncio.timeout(PATIENCE_S):
            for conversation, reply in zip(conversations, replies, strict=True):
                with pytest.raises(errors.ConversationLostError):
                    await reply
                with pytest.raises(errors.ConversationLostError):
                    async for _event in conversation:
                        pass
                with pytest.raises(errors.ConversationLostError):
                    await conversation.send_text("Are you there?")


async def test_leaving_does_not_wait_for_a_network_that_is_gone(
    far: AsyncAIVideoAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_module, "STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr(socket_module, "CLOSE_TIMEOUT_S", 0.2)
    ann = await far.assistants.create(name="Ann", language="en")
    async with asyncio.timeout(PATIENCE_S):
        async with far.connect(ann.id, output="text") as conversation:
            assert isinstance(conversation, Conversation)
            proxy.freeze()


async def test_a_conversation_is_entered_before_it_is_used(client: AsyncAIVideoAssistant) -> None:
    conversation = client.connect("ann")
    with pytest.raises(errors.ConfigurationError):
        await conversation.send_text("Hello")
