"""Speech detection for all calls of a process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unavailable
from providers.registry import speaker
from providers.types import Endpoint, VoiceSpec
from realtime import vad
from realtime.endpointing import (
    WINDOW_SAMPLES,
    Endpointer,
    EndpointingConfig,
    SpeechEvent,
    SpeechOngoing,
)
from realtime.silero import Silero
from realtime.vad import WINDOW_BYTES, Detector, VadPool, Windows

FRAME_BYTES = 640


class Counting:
    """Tells how many windows of a slot it has seen since the slot was reset."""

    def __init__(self, slots: int) -> None:
        self._windows = [-1000] * slots

    def reset(self, slot: int) -> None:
        self._windows[slot] = 0

    def probabilities(self, slots: Sequence[int], windows: Sequence[bytes]) -> list[float]:
        assert [len(window) for window in windows] == [WINDOW_BYTES] * len(slots)
        assert len(set(slots)) == len(slots)
        for slot in slots:
            self._windows[slot] += 1
        return [float(self._windows[slot]) for slot in slots]


class Blocked(Counting):
    """Computes nothing before the gate opens."""

    gate: threading.Event

    def probabilities(self, slots: Sequence[int], windows: Sequence[bytes]) -> list[float]:
        self.gate.wait(10)
        return super().probabilities(slots, windows)


class Results(list[tuple[float, int]]):
    """What a stream delivered, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def __call__(self, probability: float, end_sample: int) -> None:
        self.append((probability, end_sample))
        self._changed.set()

    async def up_to(self, end_sample: int) -> Results:
        async with asyncio.timeout(20):
            while not self or self[-1][1] < end_sample:
                self._changed.clear()
                await self._changed.wait()
        return self


@pytest.fixture
async def new_pool() -> AsyncIterator[Callable[..., VadPool]]:
    pools: list[VadPool] = []

    def new(make_detector: Callable[[int], Detector] = Counting, **options: int) -> VadPool:
        pools.append(VadPool(make_detector=make_detector, **options))
        return pools[-1]

    yield new
    for pool in pools:
        await pool.close()


