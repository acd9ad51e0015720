"""Conversations of the Python client with a server that does what the product does not do."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from ai_video_assistant import (
    AsyncAIVideoAssistant,
    Conversation,
    Reconnect,
    ToolError,
    errors,
    events,
)
from ai_video_assistant.audio import Playback, play, record
from ai_video_assistant.voice import conversation as conversation_module
from ai_video_assistant.voice.events import decode
from ai_video_assistant.voice.feed import MAX_EVENTS, Feed
from ai_video_assistant.voice.replies import Expected, Replies
from websockets.asyncio.server import ServerConnection, serve

Script = Callable[[ServerConnection], Awaitable[None]]
PATIENCE_S = 20.0


async def started(socket: ServerConnection, **data: Any) -> None:
    """Reads session.start and answers it."""
    assert json.loads(await socket.recv())["type"] == "session.start"
    await say(socket, "session.started", 1, sessionId="s1", **data)


async def say(socket: ServerConnection, type: str, seq: int, **data: Any) -> None:
    await socket.send(json.dumps({"type": type, "seq": seq, "timestamp": 1, "data": data}))


@asynccontextmanager
async def talking(*scripts: Script, **options: Any) -> AsyncIterator[Conversation]:
    """A conversation with a server that plays one script for each connection."""
    waiting = list(scripts)

    async def play_script(socket: ServerConnection) -> None:
        await (waiting.pop(0) if waiting else closes(1011))(socket)

    async with serve(play_script, "localhost", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = AsyncAIVideoAssistant(api_url=f"http://localhost:{port}", api_key="k", timeout=5)
        async with asyncio.timeout(PATIENCE_S), client.connect("ann", **options) as conversation:
            yield conversation


def closes(code: int, *, after: Script | None = None) -> Script:
    async def script(socket: ServerConnection) -> None:
        if after is not None:
            await after(socket)
        await socket.close(code)

    return script


# --- events --------------------------------------------------------------------------------------
async def test_what_it_does_not_know_is_an_event_and_no_error() -> None:
    async def script(socket: ServerConnection) -> None:
        await started(socket)
        await say(socket, "assistant.mood", 2, mood="good")
        await say(socket, "assistant.response.final", 3, text=["not", "a", "text"])
        await say(socket, "assistant.tool_call", 4, tool_call={"id": "c"})
        await socket.send("{not json")
        await socket.send("[]")
        await say(socket, "assistant.response.final", 5, text="Hello", turn=1, novelty=True)
        await socket.close(1000)

    async with talking(script) as conversation:
        seen = [event async for event in conversation]
    names = [event.type for event in seen if isinstance(event, events.UnknownEvent)]
    assert names == ["assistant.mood", "assistant.response.final", "assistant.tool_call", "", ""]
    assert isinstance(seen[1], events.UnknownEvent)
    assert (seen[1].data["mood"], seen[1].seq) == ("good", 2)
    assert isinstance(seen[-1], events.ResponseFinal)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (4400, errors.ProtocolError),
        (4401, errors.ConversationAuthError),
        (4403, errors.ConversationAuthError),
        (4404, errors.AssistantNotFoundError),
        (4408, errors.ConversationClosedError),
        (4409, errors.ConversationClosedError),
        (4429, errors.TooManyConversationsError),
        (1009, errors.ProtocolError),
        (4999, errors.ConversationClosedError),
    ],
)
async def test_each_close_code_is_an_error_of_its_own(
    code: int, error: type[errors.ConversationError]
) -> None:
    async with talking(closes(code, after=started)) as conversation:
        with pytest.raises(error) as raised:
            async for _event in conversation:
                pass
    assert raised.value.close_code == code
    with pytest.raises(error):
        async with talking(closes(code)):
            pass


async def test_a_server_that_never_starts_is_given_up() -> None:
    async def silent(socket: ServerConnection) -> None:
        await socket.wait_closed()

    with pytest.raises(errors.ConversationLostError) as lost:
        async with talking(silent, timeout=0.3):
            pass
    assert lost.value.code == "connection.timeout"


async def test_the_reason_that_the_server_tells_counts_more_than_the_code() -> None:
    async def script(socket: ServerConnection) -> None:
        await started(socket)
        await say(socket, "error", 2, code="auth.invalid_api_key", message="The key was revoked.")
        await socket.close(4401)

    async with talking(script) as conversation:
        with pytest.raises(errors.ConversationAuthError, match="revoked"):
            async for _event in conversation:
                pass


async def test_what_went_wrong_before_is_not_why_a_connection_breaks() -> None:
    async def script(socket: ServerConnection) -> None:
        await started(socket)
        await say(socket, "error", 2, code="protocol.invalid_message", message="Not so.")
        socket.transport.abort()

    async def later(socket: ServerConnection) -> None:
        await started(socket)
        await say(socket, "error", 2, code="protocol.invalid_message", message="Not so.")
        await say(socket, "heartbeat", 3)
        await socket.close(4408)

    for broken, code in ((script, "connection.lost"), (later, "inactivity")):
        async with talking(broken, reconnect=False) as conversation:
            with pytest.raises(errors.ConversationClosedError) as closed:
                async for _event in conversation:
                    pass
        assert closed.value.code == code


async def test_a_conversation_is_entered_once() -> None:
    async with talking(closes(1000, after=started)) as conversation:
        with pytest.raises(errors.ConfigurationError, match="entered once"):
            await conversation.__aenter__()
    with pytest.raises(errors.ConfigurationError, match="entered once"):
        await conversation.__aenter__()


async def test_events_are_kept_for_as_long_as_somebody_reads_them() -> None:
    async def script(socket: ServerConnection) -> None:
        await started(socket)
        for seq in (2, 3):
            await socket.recv()
            await say(socket, "heartbeat", seq)
        await socket.recv()

    async with talking(script) as conversation:
        kept = conversation.events()
        conversation.events()
        await conversation.clear()
        async for _event in conversation.events():
            break
        await conversation.clear()
        assert [(await anext(kept)).seq for _ in range(2)] == [2, 3]
        assert len(conversation._other_feeds) == 1


async def test_a_tool_that_returns_too_much_does_not_end_the_conversation() -> None:
    results: list[dict[str, Any]] = []

    async def script(socket: ServerConnection) -> None:
        await started(socket)
        function = {"name": "read", "arguments": "{}"}
        call = {"id": "c", "function": function, "executor": "client", "wait_for_response": True}
        await say(socket, "assistant.tool_call", 2, tool_call=call)
        results.extend(json.loads(await socket.recv())["results"])
        await socket.close(1000)

    for size in (10, 70_000):
        text = "x" * size
        async with talking(script, tools={"read": lambda text=text: text}) as conversation:
            async for _event in conversation:
                pass
    assert [(result["output"], result["status"]["code"]) for result in results] == [
        ("x" * 10, 200),
        (None, 500),
    ]


async def test_a_tool_that_does_not_fit_or_fails_is_told_of_on_both_sides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    results: list[dict[str, Any]] = []

    async def script(socket: ServerConnection) -> None:
        await started(socket)
        function = {"name": "read", "arguments": '{"page": 7}'}
        # Nobody waits for the result; a failure is told all the same.
        call = {"id": "c", "function": function, "executor": "client", "wait_for_response": False}
        await say(socket, "assistant.tool_call", 2, tool_call=call)
        results.extend(json.loads(await socket.recv())["results"])
        await socket.close(1000)

    def refuse(page: int) -> None:
        raise ToolError(f"no page {page}")

    def crash(page: int) -> None:
        raise RuntimeError

    def run_dry(page: int) -> int:
        return next(iter(()))

    functions: list[Any] = [lambda x: 1, refuse, crash, run_dry]
    for function in functions:
        async with talking(script, tools={"read": function}) as conversation:
            async for _event in conversation:
                pass
    assert [result["status"]["code"] for result in results] == [400, 500, 500, 500]
    ours = [record for record in caplog.records if record.name.startswith("ai_video_assistant")]
    assert all(record.levelno >= logging.WARNING for record in ours)
    told = [record.getMessage() for record in ours]
    assert "'x'" in told[0]
    assert told[1:] == ["the tool read failed: no page 7", *["the tool read failed"] * 2]


# --- coming back ---------------------------------------------------------------------------------
async def lost_behind_two(socket: ServerConnection) -> None:
    await started(socket, resume_token="t1", resume_within_s=60)
    await say(socket, "heartbeat", 2)
    socket.transport.abort()


async def test_it_resumes_with_what_it_saw_last_and_sees_nothing_twice() -> None:
    asked: list[dict[str, Any]] = []

    async def resumed(socket: ServerConnection) -> None:
        asked.append(json.loads(await socket.recv()))
        await say(
            socket,
            "session.resumed",
            2,
            session_id="s1",
            missed=1,
            resume_token=f"t{len(asked) + 1}",
            resume_within_s=60,
        )
        await say(socket, "heartbeat", 2)
        await say(socket, "heartbeat", 2 + len(asked))
        if len(asked) == 1:
            socket.transport.abort()
        else:
            await socket.close(1000)

    async with talking(lost_behind_two, resumed, resumed) as conversation:
        seen = [event async for event in conversation]
    assert [(frame["resume_token"], frame["last_seq"]) for frame in asked] == [("t1", 2), ("t2", 3)]
    assert [event.seq for event in seen if isinstance(event, events.Heartbeat)] == [2, 3, 4]
    assert [event.missed for event in seen if isinstance(event, events.Reconnected)] == [1, 1]


async def resumed_and_answers(socket: ServerConnection) -> None:
    assert json.loads(await socket.recv())["type"] == "session.resume"
    await say(socket, "session.resumed", 2, session_id="s1", resume_token="t2", resume_within_s=60)
    assert json.loads(await socket.recv())["text"] == "Hello?"
    await say(socket, "assistant.response.final", 3, turn=1, text="Yes.")
    await socket.close(1000)


async def test_a_text_that_waits_for_the_connection_is_not_lost_with_it() -> None:
    async with talking(lost_behind_two, resumed_and_answers) as conversation:
        async for event in conversation:
            if isinstance(event, events.Heartbeat):
                # The socket is closed, and this side has not noticed yet.
                assert conversation._socket is not None
                conversation._note_closed(conversation._socket)
                reply = asyncio.create_task(conversation.send_text("Hello?"))
        assert await reply == "Yes."


async def test_a_server_that_is_not_up_yet_is_tried_again() -> None:
    connections = 0

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(carry, "localhost", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = AsyncAIVideoAssistant(api_url=f"http://localhost:{port}", api_key="k")
        with pytest.raises(errors.ConversationLostError) as lost:
            await client.connect("ann").__aenter__()
    assert connections
    assert lost.value.is_retryable


async def too_late(socket: ServerConnection) -> None:
    await say(socket, "error", 0, code="session.resume_expired", message="It is over.")
    await socket.close(4410)


async def test_coming_back_too_late_is_an_error_of_its_own() -> None:
    async with talking(lost_behind_two, too_late) as conversation:
        reply = asyncio.create_task(conversation.send_text("Hello?"))
        with pytest.raises(errors.ResumeExpiredError) as expired:
            async for _event in conversation:
                pass
        assert expired.value.code == "session.resume_expired"
        with pytest.raises(errors.ConversationError):
            await reply


async def stopped_by_the_server(socket: ServerConnection) -> None:
    await started(socket, resume_token="t1", resume_within_s=60)
    await say(socket, "session.stopped", 2, reason="server_shutdown")


async def stopped_and_aborted(socket: ServerConnection) -> None:
    await stopped_by_the_server(socket)
    socket.transport.abort()


async def stopped_and_silent(socket: ServerConnection) -> None:
    await stopped_by_the_server(socket)
    await socket.wait_closed()


@pytest.mark.parametrize(
    "script", [closes(1001, after=stopped_by_the_server), stopped_and_aborted, stopped_and_silent]
)
async def test_a_session_that_the_server_ends_is_over_at_once_for_that_reason(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_module, "STOPPED_TIMEOUT_S", 0.1)
    seen: list[events.Event] = []

    async def read(conversation: Conversation) -> None:
        async for event in conversation:
            seen.append(event)

    async with talking(script) as conversation:
        reply = asyncio.create_task(conversation.send_text("Hello?"))
        with pytest.raises(errors.ConversationClosedError) as closed:
            await read(conversation)
        with pytest.raises(errors.ConversationClosedError):
            await reply
        with pytest.raises(errors.ConversationClosedError) as later:
            await conversation.send_text("Hello?")
    assert [type(event) for event in seen] == [events.SessionStarted, events.SessionStopped]
    assert closed.value.code == later.value.code == "server_shutdown"


@pytest.mark.parametrize(
    "scripts", [(lost_behind_two, too_late), (closes(1001, after=stopped_by_the_server),)]
)
async def test_another_session_may_begin_instead(scripts: tuple[Script, ...]) -> None:
    async def another(socket: ServerConnection) -> None:
        await started(socket)
        await socket.close(1000)

    policy = Reconnect(is_fresh=True)
    async with talking(*scripts, another, reconnect=policy) as conversation:
        seen = [event async for event in conversation]
    (back,) = [event for event in seen if isinstance(event, events.Reconnected)]
    assert back.is_fresh
    assert sum(isinstance(event, events.SessionStarted) for event in seen) == 2


async def test_a_server_that_cannot_resume_is_not_asked_to() -> None:
    async def lost(socket: ServerConnection) -> None:
        await started(socket)
        socket.transport.abort()

    async with talking(lost) as conversation:
        read = aiter(conversation)
        assert isinstance(await anext(read), events.SessionStarted)
        with pytest.raises(errors.ConversationLostError):
            await anext(read)


# --- which reply is whose ------------------------------------------------------------------------
async def outcome(expected: Expected) -> str:
    async with asyncio.timeout(PATIENCE_S):
        return await expected.future


def final(turn: int, text: str = "") -> events.Event:
    return events.ResponseFinal(turn=turn, text=text or f"reply {turn}")


async def test_a_reply_goes_to_the_text_that_began_its_turn() -> None:
    replies = Replies()
    first = replies.expect()
    replies.take(final(0, "the opener"))
    assert not first.future.done()
    replies.take(events.ResponseDelta(turn=1, text="re"))
    second = replies.expect()
    replies.take(events.ResponseInterrupted(turn=1, reason="input_text", generated_text="re"))
    replies.take(final(2))
    assert await outcome(second) == "reply 2"
    with pytest.raises(errors.ReplyInterruptedError):
        await outcome(first)


async def test_what_was_spoken_in_between_gets_its_own_reply() -> None:
    replies = Replies()
    written = replies.expect()
    replies.take(events.TranscriptFinal(turn=1, text="said aloud"))
    replies.take(final(1))
    assert not written.future.done()
    replies.take(final(2))
    assert await outcome(written) == "reply 2"


async def test_a_text_that_chooses_gets_the_reply_that_asked() -> None:
    replies = Replies()
    order = replies.expect()
    replies.take(events.ToolCall(id="c", name="text_choice_prompt", arguments={}, turn=1))
    choice = replies.expect()
    replies.take(events.ToolResult(tool_call_id="c"))
    replies.take(final(1))
    assert await outcome(order) == await outcome(choice) == "reply 1"


async def test_a_text_that_does_not_choose_begins_a_turn() -> None:
    replies = Replies()
    order = replies.expect()
    replies.take(events.ToolCall(id="c", name="text_choice_prompt", arguments={}, turn=1))
    other = replies.expect()
    replies.take(events.ResponseInterrupted(turn=1, reason="input_text"))
    replies.take(events.ToolResult(tool_call_id="c", code=499))
    replies.take(final(2))
    with pytest.raises(errors.ReplyInterruptedError):
        await outcome(order)
    assert await outcome(other) == "reply 2"


async def test_the_reply_to_a_text_that_nobody_waits_for_is_no_other_texts() -> None:
    replies = Replies()
    with pytest.raises(TimeoutError), replies.expecting():
        raise TimeoutError
    with replies.expecting() as unsent:
        unsent.is_unsent = True
    with replies.expecting() as awaited:
        replies.take(events.ResponseInterrupted(turn=1, reason="input_text"))
        replies.take(final(2))
        assert await outcome(awaited) == "reply 2"


async def test_a_text_that_the_server_refuses_fails() -> None:
    replies = Replies()
    first, second = replies.expect(), replies.expect()
    replies.take(events.Problem(code="rate_limit.turns", message="Too many."))
    replies.take(final(1))
    with pytest.raises(errors.ConversationError) as refused:
        await outcome(first)
    assert refused.value.code == "rate_limit.turns"
    assert await outcome(second) == "reply 1"


# --- sound ---------------------------------------------------------------------------------------
async def test_of_events_that_nobody_reads_sound_is_dropped_first() -> None:
    feed = Feed()
    feed.put(events.Heartbeat(seq=1))
    for _ in range(MAX_EVENTS):
        feed.put(events.AudioChunk(pcm=b""))
    feed.put(events.Heartbeat(seq=2))
    feed.end(None)
    seen = [event async for event in feed.read()]
    assert len(seen) == MAX_EVENTS
    assert (seen[0].seq, seen[-1].seq) == (1, 2)


def test_playback_gives_what_came_and_silence_behind_it() -> None:
    playback = Playback()
    playback.note(events.AudioChunk(pcm=b"\1" * 640, tts_id="tts_1"))
    assert playback.take(400) == b"\1" * 400
    assert playback.take(400) == b"\1" * 240 + bytes(160)
    assert playback.played == ("tts_1", 20.0)
    assert playback.is_empty


def test_playback_falls_silent_when_it_is_cleared_and_waits_while_it_is_paused() -> None:
    playback = Playback()
    playback.note(events.AudioChunk(pcm=b"\1" * 640, tts_id="tts_1"))
    playback.note(events.AudioPaused())
    assert playback.take(4) == bytes(4)
    playback.note(events.AudioResumed())
    assert playback.take(4) == b"\1" * 4
    playback.note(events.AudioCleared())
    assert playback.take(4) == bytes(4)


@pytest.mark.parametrize(("played", "offset"), [(640, 320), (640, 640), (320, 960), (0, 0)])
def test_playback_behind_a_broken_connection_repeats_nothing_and_leaves_nothing_out(
    played: int, offset: int
) -> None:
    sound = bytes(range(256)) * 10
    playback = Playback()
    playback.note(events.AudioChunk(pcm=sound[:1280], tts_id="tts_1"))
    heard = playback.take(played)
    playback.note(events.Reconnected(tts_id="tts_1", sound_offset_ms=offset / 32))
    for start in range(offset, len(sound), 100):
        playback.note(events.AudioChunk(pcm=sound[start : start + 100], tts_id="tts_1"))
    assert heard + playback.take(len(sound) - played) == sound
    assert playback.is_empty


class SoundCard:
    """Stands for the device, which test machines lack: its callbacks are called by the test."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        self.callbacks: dict[str, Any] = {}

    def __getattr__(self, kind: str) -> Any:
        def open_stream(*, callback: Any, **_options: Any) -> Any:
            self.callbacks[kind] = callback
            return memoryview(b"")  # a context manager that does nothing

        return open_stream


