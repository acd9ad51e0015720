"""Calls whose socket is lost, and that go on at another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from accounts import tickets
from accounts.models import User
from accounts.principals import principal_for_user
from assistants.models import Assistant
from conversations.models import Call, CallStatus
from core.db import in_db
from providers.fakes import Behaviour, FakeUpstream, Step
from realtime import backlog, pipeline
from tests.conftest import make_key, make_user
from tests.realtime.conftest import PATIENCE_S, Client, Connect, Event, change
from tests.realtime.test_calls import (
    LONG,
    OPTIONS,
    Clock,
    asks,
    call_of,
    finish,
    give,
    messages_of,
    until,
)

RESUME: dict[str, Any] = {"capabilities": ["resume", "playback_ack"]}
TEXT_ONLY: dict[str, Any] = {"overrides": {"output": {"mode": "text"}}}


@pytest.fixture
async def bob_key(transactional_db: None) -> str:
    return await in_db(lambda: make_key(make_user("bob")))


async def lose(client: Client, *, code: int | None = None) -> None:
    """The client's network is gone, or it closes with a code; the server has noticed."""
    (call,) = pipeline._calls
    if code is None:
        client.socket.transport.abort()
    else:
        await client.socket.close(code)
    await eventually(lambda: call._line.is_lost or call.ended.is_set())


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.005)


def wish(client: Client, **fields: Any) -> Event:
    """What the client says to go on after all that it got."""
    offers = [event for event in client.events if "resume_token" in event["data"]]
    return {
        "session_id": offers[-1]["sessionId"],
        "resume_token": offers[-1]["data"]["resume_token"],
        "last_seq": client.events[-1]["seq"],
        **fields,
    }


async def resume(client: Client, before: Client, **fields: Any) -> Event:
    await client.send("session.resume", **wish(before, **fields))
    return await client.wait("session.resumed")


async def refused(client: Client, wanted: Event) -> None:
    """The wish is refused in the one way in which all such wishes are."""
    await client.send("session.resume", **wanted)
    assert await client.closed() == 4410
    (error,) = client.events
    assert (error["type"], error["data"]["code"]) == ("error", "session.resume_expired")


