"""When audio may be sent: at the pace of speech, a little ahead, on an absolute clock. Pure.

A pause of the network or of this process shifts nothing: each frame has its due time, counted
from the first. Marks (captions, start, end) travel in the same queue, in the order of the sound.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Generic, TypeVar

BYTES_PER_MS = 32
FRAME_MS = 20
FRAME_BYTES = FRAME_MS * BYTES_PER_MS

MarkT = TypeVar("MarkT")


@dataclasses.dataclass(frozen=True, slots=True)
class Frames:
    """Audio to be sent now: one or more whole frames of 640 bytes."""

    pcm: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class _Mark(Generic[MarkT]):
    """Where a mark lies in the audio; an end waits for no audio after it."""

    at_byte: int
    mark: MarkT
    is_end: bool = False


class Pacer(Generic[MarkT]):
    """The way out for the audio of one response; `now_ms` is any monotonic clock.

    `push` audio, `mark` what belongs before the audio that follows and `mark_end` what belongs
    after the audio so far; `take` what is due, ask again at `next_at_ms`. At most `lead_ms` of
    sound is out before its time, and a listener who ran dry gets the lead again. `plays_from_ms`
    says until when the listener still hears the response before. Of what was handed out, the last
    `kept_ms` are kept for `rewind`.
    """

    def __init__(
        self,
        *,
        lead_ms: int = 250,
        ahead_ms: int = 3000,
        plays_from_ms: float = 0.0,
        kept_ms: int = 0,
    ) -> None:
        self._lead_ms = lead_ms
        self._ahead_ms = ahead_ms
        self._plays_from_ms = plays_from_ms
        self._start_ms: float | None = None
        self._queue = bytearray()
        self._kept = bytearray()
        self._kept_bytes = kept_ms * BYTES_PER_MS
        self._marks: deque[_Mark[MarkT]] = deque()
        self._pushed_bytes = 0
        self._sent_bytes = 0
        self._is_finished = False
        self._is_cleared = False

    @property
    def sent_ms(self) -> int:
        """How much audio `take` has handed out."""
        return self._sent_bytes // BYTES_PER_MS

    @property
    def pushed_ms(self) -> int:
        """How much audio was pushed: the offset of whatever is pushed next."""
        return self._pushed_bytes // BYTES_PER_MS

    @property
    def is_drained(self) -> bool:
        """Whether all was handed out and nothing more will come."""
        return self._is_cleared or (self._is_finished and not self._queue and not self._marks)

    @property
    def silent_at_ms(self) -> float:
        """When the listener will have heard all that was sent."""
        if self._start_ms is None:
            return self._plays_from_ms
        return self._start_ms + self.sent_ms

    def push(self, pcm: bytes) -> None:
        """Adds audio of any whole number of samples; dropped after `clear`."""
        if self._is_finished:
            raise RuntimeError("audio pushed after finish()")
        if not self._is_cleared:
            self._queue += pcm
            self._pushed_bytes += len(pcm)

    def fill_up(self) -> int:
        """Completes the last frame with that many bytes of silence, so that it may go out."""
        gap_bytes = -self._pushed_bytes % FRAME_BYTES
        self.push(bytes(gap_bytes))
        return gap_bytes

    def mark(self, mark: MarkT) -> None:
        """Adds a mark that `take` gives just before the frame with the next pushed byte."""
        if not self._is_cleared:
            self._marks.append(_Mark(self._pushed_bytes, mark))

    def mark_end(self, mark: MarkT) -> None:
        """Adds a mark that `take` gives with the last frame pushed so far; after it, if whole."""
        if not self._is_cleared:
            self._marks.append(_Mark(self._pushed_bytes, mark, is_end=True))

    def finish(self) -> None:
        """No more audio will come: the last frame may be filled up, trailing marks may go."""
        self._is_finished = True

    def cut(self, end_ms: int) -> None:
        """Ends at this offset: what was pushed beyond it and not handed out is dropped."""
        del self._queue[max(0, end_ms * BYTES_PER_MS - self._sent_bytes) :]
        self._pushed_bytes = self._sent_bytes + len(self._queue)
        end_byte = self._pushed_bytes
        self._marks = deque(
            mark for mark in self._marks if mark.at_byte < end_byte + int(mark.is_end)
        )
        self._is_finished = True

    def rewind(self, to_ms: int, now_ms: float) -> None:
        """Hands out again what follows this offset, or as much of it as is kept; no marks.

        The listener has heard what comes before, and nothing since.
        """
        back_bytes = max(0, self._sent_bytes - to_ms * BYTES_PER_MS)
        back_bytes = min(-(-back_bytes // FRAME_BYTES) * FRAME_BYTES, len(self._kept))
        self._queue[:0] = self._kept[len(self._kept) - back_bytes :]
        del self._kept[len(self._kept) - back_bytes :]
        self._sent_bytes -= back_bytes
        if self._start_ms is not None:
            self._start_ms = now_ms - self.sent_ms

    def clear(self) -> None:
        """Drops everything that was not handed out; nothing is handed out after it."""
        self._is_cleared = True
        self._queue.clear()
        self._kept.clear()
        self._marks.clear()

    def take(self, now_ms: float) -> list[Frames | MarkT]:
        """What may be sent now, in order; neighbouring frames are joined."""
        out: list[Frames | MarkT] = []
        joined = bytearray()

        def add(marks: list[MarkT]) -> None:
            if marks and joined:
                out.append(Frames(bytes(joined)))
                joined.clear()
            out.extend(marks)

        add(self._ends_reached())
        while self._frame_is_ready() and self._due_ms(now_ms) <= now_ms:
            self._anchor(now_ms)
            add(self._marks_up_to(self._sent_bytes + FRAME_BYTES))
            joined += self._next_frame()
            add(self._ends_reached())
        if joined:
            out.append(Frames(bytes(joined)))
        if self._is_finished and not self._queue:
            out += self._marks_up_to(None)
        return out

    def next_at_ms(self, now_ms: float, *, frames: int = 1) -> float | None:
        """When `take` has `frames` more frames to give; None until something is pushed."""
        if self._has_reached_end():
            return now_ms
        if not self._frame_is_ready():
            return now_ms if self._is_finished and self._marks else None
        count = min(frames, -(-len(self._queue) // FRAME_BYTES))
        return max(now_ms, self._due_ms(now_ms) + (count - 1) * FRAME_MS)

    def played_ms(self, now_ms: float) -> int:
        """How much the listener has heard by now, as far as the clock can tell."""
        if self._start_ms is None:
            return 0
        return max(0, min(self.sent_ms, int(now_ms - self._start_ms)))

    def ahead_ms(self, now_ms: float) -> int:
        """How much audio is made but not yet heard."""
        return self.sent_ms + len(self._queue) // BYTES_PER_MS - self.played_ms(now_ms)

    def wants_more(self, now_ms: float) -> bool:
        """Whether more audio should be made; false while `ahead_ms` of it wait to be heard."""
        return not self._is_cleared and self.ahead_ms(now_ms) < self._ahead_ms

    def wants_more_at_ms(self, now_ms: float) -> float:
        """When `wants_more` will be true, if `take` is called in time until then."""
        lag_ms = max(0.0, self._plays_since(now_ms) - now_ms)
        return now_ms + lag_ms + max(0, self.ahead_ms(now_ms) - self._ahead_ms + 1)

    def _frame_is_ready(self) -> bool:
        return len(self._queue) >= FRAME_BYTES or (self._is_finished and bool(self._queue))

    def _due_ms(self, now_ms: float) -> float:
        return self._plays_since(now_ms) + self.sent_ms + FRAME_MS - self._lead_ms

    def _plays_since(self, now_ms: float) -> float:
        if self._start_ms is None:
            return max(now_ms, self._plays_from_ms)
        return self._start_ms

    def _anchor(self, now_ms: float) -> None:
        """Starts the clock with the first frame, and anew where the listener ran dry."""
        if self._start_ms is None:
            self._start_ms = self._plays_since(now_ms)
        elif now_ms > self._start_ms + self.sent_ms:
            self._start_ms = now_ms - self.sent_ms

    def _next_frame(self) -> bytes:
        frame = bytes(self._queue[:FRAME_BYTES]).ljust(FRAME_BYTES, b"\0")
        del self._queue[:FRAME_BYTES]
        self._sent_bytes += FRAME_BYTES
        if self._kept_bytes:
            self._kept += frame
            del self._kept[: -self._kept_bytes]
        return frame

    def _marks_up_to(self, end_byte: int | None) -> list[MarkT]:
        marks: list[MarkT] = []
        while self._marks and (end_byte is None or self._marks[0].at_byte < end_byte):
            marks.append(self._marks.popleft().mark)
        return marks

    def _ends_reached(self) -> list[MarkT]:
        marks: list[MarkT] = []
        while self._has_reached_end():
            marks.append(self._marks.popleft().mark)
        return marks

    def _has_reached_end(self) -> bool:
        if not self._marks:
            return False
        mark = self._marks[0]
        return mark.is_end and mark.at_byte <= self._sent_bytes