async def test_it_plays_and_records_with_a_sound_card(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SoundCard()
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def script(socket: ServerConnection) -> None:
        await started(socket)
        heard.put_nowait(await socket.recv())
        await say(socket, "output.audio.start", 2, tts_id="tts_1")
        await socket.send(b"\1" * 640)
        while (frame := json.loads(await socket.recv()))["type"] != "session.stop":
            heard.put_nowait(frame)

    async with talking(script, capabilities=["playback_ack"]) as conversation:
        async with play(conversation), record(conversation):
            card.callbacks["RawInputStream"](b"\2" * 640, 320, None, None)
            assert await heard.get() == b"\2" * 640
            async for event in conversation:
                if isinstance(event, events.AudioChunk):
                    break
            out = bytearray(640)
            while out[0] == 0:
                await asyncio.sleep(0)
                card.callbacks["RawOutputStream"](out, 320, None, None)
            assert out == b"\1" * 640
            report = await heard.get()
    assert (report["type"], report["tts_id"], report["played_ms"]) == (
        "output.audio.played",
        "tts_1",
        20.0,
    )


async def test_without_a_sound_card_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    async def script(socket: ServerConnection) -> None:
        await started(socket)
        await socket.recv()  # session.stop

    async with talking(script) as conversation:
        with pytest.raises(errors.ConfigurationError, match="audio"):
            async with play(conversation):
                pass


def test_no_frame_makes_decoding_fail() -> None:
    for frame in (
        '{"type":"error"}',
        '{"type":5}',
        '{"type":"heartbeat?","seq":NaN,"timestamp":Infinity}',
        "[" * 100_000,
        '{"type":"session.started","data":[]}',
        "",
        "1",
    ):
        assert isinstance(decode(frame), events.UnknownEvent)
