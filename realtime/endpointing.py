"""When somebody speaks, has stopped, and has finished their turn. Pure; time is the sample count.

Every decision is anchored at the last voiced sample of the input, never at a wall clock: delays of
the network or of the recogniser change nothing about who is said to have spoken when.
"""

from __future__ import annotations

import dataclasses

SAMPLES_PER_MS = 16
WINDOW_SAMPLES = 512
WINDOW_MS = WINDOW_SAMPLES // SAMPLES_PER_MS


@dataclasses.dataclass(frozen=True, slots=True)
class EndpointingConfig:
    """How speech is told from silence.

    A window is voiced from `start_threshold` on, and while somebody speaks from the lower
    `hold_threshold` on, so that soft word ends do not count as silence. Silences are met at the
    window nearest to them, so within 16 ms.
    """

    end_of_turn_silence_ms: int = 500
    start_threshold: float = 0.5
    hold_threshold: float = 0.35
    min_speech_ms: int = 64
    stop_silence_ms: int = 200
    max_utterance_ms: int = 60_000

    def __post_init__(self) -> None:
        if not 100 <= self.end_of_turn_silence_ms <= 3000:
            raise ValueError("end_of_turn_silence_ms must be 100 to 3000")
        if not 0 < self.hold_threshold <= self.start_threshold <= 1:
            raise ValueError("thresholds must fulfil 0 < hold_threshold <= start_threshold <= 1")


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody speaks, since `at_sample`; sent once `min_speech_ms` of it were voiced."""

    at_sample: int
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechOngoing:
    """They go on: `voiced_ms` of sound in this utterance so far, pauses not counted.

    Follows SpeechStarted at once and then comes with every voiced window, so that comparing
    `voiced_ms` with an assistant's interruption sensitivity is enough to decide on barge-in.
    """

    at_sample: int
    voiced_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechStopped:
    """They paused: `at_sample` is the end of the last voiced window. They may yet go on."""

    at_sample: int
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The utterance from `started_at_sample` to `at_sample` (the last voiced one) is complete.

    `decided_at_sample` is the input clock at the decision; `is_forced` when it was cut at the
    maximum length or ended by hand.
    """

    at_sample: int
    started_at_sample: int
    decided_at_sample: int
    voiced_ms: int
    is_forced: bool = False


SpeechEvent = SpeechStarted | SpeechOngoing | SpeechStopped | EndOfTurn


class Endpointer:
    """Turns speech probabilities into turns.

    Starts and stops alternate; a stop comes before each end of turn; a turn ends once. Speech
    that resumes between a stop and the end of the turn starts again in the same utterance.
    """

    def __init__(self, config: EndpointingConfig) -> None:
        self._config = config
        self._clock = 0
        self.reset()

    @property
    def is_speaking(self) -> bool:
        """Whether the last start has not been followed by a stop."""
        return self._is_speaking

    @property
    def is_in_turn(self) -> bool:
        """Whether an utterance is open, spoken or paused."""
        return self._turn_start is not None

    def reset(self) -> None:
        """Forgets the utterance; the input clock goes on."""
        self._is_speaking = False
        self._run_start: int | None = None
        self._run_ms = 0
        self._turn_start: int | None = None
        self._voiced_ms = 0
        self._last_voiced = 0

    def push(self, probability: float, end_sample: int) -> tuple[SpeechEvent, ...]:
        """Takes the window of 512 samples that ends before `end_sample`; windows come in order."""
        if end_sample <= self._clock:
            raise ValueError(f"window ends at {end_sample}, not after {self._clock}")
        self._clock = end_sample
        if self._is_voiced(probability):
            events = self._on_voice(probability)
        else:
            events = self._on_silence(probability)
        if self._turn_start is not None and self._turn_ms() >= self._config.max_utterance_ms:
            return (*events, *self._end(probability, is_forced=True))
        return events

    def commit(self) -> tuple[SpeechEvent, ...]:
        """Ends the open utterance by hand (push-to-talk); nothing when there is none."""
        if self._turn_start is None:
            return ()
        return self._end(0.0, is_forced=True)

    def _is_voiced(self, probability: float) -> bool:
        in_speech = self._is_speaking or self._run_start is not None
        config = self._config
        return probability >= (config.hold_threshold if in_speech else config.start_threshold)

    def _turn_ms(self) -> int:
        return (self._clock - (self._turn_start or 0)) // SAMPLES_PER_MS

    def _on_voice(self, probability: float) -> tuple[SpeechEvent, ...]:
        if self._is_speaking:
            self._voiced_ms += WINDOW_MS
            self._last_voiced = self._clock
            return (SpeechOngoing(self._clock, self._voiced_ms),)
        if self._run_start is None:
            self._run_start = max(self._clock - WINDOW_SAMPLES, 0)
        self._run_ms += WINDOW_MS
        if self._run_ms < self._config.min_speech_ms:
            return ()
        return self._start(self._run_start, probability)

    def _start(self, at_sample: int, probability: float) -> tuple[SpeechEvent, ...]:
        self._is_speaking = True
        if self._turn_start is None:
            self._turn_start = at_sample
            self._voiced_ms = 0
        self._voiced_ms += self._run_ms
        self._last_voiced = self._clock
        self._run_start, self._run_ms = None, 0
        return (
            SpeechStarted(at_sample, probability),
            SpeechOngoing(self._clock, self._voiced_ms),
        )

    def _on_silence(self, probability: float) -> tuple[SpeechEvent, ...]:
        self._run_start, self._run_ms = None, 0
        if self._turn_start is None:
            return ()
        # Half a window early, so that the decision falls on the nearest window.
        silence_ms = (self._clock - self._last_voiced) // SAMPLES_PER_MS + WINDOW_MS // 2
        if silence_ms >= self._config.end_of_turn_silence_ms:
            return self._end(probability, is_forced=False)
        if self._is_speaking and silence_ms >= self._config.stop_silence_ms:
            return (self._stop(probability),)
        return ()

    def _stop(self, probability: float) -> SpeechStopped:
        self._is_speaking = False
        return SpeechStopped(self._last_voiced, probability)

    def _end(self, probability: float, *, is_forced: bool) -> tuple[SpeechEvent, ...]:
        stopped = (self._stop(probability),) if self._is_speaking else ()
        end = EndOfTurn(
            at_sample=self._last_voiced,
            started_at_sample=self._turn_start or 0,
            decided_at_sample=self._clock,
            voiced_ms=self._voiced_ms,
            is_forced=is_forced,
        )
        self.reset()
        return (*stopped, end)
