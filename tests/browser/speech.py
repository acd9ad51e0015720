"""What microphones hear in these tests: our own voice, saying known sentences."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soxr

from core.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ, wav_from_pcm
from providers.builtin.espeak import EspeakSpeaker
from providers.types import Endpoint, VoiceSpec

MICROPHONE_HZ = 48_000
VOICE = VoiceSpec(
    Endpoint(row_id="", vendor="builtin", base_url="", api_key="", model_name=""),
    name="en-us",
    language="en",
    voice_key="en-us",
)


async def _speech(text: str) -> bytes:
    async with EspeakSpeaker(VOICE).speak(text) as pieces:
        return b"".join([piece async for piece in pieces])


def _sound(part: str | float) -> bytes:
    if isinstance(part, str):
        return asyncio.run(_speech(part))
    return bytes(SAMPLE_BYTES * round(part * SAMPLE_RATE_HZ))


def _sounds(*parts: str | float) -> bytes:
    """Sentences, and silences in seconds between them, as PCM."""
    # Playwright keeps an event loop in the thread of the test.
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        return b"".join(other_thread.map(_sound, parts))


def spoken(text: str) -> bytes:
    """A WAV file of a sentence."""
    return wav_from_pcm(_sounds(text), sample_rate_hz=SAMPLE_RATE_HZ)


def duration_ms(text: str) -> float:
    """How long a sentence takes to be said."""
    return len(_sounds(text)) / SAMPLE_BYTES / SAMPLE_RATE_HZ * 1000


def record(path: Path, *parts: str | float) -> Path:
    """A WAV file for Chromium's microphone: sentences, and silences in seconds between them."""
    sound = np.frombuffer(_sounds(*parts), dtype="<i2")
    samples = soxr.resample(sound, SAMPLE_RATE_HZ, MICROPHONE_HZ)
    path.write_bytes(wav_from_pcm(samples.tobytes(), sample_rate_hz=MICROPHONE_HZ))
    return path
