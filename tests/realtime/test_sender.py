"""What leaves for the client: order, numbers, and a client that reads slowly or not at all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest

from realtime import backlog
from realtime import sender as sender_module
from realtime.events import SegmentBegun, SegmentEnded, VoiceBegun, VoiceSent
from realtime.messages import (
    AudioCleared,
    AudioEnded,
    AudioSegment,
    AudioSegmentEnded,
    Heartbeat,
    ResumeOffer,
    ServerMessage,
    SessionStarted,
)
from realtime.player import MAX_AT_SOCKET_MS, Player
from realtime.sender import Sender


class Wire:
    """Takes what is sent; blocks while `open` is not set, fails once `is_gone`."""

    def __init__(self) -> None:
        self.sent: list[str | bytes | int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.is_gone = False

    async def send_text(self, text: str) -> None:
        await self._take(text)

    async def send_audio(self, pcm: bytes) -> None:
        await self._take(pcm)

    async def close(self, code: int) -> None:
        await self._take(code)

    async def _take(self, item: str | bytes | int) -> None:
        if self.is_gone:
            raise OSError("gone")
        await self.open.wait()
        self.sent.append(item)


def numbered(message: ServerMessage, seq: int) -> str:
    return f"{seq} {type(message).__name__}"


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def sender(wire: Wire) -> Sender:
    return Sender(wire, numbered)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_what_is_dropped_leaves_no_gap(wire: Wire, sender: Sender) -> None:
    sender.send(Heartbeat())
    sender.send(AudioSegment(1, 0, "x", 0))
    sender.send_audio(1, b"one")
    sender.send_audio(2, b"two")
    sender.send(AudioSegmentEnded(1, 0, 0))
    sender.send(AudioEnded(1))
    sender.drop_audio(1)
    sender.send(AudioCleared(1))
    sender.close(1000)
    sender.send(Heartbeat())
    await sender.run()
    assert wire.sent == ["1 Heartbeat", b"two", "2 AudioCleared", 1000]
    assert sender.audio_ms == 0


async def test_a_client_that_is_gone_ends_the_sending(wire: Wire, sender: Sender) -> None:
    wire.is_gone = True
    sender.send(Heartbeat())
    await sender.run()


async def test_a_client_that_stops_reading_is_noticed(
    wire: Wire, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "STUCK_AFTER_S", 0.01)
    wire.open.clear()
    sender.send(Heartbeat())
    assert not sender.is_stuck
    running = asyncio.create_task(sender.run())
    await until(lambda: sender.is_stuck)
    wire.open.set()
    sender.close(1000)
    await running
    assert not sender.is_stuck


class Listener:
    """A player's call: what it dispatched, in one list with what was sent."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.is_welcome = True

    def dispatch(self, event: VoiceBegun | SegmentBegun | SegmentEnded | VoiceSent) -> None:
        self.wire.sent.append(type(event).__name__)

    def may_sound(self, turn: int) -> bool:
        return self.is_welcome and "VoiceBegun" in self.wire.sent


@pytest.fixture
async def listener(wire: Wire) -> Listener:
    return Listener(wire)


@pytest.fixture
async def player(sender: Sender, listener: Listener) -> Player:
    return Player(1, sender, listener.dispatch, listener.may_sound)


def sound(ms: int) -> bytes:
    return bytes(32 * ms)


async def test_marks_come_before_their_sound(wire: Wire, sender: Sender, player: Player) -> None:
    running = asyncio.create_task(sender.run())
    player.begin_segment("One. ")
    player.push(sound(100))
    player.end_segment()
    player.begin_segment("Two.")
    player.push(sound(90))
    player.end_segment()
    player.finish()
    await player.heard_out()
    sender.close(1000)
    await running
    kinds = [item for item in wire.sent if isinstance(item, str)]
    segment = ["SegmentBegun", "SegmentEnded"]
    assert kinds == ["VoiceBegun", *segment, *segment, "VoiceSent"]
    assert sum(len(item) for item in wire.sent if isinstance(item, bytes)) == 32 * 200
    assert player.heard() == (190, "One. Two.") or player.heard() == (200, "One. Two.")


async def test_a_sentence_is_heard_to_its_end_whenever_the_next_comes(
    wire: Wire, sender: Sender, player: Player
) -> None:
    running = asyncio.create_task(sender.run())
    player.begin_segment("What would you like?")
    player.push(sound(90))
    player.end_segment()
    await until(lambda: player.heard() == (100, "What would you like?"))
    sender.close(1000)
    await running
    assert sum(len(item) for item in wire.sent if isinstance(item, bytes)) == 32 * 100
    assert [item for item in wire.sent if isinstance(item, str)][-1] == "SegmentEnded"


async def test_text_without_sound_makes_no_voice(wire: Wire, player: Player) -> None:
    player.begin_segment("🙂")
    player.end_segment()
    player.finish()
    await player.heard_out()
    assert wire.sent == []


async def test_nothing_sounds_after_the_stop(
    wire: Wire, sender: Sender, player: Player, listener: Listener
) -> None:
    player.begin_segment("One.")
    player.push(sound(2000))
    player.stop()
    player.push(sound(2000))
    player.finish()
    await player.room()
    sent = list(wire.sent)
    sender.close(1000)
    await sender.run()
    assert sent == ["VoiceBegun", "SegmentBegun"]
    assert sum(len(item) for item in wire.sent if isinstance(item, bytes)) <= 32 * 250


