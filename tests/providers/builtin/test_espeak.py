"""The built-in voices, spoken by real espeak-ng processes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from core.audio import duration_ms, level_db
from core.errors import ProviderError
from providers import registry
from providers.builtin import espeak
from providers.builtin.espeak import segments_by_script
from providers.builtin.workers import WorkerPool
from providers.types import Endpoint, VoiceSpec

LONG = "This sentence goes on and on, and nobody knows when it will come to its end. " * 60


def voice(voice_key: str = "en-us", **fields: Any) -> VoiceSpec:
    endpoint = Endpoint("voice", "builtin", "", "", "espeak-ng")
    return VoiceSpec(endpoint, "Voice", fields.pop("language", "en"), voice_key, **fields)


async def spoken(text: str, spec: VoiceSpec) -> list[bytes]:
    async with registry.speaker(spec).speak(text) as pieces:
        return [piece async for piece in pieces]


@pytest.mark.parametrize(
    ("voice_key", "text"),
    [
        ("en-us", "Hello world, how are you?"),
        ("cmn", "你好，世界。今天天气很好。"),
        ("yue", "你好，世界。今日天氣好好。"),
        ("en-us+f3", "Hello world, how are you?"),
    ],
)
async def test_it_speaks(voice_key: str, text: str) -> None:
    pieces = await spoken(text, voice(voice_key))

    pcm = b"".join(pieces)
    assert len(pieces) > 3
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert 1_000 < duration_ms(pcm) < 5_000
    assert level_db(pcm) > -35


@pytest.mark.parametrize("text", ["", "   ", "…!?", "\n"])
async def test_it_has_nothing_to_say_to_that(text: str) -> None:
    assert await spoken(text, voice()) == []


async def test_speed_gain_and_pitch_are_heard() -> None:
    plain = b"".join(await spoken("Good morning to you.", voice()))
    fast = b"".join(await spoken("Good morning to you.", voice(speed=2.0)))
    quiet = b"".join(await spoken("Good morning to you.", voice(gain=-10.0)))
    high = b"".join(await spoken("Good morning to you.", voice(pitch=8.0)))

    assert duration_ms(fast) < 0.7 * duration_ms(plain)
    assert level_db(plain) - level_db(quiet) == pytest.approx(10, abs=0.5)
    assert high != plain
    assert duration_ms(high) == pytest.approx(duration_ms(plain), rel=0.1)


@pytest.mark.parametrize(
    ("text", "voice_key", "segments"),
    [
        ("Hello", "en-us", [("en-us", "Hello")]),
        (
            "Say 你好，世界 now.",
            "en-us",
            [("en-us", "Say"), ("cmn", "你好，世界"), ("en-us", "now.")],
        ),
        (
            "我喜欢 hello world 这个词，25个。",
            "cmn",
            [("cmn", "我喜欢"), ("en-us", "hello world"), ("cmn", "这个词，25个。")],
        ),
        ("25", "yue", [("yue", "25")]),
        ("。。", "cmn", []),
    ],
)
def test_each_script_gets_a_voice_that_can_read_it(
    text: str, voice_key: str, segments: list[tuple[str, str]]
) -> None:
    assert segments_by_script(text, voice_key) == segments


@pytest.mark.parametrize("name", ["../../etc/passwd", "en us", "EN", "e" * 33, "en\0us", "en\n"])
async def test_what_is_no_name_never_reaches_espeak(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = WorkerPool("no.such.module", limit=1)
    monkeypatch.setattr(espeak, "WORKERS", pool)
    with pytest.raises(ProviderError, match="no voice") as caught:
        await spoken("Hello", voice(name))
    assert caught.value.is_permanent


async def test_an_unknown_voice_is_refused() -> None:
    assert await spoken("Hello", voice("en-us"))
    with pytest.raises(ProviderError) as caught:
        await spoken("Hello", voice("klingon-xx"))
    assert caught.value.is_permanent
    assert "klingon-xx" in caught.value.message


async def test_a_text_beyond_the_limit_is_refused() -> None:
    with pytest.raises(ProviderError) as caught:
        await spoken("a" * (espeak.MAX_CHARS + 1), voice())
    assert caught.value.is_permanent


async def test_it_can_be_stopped_in_mid_sentence_and_the_voice_is_free_again() -> None:
    whole_ms = duration_ms(b"".join(await spoken("And now?", voice())))
    for _ in range(6):
        async with registry.speaker(voice()).speak(LONG) as pieces:
            assert await anext(aiter(pieces))
        # More often than there are workers: none is lost, and nothing of the old text is heard.
        again_ms = duration_ms(b"".join(await spoken("And now?", voice())))
        assert again_ms == pytest.approx(whole_ms, abs=20)


async def test_more_speakers_than_workers_take_turns() -> None:
    texts = [f"This is number {number}." for number in range(12)]
    alone = [duration_ms(b"".join(await spoken(text, voice()))) for text in texts]

    together = await asyncio.gather(*(spoken(text, voice()) for text in texts))

    durations = [duration_ms(b"".join(pieces)) for pieces in together]
    assert durations == pytest.approx(alone, abs=20)
    assert len(espeak.WORKERS.pids()) <= 2


async def test_a_killed_worker_is_replaced() -> None:
    assert await spoken("Still here.", voice())
    killed = espeak.WORKERS.pids()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    assert await spoken("Still here.", voice())
    assert not set(espeak.WORKERS.pids()) & set(killed)


async def test_a_worker_killed_while_speaking_fails_the_call_or_starts_over() -> None:
    pool = espeak.WORKERS
    await spoken("Warm.", voice())
    speaking = asyncio.gather(
        *(spoken(LONG[:3000], voice()) for _ in range(4)), return_exceptions=True
    )
    await asyncio.sleep(0)
    for pid in pool.pids():
        os.kill(pid, signal.SIGKILL)

    for result in await speaking:
        # Whole, or a temporary error; never half an answer that passes for a whole one.
        if isinstance(result, BaseException):
            assert isinstance(result, ProviderError)
            assert not result.is_permanent
        else:
            assert duration_ms(b"".join(result)) > 60_000


async def test_a_worker_that_cannot_start_fails_the_call() -> None:
    from providers.builtin.workers import WorkerDied

    pool = WorkerPool("providers.builtin.no_such_worker", limit=1)
    with pytest.raises(WorkerDied):
        async with pool.lease():
            pass
    pool.close()


async def test_cancelling_who_waits_for_a_worker_loses_none() -> None:
    pool = WorkerPool("providers.builtin.espeak_worker", limit=1)

    async def borrow() -> None:
        async with pool.lease():
            pass

    try:
        async with pool.lease():
            waiting = [asyncio.create_task(borrow()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
        await asyncio.wait_for(asyncio.gather(*waiting[1:]), timeout=5)
        assert waiting[0].cancelled()
        assert len(pool.pids()) == 1
    finally:
        pool.close()


def test_the_pool_serves_one_loop_after_the_other() -> None:
    results = [asyncio.run(spoken("Hello.", voice())) for _ in range(3)]

    assert all(duration_ms(b"".join(pieces)) > 200 for pieces in results)


def test_workers_end_when_their_parent_does() -> None:
    import subprocess
    import sys
    from pathlib import Path

    script = (
        "import time\n"
        "from providers.builtin.workers import WorkerPool\n"
        "pool = WorkerPool('providers.builtin.espeak_worker', limit=2)\n"
        "pool.warm_up(2)\n"
        "print(*pool.pids(), flush=True)\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
        parent.wait()

    for pid in pids:
        assert _is_gone_soon(pid)


def _is_gone_soon(pid: int) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        process.wait(timeout=5)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True
