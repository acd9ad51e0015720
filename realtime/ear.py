"""What comes in: speech is found, cut into utterances, and handed to the recogniser."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from django.utils.translation import gettext as _

from core.errors import AppError, ProviderError
from core.loops import PerLoop
from providers.interfaces import Utterance
from providers.registry import recogniser
from providers.types import AsrSpec
from realtime import endpointing, events
from realtime.endpointing import (
    SAMPLES_PER_MS,
    WINDOW_SAMPLES,
    EndOfTurn,
    Endpointer,
    EndpointingConfig,
    SpeechEvent,
    SpeechOngoing,
)
from realtime.events import Event, PartlyTranscribed, RecognitionFailed, Transcribed
from realtime.vad import VadPool

logger = logging.getLogger(__name__)

# Word beginnings are too soft for the detector: the recogniser gets this much from before.
PRE_ROLL_SAMPLES = 300 * SAMPLES_PER_MS
MAX_KEPT_SAMPLES = 30_000 * SAMPLES_PER_MS
# 10 s of sound may wait for the detector; beyond that the oldest goes.
MAX_WAITING_WINDOWS = 10_000 * SAMPLES_PER_MS // WINDOW_SAMPLES
STALLED_AFTER_MS = 1000.0
PARTIAL_EVERY_S = 0.3
RECOGNITION_TIMEOUT_S = 30.0

_VAD = PerLoop(lambda: VadPool(max_windows=MAX_WAITING_WINDOWS), VadPool.close)

Dispatch = Callable[[Event], None]
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


def warm_up() -> None:
    """Has the speech detector loaded, in its thread; to be called on the loop that serves.

    It takes an eighth of a second once a process: done when a client comes, it is there before
    anybody has said anything.
    """
    _VAD.get()


class Ear:
    """Hears one call. `hear` takes the client's audio and never blocks.

    `dispatch` is told what the detector and the recogniser find; `wants_sustained` says whether
    speech of that many milliseconds matters now.
    """

    def __init__(
        self,
        spec: AsrSpec,
        *,
        end_of_turn_silence_ms: int,
        sends_partials: bool,
        dispatch: Dispatch,
        wants_sustained: Callable[[int], bool],
        spawn: Spawn,
    ) -> None:
        self._spec = spec
        self._sends_partials = sends_partials
        self._dispatch = dispatch
        self._wants_sustained = wants_sustained
        self._spawn = spawn
        self._endpointer = Endpointer(
            EndpointingConfig(end_of_turn_silence_ms=end_of_turn_silence_ms)
        )
        self._kept: deque[tuple[int, bytes]] = deque()
        self._clock = _Arrivals()
        self._detected = 0
        self._ignored_until = 0
        self._commit_at: int | None = None
        self._speech_from: int | None = None
        self._heard_at_ms = _now_ms()
        self._hearings: dict[int, _Hearing] = {}
        self._open: _Hearing | None = None
        self._vad = _VAD.get().open(self._on_probability)

    def hear(self, pcm: bytes) -> None:
        """Takes what the client's microphone picked up."""
        self._vad.submit(pcm)
        end_sample = self._vad.received_samples
        self._heard_at_ms = _now_ms()
        self._clock.note(end_sample, self._heard_at_ms)
        self._keep(end_sample, pcm)
        if self._open is not None:
            self._open.feed(pcm)

    def commit(self) -> None:
        """Push-to-talk: the turn ends with what has been received."""
        received = self._vad.received_samples
        self._commit_at = received - received % WINDOW_SAMPLES
        self._commit_if_detected()

    def clear(self) -> None:
        """Push-to-talk: what has been received since the last turn never was."""
        self._endpointer.reset()
        self._ignored_until = self._vad.received_samples
        self._commit_at = None
        self._speech_from = None
        self._kept.clear()

    def end_stalled_turn(self) -> None:
        """Ends the turn when the client stopped sending in the middle of it."""
        if self._endpointer.is_in_turn and _now_ms() - self._heard_at_ms > STALLED_AFTER_MS:
            self._tell(self._endpointer.commit())

    def open(self, utterance: int) -> None:
        """Begins to recognise what is being said, from its beginning on."""
        self.drop(utterance)
        hearing = _Hearing(utterance, self._dispatch, sends_partials=self._sends_partials)
        speech_from = self._detected if self._speech_from is None else self._speech_from
        start = speech_from - PRE_ROLL_SAMPLES
        for end_sample, pcm in self._kept:
            if end_sample > start:
                hearing.feed(pcm)
        self._open = self._hearings[utterance] = hearing
        hearing.task = self._spawn(hearing.run(self._spec))
        hearing.task.add_done_callback(lambda _task: self._forget(hearing))

    def finish(self, utterance: int) -> None:
        """The utterance is complete: its transcript will be dispatched."""
        if (hearing := self._hearings.get(utterance)) is not None:
            hearing.finish()
        self._open = None

    def drop(self, utterance: int) -> None:
        """Nobody wants the utterance any more."""
        if (hearing := self._hearings.pop(utterance, None)) is not None:
            hearing.drop()
            if self._open is hearing:
                self._open = None

    def close(self) -> None:
        self._vad.close()

    def _forget(self, hearing: _Hearing) -> None:
        if self._hearings.get(hearing.utterance) is hearing:
            del self._hearings[hearing.utterance]
        if self._open is hearing:
            self._open = None

    def _keep(self, end_sample: int, pcm: bytes) -> None:
        """Keeps what a recogniser may yet need, from before the speech that may be found in it."""
        self._kept.append((end_sample, pcm))
        needed_from = self._detected
        if self._speech_from is not None and self._open is None:
            needed_from = self._speech_from
        oldest = max(needed_from - 2 * PRE_ROLL_SAMPLES, end_sample - MAX_KEPT_SAMPLES)
        while self._kept and self._kept[0][0] < oldest:
            self._kept.popleft()

    def _on_probability(self, probability: float, end_sample: int) -> None:
        self._detected = end_sample
        if end_sample <= self._ignored_until:
            return
        self._tell(self._endpointer.push(probability, end_sample))
        self._commit_if_detected()

    def _commit_if_detected(self) -> None:
        if self._commit_at is not None and self._commit_at <= self._detected:
            self._commit_at = None
            self._tell(self._endpointer.commit(), is_by_hand=True)

    def _tell(self, found: tuple[SpeechEvent, ...], *, is_by_hand: bool = False) -> None:
        for event in found:
            match event:
                case SpeechOngoing(voiced_ms=voiced_ms):
                    if self._wants_sustained(voiced_ms):
                        self._dispatch(events.SpeechSustained())
                case endpointing.SpeechStarted(at_sample, probability):
                    if self._speech_from is None:
                        self._speech_from = at_sample
                    self._dispatch(events.SpeechStarted(probability))
                case endpointing.SpeechStopped(probability=probability):
                    self._dispatch(events.SpeechStopped(probability))
                case EndOfTurn():
                    self._dispatch(self._turn_ended(event, is_by_hand=is_by_hand))
                    self._speech_from = None

    def _turn_ended(self, event: EndOfTurn, *, is_by_hand: bool) -> events.TurnEnded:
        ended_at_ms = self._clock.at_ms(event.at_sample)
        length_ms = (event.at_sample - event.started_at_sample) / SAMPLES_PER_MS
        return events.TurnEnded(ended_at_ms - length_ms, ended_at_ms, is_by_hand)