def watched(monkeypatch: pytest.MonkeyPatch, player: Player) -> list[int]:
    """How much waited at the socket after each time that the player looked."""
    looks: list[int] = []
    pump = player._pump

    def look() -> None:
        pump()
        looks.append(player._sender.audio_ms)

    monkeypatch.setattr(player, "_pump", look)
    return looks


async def test_a_slow_client_does_not_pile_up_sound(
    wire: Wire, sender: Sender, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.player.MAX_AT_SOCKET_MS", 300)
    monkeypatch.setattr("realtime.player.LOOK_AGAIN_MS", 1.0)
    looks = watched(monkeypatch, player)
    wire.open.clear()
    running = asyncio.create_task(sender.run())
    player.begin_segment("One.")
    player.push(sound(1500))
    await until(lambda: sender.audio_ms > 300)
    at_most = sender.audio_ms
    looks.clear()
    await until(lambda: len(looks) >= 20)
    assert max(looks) <= at_most
    sender.drop_audio(1)
    sender.send(AudioCleared(1))
    player.stop()
    wire.open.set()
    sender.close(1000)
    await running
    assert wire.sent[-2:] == ["1 AudioCleared", 1000]
    assert sum(len(item) for item in wire.sent if isinstance(item, bytes)) <= 32 * 300


def test_the_socket_may_hold_about_a_second() -> None:
    assert 500 <= MAX_AT_SOCKET_MS <= 2000


async def test_it_ends_with_the_sentence_that_is_heard(
    wire: Wire, sender: Sender, player: Player
) -> None:
    running = asyncio.create_task(sender.run())
    player.begin_segment("One. ")
    player.push(sound(300))
    assert not player.finish_current()
    player.end_segment()
    player.begin_segment("Two.")
    player.push(sound(3000))
    assert player.finish_current()
    await player.heard_out()
    sender.close(1000)
    await running
    assert player.heard() == (300, "One. ")
    assert wire.sent.count("SegmentBegun") == 1


OFFER = ResumeOffer("token", 60)


async def test_what_is_sent_to_nobody_is_numbered_and_kept(wire: Wire, sender: Sender) -> None:
    sender.send(Heartbeat())
    sender.send(SessionStarted(OFFER))
    sender.send(Heartbeat())
    running = asyncio.create_task(sender.run())
    await until(lambda: len(wire.sent) == 3)
    running.cancel()
    sender.send_audio(1, sound(20))
    sender.send(AudioEnded(1))
    sender.detach()
    sender.send_audio(1, sound(20))
    sender.send(AudioCleared(1))
    assert (sender.audio_ms, sender.is_stuck) == (0, False)
    await sender.run()
    # Of what came before the offer nobody can have missed anything.
    assert [sender.can_resume(seq) for seq in range(1, 7)] == [False, *[True] * 4, False]
    wire.sent.clear()
    missed: list[int] = []

    def greeting(count: int) -> ServerMessage:
        missed.append(count)
        return Heartbeat()

    sender.attach(wire, 3, greeting)
    sender.send(Heartbeat())
    sender.close(1000)
    await sender.run()
    assert missed == [2]
    assert wire.sent == ["3 Heartbeat", "4 AudioEnded", "5 AudioCleared", "6 Heartbeat", 1000]


async def test_without_an_offer_nothing_is_kept(wire: Wire, sender: Sender) -> None:
    sender.send(SessionStarted())
    sender.send(Heartbeat())
    sender.close(1000)
    await sender.run()
    assert not any(sender.can_resume(seq) for seq in range(3))


@pytest.mark.parametrize("limit", ["MAX_FRAMES", "MAX_BYTES"])
def test_a_backlog_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    frames = ["x" * 1000] * 10
    room = {"MAX_FRAMES": 3, "MAX_BYTES": 3 * sys.getsizeof(frames[0])}
    monkeypatch.setattr(backlog, limit, room[limit])
    kept = backlog.Backlog(after=5)
    for frame in frames:
        kept.add(frame)
    assert kept.last_seq == 15
    assert [seq for seq in range(20) if kept.covers(seq)] == [12, 13, 14, 15]
    assert [len(kept.since(seq)) for seq in (12, 15)] == [3, 0]


async def test_time_stands_still_for_a_listener_who_is_away(
    wire: Wire, sender: Sender, listener: Listener
) -> None:
    player = Player(1, sender, listener.dispatch, listener.may_sound, can_rewind=True)
    running = asyncio.create_task(sender.run())
    player.begin_segment("One two three four.")
    player.push(bytes([1]) * 32 * 5000)
    assert player.position_ms == 240
    await until(lambda: player.heard()[0] > 100)
    player.report(60)
    player.hold()
    heard, sent = player.heard(), len(wire.sent)
    assert heard[0] == player.position_ms == 60
    waiting = asyncio.create_task(player.room())
    running.cancel()
    sender.detach()
    await asyncio.sleep(0)
    assert player.heard() == heard
    assert (len(wire.sent), waiting.done()) == (sent, False)
    player.stop()
    await waiting
    assert player.heard() == heard
