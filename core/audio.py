"""Sound as numbers: pcm_s16le, mono, 16 000 Hz unless said otherwise. Pure, no I/O."""

from __future__ import annotations

import io
import math
import wave

import numpy as np
import numpy.typing as npt
import soxr

SAMPLE_RATE_HZ = 16_000
SAMPLE_BYTES = 2
FRAME_MS = 20
# 20 ms, the unit in which audio travels.
FRAME_BYTES = SAMPLE_RATE_HZ * SAMPLE_BYTES * FRAME_MS // 1000
_FULL_SCALE = 32768.0
SILENCE_DB = -96.0


class AudioError(ValueError):
    """The bytes are not audio that can be read; the message says why."""


def duration_ms(pcm: bytes, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """How long the audio lasts, rounded down."""
    return len(pcm) // SAMPLE_BYTES * 1000 // sample_rate_hz


def wav_from_pcm(pcm: bytes, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """A WAV file of mono 16-bit audio."""
    target = io.BytesIO()
    with wave.open(target, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(SAMPLE_BYTES)
        writer.setframerate(sample_rate_hz)
        writer.writeframes(pcm)
    return target.getvalue()


def pcm_from_wav(data: bytes) -> bytes:
    """The audio of an uncompressed WAV file of any rate and width, as mono 16 000 Hz.

    Raises AudioError for anything else.
    """
    try:
        with wave.open(io.BytesIO(data)) as reader:
            width, channels = reader.getsampwidth(), reader.getnchannels()
            rate_hz = reader.getframerate()
            raw = reader.readframes(reader.getnframes())
    except (wave.Error, EOFError, OverflowError) as error:
        raise AudioError(f"not an uncompressed WAV file: {error}") from None
    if not 1_000 <= rate_hz <= 384_000:
        raise AudioError(f"a sample rate of {rate_hz} Hz is not audio")
    samples = _as_floats(raw, width)
    samples = samples[: len(samples) // channels * channels].reshape(-1, channels).mean(axis=1)
    return _as_pcm(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ))


def _as_floats(raw: bytes, width: int) -> npt.NDArray[np.float32]:
    """Samples of 1 to 4 bytes as floats between -1 and 1."""
    raw = raw[: len(raw) // width * width]
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128.0) / 128.0
    if width == 2:
        return np.frombuffer(raw, "<i2").astype(np.float32) / _FULL_SCALE
    if width == 3:
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return padded.view("<i4")[:, 0].astype(np.float32) / 2.0**31
    if width == 4:
        return np.frombuffer(raw, "<i4").astype(np.float32) / 2.0**31
    raise AudioError(f"samples of {width} bytes are not supported")


def _as_pcm(samples: npt.NDArray[np.float32]) -> bytes:
    pcm: bytes = np.clip(np.rint(samples * _FULL_SCALE), -32768, 32767).astype("<i2").tobytes()
    return pcm


def resample(pcm: bytes, *, from_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """The whole of the audio at another rate."""
    if from_hz == to_hz:
        return pcm
    samples = np.frombuffer(pcm[: len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES], "<i2")
    converted: npt.NDArray[np.int16] = soxr.resample(samples, from_hz, to_hz)
    return converted.tobytes()


class StreamResampler:
    """Audio at another rate, piece by piece; pieces may end inside a sample."""

    def __init__(self, *, from_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> None:
        self._stream = (
            None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16")
        )
        self._rest = b""

    def push(self, pcm: bytes, *, is_last: bool = False) -> bytes:
        """What is ready after this piece, in whole samples; often less than was pushed."""
        data = self._rest + pcm
        whole = len(data) // SAMPLE_BYTES * SAMPLE_BYTES
        data, self._rest = data[:whole], data[whole:]
        if self._stream is None:
            return data
        ready: npt.NDArray[np.int16] = self._stream.resample_chunk(
            np.frombuffer(data, "<i2"), last=is_last
        )
        return ready.tobytes()

    def finish(self) -> bytes:
        """The last samples, which the filter still holds."""
        return self.push(b"", is_last=True)


def apply_gain(pcm: bytes, gain_db: float) -> bytes:
    """The audio louder or softer, clipped at full scale."""
    if gain_db == 0:
        return pcm
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) * 10.0 ** (gain_db / 20.0)
    louder: bytes = np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()
    return louder


def level_db(pcm: bytes) -> float:
    """How loud the audio is on average (RMS), in dB below full scale; SILENCE_DB at least."""
    samples = np.frombuffer(pcm[: len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES], "<i2")
    if not samples.size:
        return SILENCE_DB
    rms = math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))
    return max(SILENCE_DB, 20.0 * math.log10(rms / _FULL_SCALE)) if rms else SILENCE_DB