class _Hearing:
    """One utterance on its way through the recogniser."""

    def __init__(self, utterance: int, dispatch: Dispatch, *, sends_partials: bool) -> None:
        self.utterance = utterance
        self.task: asyncio.Task[None] | None = None
        self._dispatch = dispatch
        self._sends_partials = sends_partials
        self._early: list[bytes] = []
        self._recognised: Utterance | None = None
        self._ended = asyncio.Event()
        self._is_dropped = False

    def feed(self, pcm: bytes) -> None:
        if self._recognised is not None:
            self._recognised.feed(pcm)
        else:
            self._early.append(pcm)

    def finish(self) -> None:
        self._ended.set()

    def drop(self) -> None:
        self._is_dropped = True
        if self.task is not None:
            self.task.cancel()

    async def run(self, spec: AsrSpec) -> None:
        """Dispatches the transcript, or why there is none."""
        try:
            event = await self._recognise(spec)
        except TimeoutError:
            event = self._failed(_("The recogniser did not answer in time."), is_retryable=True)
        except AppError as error:
            is_permanent = isinstance(error, ProviderError) and error.is_permanent
            event = self._failed(str(error.message), is_retryable=not is_permanent)
        except Exception:
            logger.exception("a recognition failed")
            event = self._failed(_("Something went wrong."), is_retryable=False)
        if not self._is_dropped:
            self._dispatch(event)

    async def _recognise(self, spec: AsrSpec) -> Event:
        async with recogniser(spec).listen() as recognised:
            for pcm in self._early:
                recognised.feed(pcm)
            self._early.clear()
            self._recognised = recognised
            await self._wait_for_end(recognised)
            async with asyncio.timeout(RECOGNITION_TIMEOUT_S):
                transcript = await recognised.finish()
        return Transcribed(self.utterance, transcript.text, transcript.confidence)

    async def _wait_for_end(self, recognised: Utterance) -> None:
        if not self._sends_partials:
            await self._ended.wait()
            return
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._ask_partials(recognised))
            await self._ended.wait()
            asking.cancel()

    async def _ask_partials(self, recognised: Utterance) -> None:
        known = ""
        while True:
            await asyncio.sleep(PARTIAL_EVERY_S)
            try:
                text = await recognised.partial()
            except AppError as error:
                logger.info("no partial transcript: %s", error)
                return
            if text != known:
                known = text
                self._dispatch(PartlyTranscribed(self.utterance, text))

    def _failed(self, message: str, *, is_retryable: bool) -> RecognitionFailed:
        return RecognitionFailed(self.utterance, message, is_retryable)


class _Arrivals:
    """When each of the latest samples arrived."""

    KEPT_SAMPLES = 5000 * SAMPLES_PER_MS

    def __init__(self) -> None:
        self._arrivals: deque[tuple[int, float]] = deque()

    def note(self, end_sample: int, at_ms: float) -> None:
        self._arrivals.append((end_sample, at_ms))
        while self._arrivals[0][0] < end_sample - self.KEPT_SAMPLES:
            self._arrivals.popleft()

    def at_ms(self, sample: int) -> float:
        """When the sample arrived; of one that is long gone, when the oldest known did."""
        for end_sample, at_ms in self._arrivals:
            if end_sample >= sample:
                return at_ms
        return _now_ms()


def _now_ms() -> float:
    return time.monotonic() * 1000