def assert_no_gap(*clients: Client) -> None:
    """All numbers came, in order; `session.resumed` takes none."""
    events = [event for client in clients for event in client.events]
    numbers = [event["seq"] for event in events if event["type"] != "session.resumed"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({event["sessionId"] for event in events}) == 1


async def test_only_who_asks_for_it_can_resume(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        started = await client.start(capabilities=["playback_ack"])
        await finish(client)
    assert "resume_token" not in started["data"]
    async with connect_to(assistant, key=alice_key) as client:
        started = (await client.start(**RESUME))["data"]
        await finish(client)
    assert len(started["resume_token"]) >= 24
    assert started["resume_within_s"] == 60


async def test_a_written_reply_goes_on_and_nothing_is_missed(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=10))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(channel="web", **RESUME, **TEXT_ONLY)
        await client.send("input.text", text="Tell me.")
        await client.wait("assistant.response.delta")
        await lose(client)
    (call,) = pipeline._calls
    await eventually(lambda: call._state.reply is None)
    async with connect_to(assistant, key=alice_key) as again:
        resumed = await resume(again, client)
        final = await again.wait("assistant.response.final")
        assert resumed["data"]["missed"] == len(again.events) - 1
        await again.send("input.text", text="More.")
        await again.wait("assistant.response.final", turn=2)
        session_id = await finish(again)
    assert resumed["seq"] == client.events[-1]["seq"]
    assert resumed["data"]["session_id"] == resumed["sessionId"] == session_id
    assert resumed["data"]["resume_within_s"] == 60
    assert_no_gap(client, again)
    deltas = [*client.of("assistant.response.delta"), *again.of("assistant.response.delta")]
    assert "".join(e["text"] for e in deltas if e["data"]["turn"] == 1) == final["text"] == LONG
    roles = [(m.role, m.text, m.is_interrupted) for m in await messages_of(session_id)]
    assert roles[:2] == [("user", "Tell me.", False), ("assistant", LONG, False)]
    assert len(roles) == 4
    assert await in_db(Call.objects.count) == 1
    row = await call_of(session_id)
    assert (row.status, row.error_code) == (CallStatus.CONNECTED, "")
    assert row.metadata == {"channel": "web", "resumed": 1}


async def test_a_spoken_reply_goes_on_where_it_was_heard(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply="One two three four five. Six seven eight nine."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await client.send("input.text", text="Count.")
        while len(client.audio) < 32 * 700:
            await client.wait_audio()
        await client.send("output.audio.played", tts_id="tts_1", played_ms=400)
        (call,) = pipeline._calls
        player = call._player
        assert player is not None
        await eventually(lambda: player._playout.surely_heard_ms(-1) == 400)
        await lose(client)
    assert player.heard()[0] == 400
    async with connect_to(assistant, key=alice_key) as again:
        resumed = await resume(again, client)
        await again.wait("assistant.response.final")
        session_id = await finish(again)
    place = resumed["data"]["audio"]
    assert (place["tts_id"], place["offset_ms"]) == ("tts_1", 400)
    assert_no_gap(client, again)
    heard_twice = client.audio[32 * place["offset_ms"] :]
    assert again.audio.startswith(heard_twice)
    whole = client.audio[: 32 * place["offset_ms"]] + again.audio
    (*_, end) = again.of("output.audio.segment_end")
    assert len(whole) == 32 * end["data"]["audio_end_ms"]
    types = [item["type"] if isinstance(item, dict) else "sound" for item in again.seen]
    assert "sound" not in types[types.index("output.audio.end") :]
    segments = [*client.of("output.audio.segment"), *again.of("output.audio.segment")]
    assert [e["text"] for e in segments] == ["One two three four five. ", "Six seven eight nine."]
    assert segments[1]["data"]["audio_offset_ms"] * 32 < len(whole)
    _question, answer = await messages_of(session_id)
    assert not answer.is_interrupted


async def test_a_reply_that_begins_while_nobody_listens_waits_to_be_heard(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    speech: bytes,
    upstream: FakeUpstream,
) -> None:
    upstream.set_behaviour(Behaviour(transcript="And you?", reply="I am well. " * 20))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await client.say(speech, silence_ms=0)
        await client.wait("input.speech_started")
        await lose(client)
    # The rest of the sentence never comes: what was said is the turn.
    await eventually(lambda: upstream.stats.of("speech").finished >= 1)
    async with connect_to(assistant, key=alice_key) as again:
        resumed = await resume(again, client)
        await again.wait("output.audio.start")
        assert again.audio == b""
        await again.wait_audio()
        await finish(again)
    assert "audio" not in resumed["data"]
    assert [e["text"] for e in again.of("transcript.final")] == ["And you?"]
    assert_no_gap(client, again)


async def test_a_device_answers_after_it_came_back(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    await give(assistant, "text_choice_prompt")
    upstream.script("chat", asks("text_choice_prompt", **OPTIONS), Step(text="You chose B."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME, **TEXT_ONLY)
        await client.send("input.text", text="Ask me.")
        tool_call = (await client.wait("assistant.tool_call"))["tool_call"]
        await lose(client)
    result = {
        "tool_call_id": tool_call["id"],
        "name": "text_choice_prompt",
        "output": "B",
        "status": {"code": 200, "message": "ok"},
    }
    async with connect_to(assistant, key=alice_key) as again:
        # Without waiting to be let in.
        await again.send("session.resume", **wish(client))
        await again.send("tool_call.results", results=[result])
        await again.wait("assistant.response.final", text="You chose B.")
        session_id = await finish(again)
    assert again.of("error") == []
    roles = [message.role for message in await messages_of(session_id)]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert_no_gap(client, again)


async def test_it_may_be_lost_again_and_each_token_is_good_for_once(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=10))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME, **TEXT_ONLY)
        await client.send("input.text", text="Tell me.")
        await client.wait("assistant.response.delta")
        await lose(client)
    async with connect_to(assistant, key=alice_key) as second:
        await resume(second, client)
        # Which shows that it has the new one.
        await second.send("output.audio.played", tts_id="none")
        (call,) = pipeline._calls
        await eventually(lambda: call._line._former_token is None)
        await lose(second)
    async with connect_to(assistant, key=alice_key) as late:
        await refused(late, wish(client))
    async with connect_to(assistant, key=alice_key) as third:
        await resume(third, second)
        final = await third.wait("assistant.response.final")
        await finish(third)
    assert final["text"] == LONG
    assert_no_gap(client, second, third)


async def test_a_token_is_good_until_the_client_shows_that_it_has_the_next(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=10))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME, **TEXT_ONLY)
        await client.send("input.text", text="Tell me.")
        await client.wait("assistant.response.delta")
        await lose(client)
    for _ in range(2):
        # These hear nothing of the answer.
        async with connect_to(assistant, key=alice_key) as deaf:
            await resume(deaf, client)
            await lose(deaf)
    async with connect_to(assistant, key=alice_key) as again:
        await resume(again, client)
        final = await again.wait("assistant.response.final")
        await finish(again)
    assert final["text"] == LONG
    assert_no_gap(client, again)