@given(st.lists(st.integers(0, 2000).map(lambda samples: samples * 2), max_size=20))
def test_windows_hold_every_sample_once_in_order(sizes: list[int]) -> None:
    pcm = np.arange(sum(sizes) // 2, dtype="<i2").tobytes()
    windows = Windows()
    start = 0
    cut: list[tuple[bytes, int]] = []
    for size in sizes:
        cut += windows.push(pcm[start : start + size])
        start += size
    assert b"".join(window for window, _ in cut) == pcm[: len(cut) * WINDOW_BYTES]
    assert [end for _, end in cut] == [n * WINDOW_SAMPLES for n in range(1, len(cut) + 1)]
    assert len(pcm) - len(cut) * WINDOW_BYTES < WINDOW_BYTES
    assert windows.received_samples == len(pcm) // 2


async def test_each_stream_gets_its_own_results_in_order(
    new_pool: Callable[..., VadPool],
) -> None:
    pool = new_pool()
    results = [Results() for _ in range(5)]
    streams = [pool.open(result) for result in results]
    for _ in range(64):
        for stream in streams:
            stream.submit(bytes(FRAME_BYTES))
    for result in results:
        await result.up_to(40 * WINDOW_SAMPLES)
        assert result == [(float(n), n * WINDOW_SAMPLES) for n in range(1, 41)]


async def test_results_come_on_the_loops_own_thread(new_pool: Callable[..., VadPool]) -> None:
    threads: list[int] = []
    arrived = asyncio.Event()

    def on_result(probability: float, end_sample: int) -> None:
        threads.append(threading.get_ident())
        arrived.set()

    new_pool().open(on_result).submit(bytes(WINDOW_BYTES))
    await asyncio.wait_for(arrived.wait(), 10)
    assert threads == [threading.get_ident()]


async def test_a_closed_stream_delivers_nothing_and_its_slot_starts_anew(
    new_pool: Callable[..., VadPool],
) -> None:
    pool = new_pool(max_streams=1)
    first, second = Results(), Results()
    stream = pool.open(first)
    stream.submit(bytes(3 * WINDOW_BYTES))
    await first.up_to(3 * WINDOW_SAMPLES)
    stream.submit(bytes(3 * WINDOW_BYTES))
    stream.close()
    stream.submit(bytes(3 * WINDOW_BYTES))
    stream.close()
    again = pool.open(second)
    again.submit(bytes(2 * WINDOW_BYTES))
    assert await second.up_to(2 * WINDOW_SAMPLES) == [(1.0, 512), (2.0, 1024)]
    assert len(first) == 3


async def test_a_stream_that_falls_behind_loses_its_oldest_windows(
    new_pool: Callable[..., VadPool],
) -> None:
    Blocked.gate = threading.Event()
    pool = new_pool(Blocked, max_windows=4)
    results = Results()
    stream = pool.open(results)
    for _ in range(10):
        stream.submit(bytes(WINDOW_BYTES))
    dropped = stream.dropped_windows
    Blocked.gate.set()
    await results.up_to(10 * WINDOW_SAMPLES)
    ends = [end for _, end in results]
    # The worker may or may not have taken the first ones before the rest came.
    assert ends[-4:] == [n * WINDOW_SAMPLES for n in (7, 8, 9, 10)]
    assert dropped == 10 - len(ends) > 0


async def test_it_opens_as_many_streams_as_it_may(new_pool: Callable[..., VadPool]) -> None:
    pool = new_pool(max_streams=2)
    streams = [pool.open(Results()), pool.open(Results())]
    with pytest.raises(Unavailable):
        pool.open(Results())
    streams[0].close()
    pool.open(Results())
    assert pool.open_streams == 2


async def test_a_listeners_error_is_not_another_streams(
    new_pool: Callable[..., VadPool], caplog: pytest.LogCaptureFixture
) -> None:
    pool = new_pool()

    def fail(probability: float, end_sample: int) -> None:
        raise LookupError("a listener's own")

    results = Results()
    streams = [pool.open(fail), pool.open(results)]
    for stream in streams:
        stream.submit(bytes(WINDOW_BYTES))
    await results.up_to(WINDOW_SAMPLES)
    for stream in streams:
        stream.submit(bytes(WINDOW_BYTES))
    await results.up_to(2 * WINDOW_SAMPLES)
    assert "a listener's own" in caplog.text


class Fragile(Counting):
    """Fails while it is told to."""

    fails: threading.Event

    def probabilities(self, slots: Sequence[int], windows: Sequence[bytes]) -> list[float]:
        if self.fails.is_set():
            raise ArithmeticError("the network is broken")
        return super().probabilities(slots, windows)


async def test_a_detector_that_fails_is_replaced_and_nobody_is_let_in_meanwhile(
    new_pool: Callable[..., VadPool],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vad, "RESTART_EVERY_S", 0.01)
    Fragile.fails = threading.Event()
    pool = new_pool(Fragile, max_streams=300)
    results = Results()
    stream = pool.open(results)
    stream.submit(bytes(WINDOW_BYTES))
    await results.up_to(WINDOW_SAMPLES)
    Fragile.fails.set()
    stream.submit(bytes(WINDOW_BYTES))
    await until(lambda: not lets_in(pool))
    Fragile.fails.clear()
    await until(lambda: lets_in(pool))
    stream.submit(bytes(WINDOW_BYTES))
    await results.up_to(3 * WINDOW_SAMPLES)
    assert caplog.text.count("speech detection failed") == 1


def lets_in(pool: VadPool) -> bool:
    try:
        pool.open(Results()).close()
    except Unavailable:
        return False
    return True


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


async def test_it_goes_on_when_the_only_stream_is_closed_at_once(
    new_pool: Callable[..., VadPool],
) -> None:
    pool = new_pool()
    stream = pool.open(Results())
    stream.submit(bytes(WINDOW_BYTES))
    stream.close()
    results = Results()
    await asyncio.sleep(0)
    pool.open(results).submit(bytes(WINDOW_BYTES))
    await results.up_to(WINDOW_SAMPLES)


async def test_many_calls_one_after_another_leave_nothing_behind(
    new_pool: Callable[..., VadPool],
) -> None:
    pool = new_pool(Silero)
    noise = np.random.default_rng(1).integers(-999, 999, WINDOW_SAMPLES * 4).astype("<i2").tobytes()

    async def one_round() -> None:
        results = [Results(), Results()]
        streams = [pool.open(result) for result in results]
        for stream in streams:
            stream.submit(noise)
        for result in results:
            await result.up_to(WINDOW_SAMPLES * 4)
        for stream in streams:
            stream.close()

    for _ in range(20):
        await one_round()
    before = psutil.Process().memory_info().rss
    for _ in range(200):
        await one_round()
    assert psutil.Process().memory_info().rss - before < 5 * 2**20


async def spoken(text: str, voice: str) -> bytes:
    spec = VoiceSpec(Endpoint("", "builtin", "", "", voice), voice, voice, voice)
    async with speaker(spec).speak(text) as pieces:
        return b"".join([pcm async for pcm in pieces])


@pytest.mark.parametrize(
    ("text", "voice"),
    [("What is the weather in Berlin today?", "en-us"), ("今天天气怎么样？", "cmn")],
)
async def test_it_hears_when_a_real_voice_starts_and_ends(
    text: str, voice: str, new_pool: Callable[..., VadPool]
) -> None:
    pcm = await spoken(text, voice)
    loud = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2").astype(int)) > 300)
    lead_in = 8_000
    starts_at, ends_at = lead_in + int(loud[0]), lead_in + int(loud[-1])
    audio = bytes(lead_in * 2) + pcm + bytes(32_000)
    results = Results()
    stream = new_pool(Silero, max_windows=1000).open(results)
    for frame in _frames(audio):
        stream.submit(frame)
    await results.up_to(len(audio) // WINDOW_BYTES * WINDOW_SAMPLES)
    endpointer = Endpointer(EndpointingConfig(end_of_turn_silence_ms=300))
    events: list[SpeechEvent] = [
        event
        for probability, end_sample in results
        for event in endpointer.push(probability, end_sample)
        if not isinstance(event, SpeechOngoing)
    ]
    assert [type(event).__name__ for event in events] == [
        "SpeechStarted",
        "SpeechStopped",
        "EndOfTurn",
    ]
    assert abs(events[0].at_sample - starts_at) < 16 * 120
    assert abs(events[2].at_sample - ends_at) < 16 * 60


def _frames(audio: bytes) -> list[bytes]:
    return [audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES)]
