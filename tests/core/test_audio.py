"""Sound as numbers."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import audio


def sine(hz: float, seconds: float = 1.0, *, rate_hz: int = 16_000, level: float = 0.25) -> bytes:
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    return (np.sin(2 * np.pi * hz * at) * level * 32767).astype("<i2").tobytes()


def loudest_hz(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, "<i2")
    spectrum = np.abs(np.fft.rfft(samples))
    return float(spectrum.argmax() * 16_000 / samples.size)


def wav(data: bytes, *, width: int, channels: int, rate_hz: int) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate_hz)
        writer.writeframes(data)
    return target.getvalue()


def test_wav_and_back_is_the_same() -> None:
    pcm = sine(440)

    assert audio.pcm_from_wav(audio.wav_from_pcm(pcm)) == pcm


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 24_000, 44_100, 48_000])
def test_wav_of_another_rate_is_converted(rate_hz: int) -> None:
    pcm = audio.pcm_from_wav(audio.wav_from_pcm(sine(440, rate_hz=rate_hz), sample_rate_hz=rate_hz))

    assert audio.duration_ms(pcm) == pytest.approx(1000, abs=2)
    assert loudest_hz(pcm) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_of_any_width_and_two_channels_is_mixed(width: int) -> None:
    at = np.arange(16_000) / 16_000
    floats = np.sin(2 * np.pi * 440 * at) * 0.5
    if width == 1:
        mono = (floats * 127 + 128).astype(np.uint8).tobytes()
    else:
        full = (floats * (2 ** (8 * width - 1) - 1)).astype("<i8")
        mono = full.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    frames = np.frombuffer(mono, np.uint8).reshape(-1, width)
    stereo = np.concatenate([frames, frames], axis=1).tobytes()

    pcm = audio.pcm_from_wav(wav(stereo, width=width, channels=2, rate_hz=16_000))

    assert loudest_hz(pcm) == pytest.approx(440, abs=2)
    assert audio.level_db(pcm) == pytest.approx(-9, abs=0.3)


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"ID3 not wav", audio.wav_from_pcm(b"")[:20], b"\x00" * 100]
)
def test_what_is_no_wav_is_refused(data: bytes) -> None:
    with pytest.raises(audio.AudioError):
        audio.pcm_from_wav(data)


@given(cuts=st.lists(st.integers(1, 999), max_size=30), from_hz=st.sampled_from([8000, 24000]))
def test_resampling_in_pieces_is_resampling_at_once(cuts: list[int], from_hz: int) -> None:
    pcm = sine(300, 0.2, rate_hz=from_hz)
    stream = audio.StreamResampler(from_hz=from_hz)
    made, at = b"", 0
    for cut in [*cuts, len(pcm)]:
        made += stream.push(pcm[at : at + cut])
        at += cut
    made += stream.finish()

    whole = audio.resample(pcm, from_hz=from_hz)
    assert len(made) % 2 == 0
    assert abs(len(made) - len(whole)) <= 4
    size = min(len(made), len(whole))
    difference = np.frombuffer(made[:size], "<i2") - np.frombuffer(whole[:size], "<i2")
    assert np.abs(difference).max() <= 2


@given(pcm=st.binary(max_size=400), cut=st.integers(0, 400))
def test_at_our_own_rate_nothing_changes(pcm: bytes, cut: int) -> None:
    stream = audio.StreamResampler(from_hz=16_000)

    made = stream.push(pcm[:cut]) + stream.push(pcm[cut:]) + stream.finish()

    assert made == pcm[: len(pcm) // 2 * 2]


def test_gain_is_in_decibels_and_clips() -> None:
    pcm = sine(440, level=0.25)

    assert audio.level_db(audio.apply_gain(pcm, 6)) - audio.level_db(pcm) == pytest.approx(
        6, abs=0.05
    )
    assert audio.apply_gain(pcm, 0) is pcm
    loud = np.frombuffer(audio.apply_gain(pcm, 60), "<i2")
    assert (loud.min(), loud.max()) == (-32768, 32767)


def test_levels() -> None:
    assert audio.level_db(b"") == audio.level_db(bytes(640)) == audio.SILENCE_DB
    assert audio.level_db(sine(440, level=1.0)) == pytest.approx(-3, abs=0.1)