@pytest.mark.parametrize(
    "wrong", [{}, {"resume_token": "x" * 32}, {"session_id": "another"}, {"last_seq": 10_000}]
)
async def test_whoever_does_not_know_the_session_is_refused(
    connect_to: Connect, assistant: Assistant, alice_key: str, wrong: Event
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await lose(client)
    async with connect_to(assistant, key=alice_key) as again:
        if wrong:
            await refused(again, wish(client, **wrong))
    async with connect_to(assistant, key=alice_key) as again:
        assert (await resume(again, client))["data"]["missed"] == 0
        await finish(again)
    assert await in_db(Call.objects.count) == 1 + (not wrong)


async def test_a_session_belongs_to_its_caller_and_its_assistant(
    connect_to: Connect,
    assistant: Assistant,
    alice: User,
    alice_key: str,
    bob_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await change(assistant, is_public=True)
    other = await in_db(
        lambda: Assistant.objects.create(
            owner=alice, name="Bea", first_turn_mode="user_first", llm=assistant.llm
        )
    )
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await lose(client)
    for called, key in [(assistant, bob_key), (assistant, None), (other, alice_key)]:
        async with connect_to(called, key=key) as foreign:
            await refused(foreign, wish(client))
    ticket = await tickets.issue(principal_for_user(alice), assistant.pk)
    async with connect_to(assistant, query=f"&ticket={ticket}") as again:
        await resume(again, client)
        await finish(again)


async def test_a_stranger_resumes_as_a_stranger(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    await change(assistant, is_public=True)
    async with connect_to(assistant) as client:
        await client.start(**RESUME)
        await lose(client)
    async with connect_to(assistant, key=alice_key) as known:
        await refused(known, wish(client))
    async with connect_to(assistant) as again:
        await resume(again, client)
        await finish(again)


async def test_it_needs_no_slot_of_its_own(
    connect_to: Connect, assistant: Assistant, alice_key: str, settings: Any
) -> None:
    settings.VOICE_SOCKETS_PER_USER = 1
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await lose(client)
    async with connect_to(assistant, key=alice_key) as another:
        await another.send("session.start")
        assert await another.closed() == 4429
    async with connect_to(assistant, key=alice_key) as again:
        await resume(again, client)
        await finish(again)


async def test_it_waits_a_minute_and_no_longer(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, tts_speed=1))
    clock = Clock()
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await client.send("input.text", text="Tell me.")
        while len(client.audio) < 32 * 1000:
            await client.wait_audio()
        monkeypatch.setattr(pipeline, "time", clock)
        await lose(client)
    clock.ahead_s += 55
    async with connect_to(assistant, key=alice_key) as again:
        await resume(again, client)
        await lose(again)
    (call,) = pipeline._calls
    clock.ahead_s += 61
    async with connect_to(assistant, key=alice_key) as late:
        await refused(late, wish(again))
    await eventually(call.ended.is_set)
    session_id = client.events[0]["sessionId"]
    row = await call_of(session_id)
    assert (row.status, row.error_code) == (CallStatus.CONNECTED, "")
    assert row.ended_at is not None
    _question, answer = await messages_of(session_id)
    assert answer.is_interrupted
    assert LONG.startswith(answer.text)
    assert 0 < len(answer.text) < len(LONG)


async def test_the_older_socket_is_closed_where_it_still_looks_open(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply="One two three. Four five six."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await client.send("input.text", text="Tell me.")
        await client.wait("output.audio.segment")
        last_seq = client.events[-1]["seq"]
        async with connect_to(assistant, key=alice_key) as again:
            await resume(again, client)
            assert await client.closed() == 4409
            await again.wait("output.audio.end")
            await again.wait("assistant.response.final")
            await finish(again)
    after = [event["seq"] for event in again.events[1:]]
    assert after == list(range(last_seq + 1, last_seq + 1 + len(after)))


async def test_who_missed_too_much_cannot_resume(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "MAX_FRAMES", 10)
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=10))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME, **TEXT_ONLY)
        await client.send("input.text", text="Tell me.")
        await client.wait("assistant.response.delta")
        await lose(client)
    (call,) = pipeline._calls
    await eventually(lambda: call._state.reply is None)
    async with connect_to(assistant, key=alice_key) as again:
        await refused(again, wish(client))
    newest = call._sender._seq
    async with connect_to(assistant, key=alice_key) as again:
        assert (await resume(again, client, last_seq=newest - 10))["data"]["missed"] == 10
        await finish(again)


