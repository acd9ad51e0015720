"""What the fake microphone hears: our own voice, saying known sentences at known times."""

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


async def _spoken(text: str) -> bytes:
    async with EspeakSpeaker(VOICE).speak(text) as pieces:
        return b"".join([piece async for piece in pieces])


def _sound(part: str | float) -> bytes:
    if isinstance(part, str):
        return asyncio.run(_spoken(part))
    return bytes(SAMPLE_BYTES * round(part * SAMPLE_RATE_HZ))


def record(path: Path, *parts: str | float) -> Path:
    """A WAV file for Chromium's microphone: sentences, and silences in seconds between them."""
    # Playwright keeps an event loop in the thread of the test.
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        sound = b"".join(other_thread.map(_sound, parts))
    samples = soxr.resample(np.frombuffer(sound, dtype="<i2"), SAMPLE_RATE_HZ, MICROPHONE_HZ)
    path.write_bytes(wav_from_pcm(samples.tobytes(), sample_rate_hz=MICROPHONE_HZ))
    return path
