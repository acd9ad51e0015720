"""Transcription and speech over real HTTP."""

from __future__ import annotations

import asyncio
import io
import wave

import numpy as np
import pytest

from core.audio import duration_ms, level_db, wav_from_pcm
from core.errors import ProviderError
from providers import registry
from providers.clients import openai_transcriptions, transport
from providers.fakes import FakeUpstream, Step
from providers.fakes.upstream import tone
from providers.types import AsrSpec, Transcript, VoiceSpec
from tests.upstream import SECRET, asr_spec, voice_spec

PCM = np.tile(np.array([1000, -1000], "<i2"), 8_000).tobytes()


async def transcribe(spec: AsrSpec, pcm: bytes = PCM) -> Transcript:
    async with registry.recogniser(spec).listen() as utterance:
        for at in range(0, len(pcm), 640):
            utterance.feed(pcm[at : at + 640])
        assert await utterance.partial() == ""
        return await utterance.finish()


async def speak(spec: VoiceSpec, text: str = "Hello there, friend.") -> list[bytes]:
    async with registry.speaker(spec).speak(text) as pieces:
        return [piece async for piece in pieces]


# --- Transcription ------------------------------------------------------------------------------


async def test_it_sends_the_utterance_as_wav_with_what_is_known(upstream: FakeUpstream) -> None:
    upstream.behaviour.transcript = " Hello, world. "
    spec = asr_spec(
        upstream.base_url, model="whisper-large", language="en", hotwords=("Kowalski", "Anna")
    )

    found = await transcribe(spec)

    assert found.text == "Hello, world."
    assert found.language == "english"
    assert found.confidence == pytest.approx(0.905, abs=0.001)
    body = upstream.stats.last("transcriptions")[0]["body"]
    assert body == {
        "model": "whisper-large",
        "response_format": "verbose_json",
        "language": "en",
        "prompt": "Kowalski, Anna",
        "file_bytes": len(PCM) + 44,
    }


async def test_it_sends_only_what_is_set(upstream: FakeUpstream) -> None:
    found = await transcribe(asr_spec(upstream.base_url))

    assert found == Transcript("hello there")
    body = upstream.stats.last("transcriptions")[0]["body"]
    assert set(body) == {"model", "response_format", "file_bytes"}
    assert body["response_format"] == "json"


@pytest.mark.parametrize(
    ("transcript", "punctuated", "text"),
    [
        ("<|en|><|HAPPY|>Hello, 3.5 times.", True, "Hello, 3.5 times."),
        ("Hello, 3.5 times. OK?", False, "Hello 3.5 times OK"),
        ("你好，世界。", False, "你好世界"),
    ],
)
async def test_it_cleans_the_text(
    upstream: FakeUpstream, transcript: str, punctuated: bool, text: str
) -> None:
    upstream.script("transcriptions", Step(transcript=transcript))

    spec = asr_spec(upstream.base_url, enable_punctuation=punctuated)
    assert (await transcribe(spec)).text == text


async def test_it_asks_nothing_about_no_audio(upstream: FakeUpstream) -> None:
    assert await transcribe(asr_spec(upstream.base_url), b"") == Transcript("")
    assert await transcribe(asr_spec(upstream.base_url), bytes(1600)) == Transcript("")
    assert upstream.stats.of("transcriptions").requests == 0


ASR_FAILURES = [
    (Step(status=401, body={}), True),
    (Step(status=404, body={}), True),
    (Step(status=413, body={}), True),
    (Step(status=429, body={}, headers={"retry-after": "3"}), False),
    (Step(status=503, body={}), False),
    (Step(raw="{not json"), False),
    (Step(raw="[]"), False),
    (Step(raw='{"text": 5}'), False),
    (Step(raw="<html>", content_type="text/html"), True),
]


@pytest.mark.parametrize(("step", "is_permanent"), ASR_FAILURES, ids=lambda value: str(value))
async def test_it_translates_failures_of_transcription(
    upstream: FakeUpstream, step: Step, is_permanent: bool
) -> None:
    upstream.script("transcriptions", step)

    with pytest.raises(ProviderError) as caught:
        await transcribe(asr_spec(upstream.base_url))

    assert caught.value.is_permanent is is_permanent
    assert SECRET not in caught.value.message
    if step.status == 429:
        assert caught.value.retry_after == 3


async def test_it_reads_no_more_than_a_transcript_takes(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_transcriptions, "_MAX_BYTES", 1_000)
    assert (await transcribe(asr_spec(upstream.base_url))).text
    upstream.script("transcriptions", Step(raw='{"text": "' + "a" * 1_000 + '"}'))
    with pytest.raises(ProviderError, match="larger than 1000"):
        await transcribe(asr_spec(upstream.base_url))


async def test_cancelling_a_transcription_closes_the_request(upstream: FakeUpstream) -> None:
    upstream.script("transcriptions", Step(wait_ms=60_000))
    task = asyncio.create_task(transcribe(asr_spec(upstream.base_url)))
    await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("transcriptions").requests == 1
    )

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("transcriptions").cancelled == 1
    )


