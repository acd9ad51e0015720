"""Where there is speech: Silero over all calls of the process, off the event loop.

One thread gathers the windows of all streams that wait, runs the network once over all of them and
posts the results to the loop in one call. The network (`realtime.silero`) is loaded once: a stream
is no more than its row in the network's memory.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from django.utils.translation import gettext as _

from core.errors import Unavailable
from realtime.endpointing import WINDOW_SAMPLES

WINDOW_BYTES = WINDOW_SAMPLES * 2

# A round waits this long for more windows to join it, so that there are fewer rounds.
_GATHER_S = 0.005
# After a failure, a new detector is tried this often.
RESTART_EVERY_S = 1.0

logger = logging.getLogger(__name__)

ResultCallback = Callable[[float, int], None]


class Detector(Protocol):
    """A speech detector for many streams; each has a slot. Used by one thread."""

    def reset(self, slot: int) -> None:
        """Forgets what was heard in the slot."""
        ...

    def probabilities(self, slots: Sequence[int], windows: Sequence[bytes]) -> Sequence[float]:
        """How likely each window (512 samples, s16le) holds speech; one window for each slot."""
        ...


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

    def __init__(
        self, pool: VadPool, slot: int, on_result: ResultCallback, max_windows: int
    ) -> None:
        self._pool = pool
        self._slot = slot
        self._on_result: ResultCallback | None = on_result
        self._windows = Windows()
        # The pool's, guarded by its lock.
        self._waiting: deque[tuple[bytes, int]] = deque(maxlen=max_windows)
        self._dropped_windows = 0
        self._is_new = True

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


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """What a stream brings to a round: windows, each with the sample count at its end."""

    stream: VadStream
    is_new: bool
    windows: list[tuple[bytes, int]]


def _silero(slots: int) -> Detector:
    # In the pool's thread, and not before a call: runtime and network take 45 MB.
    from realtime.silero import Silero

    return Silero(slots)


class VadPool:
    """The detectors of one process, for one event loop (the running one when it is made).

    `open` gives streams until `max_streams` are open, then raises Unavailable. A stream that falls
    `max_windows` behind loses its oldest windows. A detector that fails is replaced by a new one;
    until that works, no stream is opened.
    """

    def __init__(
        self,
        *,
        max_streams: int = 256,
        max_windows: int = 64,
        make_detector: Callable[[int], Detector] = _silero,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._max_windows = max_windows
        self._make_detector = make_detector
        self._max_streams = max_streams
        self._free_slots = list(range(max_streams))
        self._changed = threading.Condition()
        self._ready: dict[VadStream, None] = {}
        self._is_closed = False
        self._is_broken = False
        self._has_reported = False
        self._last_batch_ms = 0.0
        self._worker = threading.Thread(target=self._run, name="vad", daemon=True)
        self._worker.start()

    @property
    def open_streams(self) -> int:
        """Streams in use."""
        return self._max_streams - len(self._free_slots)

    @property
    def last_batch_ms(self) -> float:
        """How long the last round over all streams took: a measure of overload."""
        return self._last_batch_ms

    def open(self, on_result: ResultCallback) -> VadStream:
        """A new stream; `on_result(probability, end_sample)` is called on the loop, in order."""
        with self._changed:
            if self._is_closed or self._is_broken or not self._free_slots:
                raise Unavailable(_("Too many calls at the same time."), retry_after=5)
            return VadStream(self, self._free_slots.pop(), on_result, self._max_windows)

    async def close(self) -> None:
        """Stops the thread; open streams get no more results."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        await asyncio.to_thread(self._worker.join)

    def _enqueue(self, stream: VadStream, windows: list[tuple[bytes, int]]) -> None:
        with self._changed:
            overflow = len(stream._waiting) + len(windows) - self._max_windows
            stream._dropped_windows += max(0, overflow)
            stream._waiting.extend(windows)
            self._ready[stream] = None
            self._changed.notify()

    def _release(self, stream: VadStream) -> None:
        with self._changed:
            self._ready.pop(stream, None)
            self._free_slots.append(stream._slot)

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._detect(self._new_detector())
            except Exception:
                # The outer edge of the thread: whatever failed must not leave all calls deaf.
                if not self._has_reported:
                    self._has_reported = True
                    logger.exception("speech detection failed; it is started anew until it works")
                self._wait_after_failure()

    def _new_detector(self) -> Detector:
        detector = self._make_detector(self._max_streams)
        if self._is_broken:
            for slot in range(self._max_streams):
                detector.reset(slot)
            detector.probabilities([0], [bytes(WINDOW_BYTES)])
            detector.reset(0)
            self._is_broken = False
            logger.warning("speech detection works again")
        return detector

    def _wait_after_failure(self) -> None:
        with self._changed:
            self._is_broken = True
            self._changed.wait_for(lambda: self._is_closed, timeout=RESTART_EVERY_S)

    def _detect(self, detector: Detector) -> None:
        """Serves all streams until the pool is closed."""
        while (batch := self._next_batch()) is not None:
            started = time.perf_counter()
            results = _results(detector, batch)
            self._last_batch_ms = (time.perf_counter() - started) * 1000
            self._has_reported = False
            try:
                self._loop.call_soon_threadsafe(self._deliver, results)
            except RuntimeError:
                self._is_closed = True  # the loop was closed without closing the pool

    def _next_batch(self) -> list[Waiting] | None:
        """All that waits; None when the pool was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._is_closed)
        time.sleep(_GATHER_S)
        batch: list[Waiting] = []
        with self._changed:
            if self._is_closed:
                return None
            for stream in self._ready:
                batch.append(Waiting(stream, stream._is_new, list(stream._waiting)))
                stream._is_new = False
                stream._waiting.clear()
            self._ready.clear()
            return batch

    def _deliver(self, results: list[tuple[VadStream, float, int]]) -> None:
        for stream, probability, end_sample in results:
            try:
                stream._deliver(probability, end_sample)
            except Exception:
                # The outer edge of each call: its failure is not the next one's.
                logger.exception("a call failed to take a speech probability")


def _results(detector: Detector, batch: list[Waiting]) -> list[tuple[VadStream, float, int]]:
    """Runs the first window of all streams at once, then the second of all that have one, …"""
    for waiting in batch:
        if waiting.is_new:
            detector.reset(waiting.stream._slot)
    results: list[tuple[VadStream, float, int]] = []
    for nth in range(max((len(waiting.windows) for waiting in batch), default=0)):
        row = [waiting for waiting in batch if nth < len(waiting.windows)]
        probabilities = detector.probabilities(
            [waiting.stream._slot for waiting in row], [waiting.windows[nth][0] for waiting in row]
        )
        results += [
            (waiting.stream, probability, waiting.windows[nth][1])
            for waiting, probability in zip(row, probabilities, strict=True)
        ]
    return results