@pytest.mark.parametrize("code", [None, 1001, 1000])
async def test_who_closes_is_gone_and_who_is_lost_may_return(
    connect_to: Connect, assistant: Assistant, alice_key: str, code: int | None
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await lose(client, code=code)
    async with connect_to(assistant, key=alice_key) as again:
        if code == 1000:
            await refused(again, wish(client))
        else:
            await resume(again, client)
            await finish(again)


async def test_a_stopped_session_is_over(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await finish(client)
    async with connect_to(assistant, key=alice_key) as again:
        await refused(again, wish(client))


async def test_a_process_that_stops_waits_for_nobody(
    connect_to: Connect, assistant: Assistant, alice_key: str, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=50))
    async with connect_to(assistant, key=alice_key) as client:
        session_id = (await client.start(**RESUME))["sessionId"]
        await client.send("input.text", text="Tell me.")
        await client.wait("assistant.response.delta")
        await lose(client)
    assert (await call_of(session_id)).ended_at is None
    await pipeline.close_all()
    assert pipeline._calls == set()
    row = await call_of(session_id)
    assert (row.status, row.error_code) == (CallStatus.CONNECTED, "")
    assert row.ended_at is not None
    assert await until(upstream, lambda stats: stats.of("chat").cancelled == 1)
    async with connect_to(assistant, key=alice_key) as again:
        await refused(again, wish(client))


async def test_lost_rights_end_a_session_that_waits(
    connect_to: Connect, assistant: Assistant, alice_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        session_id = (await client.start(**RESUME))["sessionId"]
        await lose(client)
    (call,) = pipeline._calls
    monkeypatch.setattr(pipeline, "TICK_S", 0.01)
    monkeypatch.setattr(pipeline, "RECHECK_EVERY_S", 0.01)
    await in_db(assistant.delete)
    await eventually(call.ended.is_set)
    assert (await call_of(session_id)).error_code == "assistant.not_found"


async def test_a_process_keeps_only_so_many(
    connect_to: Connect, assistant: Assistant, alice_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MAX_LOST", 0)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await lose(client)
    async with connect_to(assistant, key=alice_key) as again:
        await refused(again, wish(client))


async def test_a_session_is_resumed_at_the_start_or_not_at_all(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await client.send("session.resume", **wish(client))
        await client.wait("error", code="protocol.order")
        await finish(client)


# --- what the client said ------------------------------------------------------------------------
async def test_it_says_how_many_messages_it_has_got_whatever_they_said(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.send("session.start", metadata={"overrides": {"nothing": 1}})
        await client.wait("error", code="protocol.invalid_override")
        await client.start(**RESUME, **TEXT_ONLY)
        await client.socket.send("{")
        await client.send("input.text", text="")
        await client.send("input.text", text="Tell me.")
        await client.socket.send(bytes(640))
        await client.socket.send(b"odd")
        await client.wait("error", code="audio.invalid_pcm")
        await client.wait("assistant.response.final")
        await lose(client)
    async with connect_to(assistant, key=alice_key) as second:
        assert (await resume(second, client))["data"]["received"] == 3
        await second.send("response.cancel")
        await second.send("session.resume", **wish(second))
        await second.wait("error", code="protocol.order")
        await lose(second)
    async with connect_to(assistant, key=alice_key) as third:
        assert (await resume(third, second))["data"]["received"] == 5
        await finish(third)


async def test_what_is_said_before_the_answer_counts_once(
    connect_to: Connect, assistant: Assistant, alice_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.send("session.start", metadata=RESUME)
        await client.socket.send(bytes(640))
        await client.send("response.cancel")
        await client.wait("session.started")
        await client.send("input.text", text="")
        await client.wait("error", code="protocol.invalid_message")
        await lose(client)
    async with connect_to(assistant, key=alice_key) as second:
        await second.send("session.resume", **wish(client))
        await second.socket.send(b"odd")
        await second.send("input.text", text="")
        await second.wait("error", code="protocol.invalid_message")
        assert second.of("session.resumed")[0]["data"]["received"] == 2
        await lose(second)
    async with connect_to(assistant, key=alice_key) as third:
        assert (await resume(third, second))["data"]["received"] == 3
        await finish(third)


async def test_heartbeats_say_how_many_messages_have_come(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "TICK_S", 0.01)
    monkeypatch.setattr(pipeline, "HEARTBEAT_EVERY_S", 0.02)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(**RESUME)
        await client.wait("heartbeat", received=0)
        await client.send("response.cancel")
        await client.wait("heartbeat", received=1)
        await finish(client)
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        assert (await client.wait("heartbeat"))["data"] == {}
        await finish(client)


async def test_what_comes_late_by_a_socket_that_was_left_does_not_count(
    connect_to: Connect, assistant: Assistant, alice_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said again at the new one, and would be done twice."""
    is_left = asyncio.Event()

    async def close_late(*_args: object) -> None:
        await is_left.wait()

    monkeypatch.setattr(pipeline, "close_socket", close_late)
    async with connect_to(assistant, key=alice_key) as client:
        session_id = (await client.start(**RESUME, **TEXT_ONLY))["sessionId"]
        async with connect_to(assistant, key=alice_key) as again:
            assert (await resume(again, client))["data"]["received"] == 0
            await client.send("input.text", text="Tell me.")
            # A ping is answered behind what was sent before it.
            await (await client.socket.ping())
            await again.send("input.text", text="Tell me.")
            await again.wait("assistant.response.final")
            await lose(again)
            is_left.set()
    async with connect_to(assistant, key=alice_key) as third:
        assert (await resume(third, again))["data"]["received"] == 1
        await finish(third)
    assert [message.role for message in await messages_of(session_id)] == ["user", "assistant"]