# --- Speech -------------------------------------------------------------------------------------


async def test_it_streams_speech_at_our_rate(upstream: FakeUpstream) -> None:
    upstream.behaviour.tts_speed = 20
    pieces = await speak(voice_spec(upstream.base_url))

    pcm = b"".join(pieces)
    assert len(pieces) > 3
    assert all(len(piece) % 2 == 0 for piece in pieces)
    # The fake speaks 60 ms a character.
    assert duration_ms(pcm) == pytest.approx(20 * 60, abs=2)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(pcm, "<i2")[:16_000]))
    assert int(spectrum.argmax()) == 220
    body = upstream.stats.last("speech")[0]["body"]
    assert body == {
        "model": "fake-model",
        "voice": "alloy",
        "input": "Hello there, friend.",
        "response_format": "pcm",
    }


async def test_it_asks_for_the_speed_and_applies_the_gain(upstream: FakeUpstream) -> None:
    plain = b"".join(await speak(voice_spec(upstream.base_url)))
    other = b"".join(await speak(voice_spec(upstream.base_url, speed=2.0, gain=-6.0)))

    assert upstream.stats.last("speech")[-1]["body"]["speed"] == 2.0
    assert duration_ms(other) == pytest.approx(duration_ms(plain) / 2, abs=2)
    assert level_db(plain) - level_db(other) == pytest.approx(6, abs=0.2)


async def test_a_vendor_may_have_its_own_rate(upstream: FakeUpstream) -> None:
    pcm = b"".join(await speak(voice_spec(upstream.base_url, vendor="siliconflow")))

    body = upstream.stats.last("speech")[0]["body"]
    assert (body["sample_rate"], body["stream"]) == (16_000, True)
    # The fake sends 24 000 Hz all the same, which now is taken for what was asked.
    assert duration_ms(pcm) == pytest.approx(20 * 60 * 1.5, abs=2)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
async def test_it_reads_a_wav_file_sent_instead_of_pcm(
    upstream: FakeUpstream, rate_hz: int
) -> None:
    data = wav_from_pcm(bytes(rate_hz * 2), sample_rate_hz=rate_hz).decode("latin-1")
    upstream.script("speech", Step(raw=data, content_type="audio/wav"))

    pcm = b"".join(await speak(voice_spec(upstream.base_url)))

    assert duration_ms(pcm) == pytest.approx(1000, abs=2)


async def test_it_says_nothing_for_no_text(upstream: FakeUpstream) -> None:
    assert await speak(voice_spec(upstream.base_url), " \n") == []
    assert upstream.stats.of("speech").requests == 0


def stereo_wav() -> str:
    target = io.BytesIO()
    with wave.open(target, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(24_000)
        writer.writeframes(bytes(4_000))
    return target.getvalue().decode("latin-1")


TTS_FAILURES = [
    (Step(status=401, body={}), True),
    (Step(status=404, body={}), True),
    (Step(status=429, body={}), False),
    (Step(status=500, body={}), False),
    (Step(raw="", content_type="audio/pcm"), False),
    (Step(raw='{"error": "no"}', content_type="application/json"), True),
    (Step(raw="<html>", content_type="text/html"), True),
    (Step(raw="ID3" + "x" * 100, content_type="audio/mpeg"), True),
    (Step(raw=stereo_wav(), content_type="audio/wav"), True),
    (Step(break_after=2), False),
]


@pytest.mark.parametrize(("step", "is_permanent"), TTS_FAILURES, ids=lambda value: str(value)[:60])
async def test_it_translates_failures_of_speech(
    upstream: FakeUpstream, step: Step, is_permanent: bool
) -> None:
    upstream.script("speech", step)

    with pytest.raises(ProviderError) as caught:
        await speak(voice_spec(upstream.base_url))

    assert caught.value.is_permanent is is_permanent
    assert SECRET not in caught.value.message


async def test_it_reads_no_speech_without_end(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_STREAM_BYTES", 10_000)
    steps = [Step(raw="\0" * size, content_type="audio/pcm") for size in (10_000, 10_001)]
    upstream.script("speech", *steps)
    await speak(voice_spec(upstream.base_url))
    with pytest.raises(ProviderError, match="larger than 10000"):
        await speak(voice_spec(upstream.base_url))


async def test_leaving_stops_the_synthesis_at_once(upstream: FakeUpstream) -> None:
    upstream.script("speech", Step(hang_after=2))

    async with registry.speaker(voice_spec(upstream.base_url)).speak("Hello there.") as pieces:
        assert await anext(aiter(pieces))

    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("speech").cancelled == 1
    )


def test_the_fakes_tone_has_no_click_where_its_pieces_meet() -> None:
    samples = np.frombuffer(tone(500), "<i2").astype(np.int32)

    assert np.abs(np.diff(samples)).max() < 400
