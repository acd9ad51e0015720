"""The voice of one reply on its way out: paced, marked, and accounted for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from realtime.events import SegmentBegun, SegmentEnded, VoiceBegun, VoiceSent
from realtime.pacing import FRAME_MS, Frames, Pacer
from realtime.playout import Playout
from realtime.sender import Sender

# Frames are sent three at a time: a third of the wake-ups and of the messages.
FRAMES_PER_MESSAGE = 3
# More than this waiting at the socket: the client is slow, and frames stay here for now.
MAX_AT_SOCKET_MS = 1000
LOOK_AGAIN_MS = 60.0
# For a listener who was away before anybody noticed.
KEPT_MS = 10_000

Dispatch = Callable[[VoiceBegun | SegmentBegun | SegmentEnded | VoiceSent], None]


class Player:
    """Sends the sound of a reply at the pace at which it is heard, and knows what was heard.

    `dispatch` hears of the first sound, of each segment before and after its sound is sent, and of
    the end; `may_sound` says whether the call still wants this turn's sound. With `can_rewind`
    nothing is lost for a listener who goes away for a while: see `hold`.
    """

    def __init__(
        self,
        turn: int,
        sender: Sender,
        dispatch: Dispatch,
        may_sound: Callable[[int], bool],
        *,
        can_rewind: bool = False,
    ) -> None:
        self._turn = turn
        self._sender = sender
        self._dispatch = dispatch
        self._may_sound = may_sound
        self._pacer: Pacer[SegmentBegun | SegmentEnded] = Pacer(
            kept_ms=KEPT_MS if can_rewind else 0
        )
        self._playout = Playout()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_out = asyncio.Event()
        self._has_begun = False
        self._is_over = False
        self._held_at_ms: float | None = None
        self._is_free = asyncio.Event()
        self._is_free.set()
        self.tts_ttfb_ms: int | None = None

    def begin_segment(self, text: str) -> None:
        """What is pushed next says this text."""
        number = len(self._playout.segments)
        offset_ms = self._playout.begin_segment(text)
        self._pacer.mark(SegmentBegun(self._turn, number, text, offset_ms))

    def push(self, pcm: bytes) -> None:
        """Adds sound to the open segment."""
        self._playout.add_audio(len(pcm))
        self._pacer.push(pcm)
        if self._timer is None:
            self._pump()

    def end_segment(self) -> None:
        """The segment's sound is complete, and is heard to its end whenever the next comes."""
        self._playout.add_audio(self._pacer.fill_up())
        self._playout.end_segment()
        number = len(self._playout.segments) - 1
        self._pacer.mark_end(SegmentEnded(self._turn, number, self._pacer.pushed_ms))
        if self._timer is None:
            self._pump()

    def finish(self) -> None:
        """No more sound will come."""
        self._pacer.finish()
        if self._timer is None:
            self._pump()

    def finish_current(self) -> bool:
        """Ends with the segment that is being heard; False while its sound is still being made."""
        heard_ms, _text = self.heard()
        for segment in self._playout.segments:
            if not segment.is_complete:
                return False
            end_ms = segment.audio_offset_ms + segment.audio_ms
            if heard_ms < end_ms:
                self._pacer.cut(end_ms)
                break
        self.finish()
        return True

    def stop(self) -> None:
        """Ends the sound now."""
        self._is_over = True
        self._is_free.set()
        self._pacer.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hold(self) -> None:
        """The listener is gone: time stands still, and what they did not hear is not sent yet.

        To be called before what waits at the socket is dropped.
        """
        if self._is_over or self._held_at_ms is not None:
            return
        now_ms = self._held_at_ms = _now_ms()
        self._is_free.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        left_ms = self._pacer.sent_ms - self._sender.audio_ms
        heard_ms = self._playout.surely_heard_ms(self._pacer.played_ms(now_ms))
        self._pacer.rewind(int(min(left_ms, heard_ms)), now_ms)

    def go_on(self) -> None:
        """The listener is back: goes on at `position_ms`."""
        if self._held_at_ms is not None:
            self._held_at_ms = None
            self._is_free.set()
            self._pump()

    @property
    def position_ms(self) -> int | None:
        """Where in the output the next sound lies, once it has begun and until all is sent."""
        return self._pacer.sent_ms if self._has_begun and not self._is_over else None

    def report(self, played_ms: float) -> None:
        """Takes the client's word for how much it has played."""
        self._playout.report(played_ms, self._clock_ms())

    def heard(self) -> tuple[int, str]:
        """How many milliseconds were heard by now, and which text that is."""
        now_ms = self._clock_ms()
        heard_ms = self._playout.heard_ms(
            self._pacer.played_ms(now_ms), sent_ms=self._pacer.sent_ms, now_ms=now_ms
        )
        return round(heard_ms), self._playout.heard_text(heard_ms)

    @property
    def is_sounding(self) -> bool:
        """Whether there is sound that the listener has yet to hear."""
        # What is left of a frame waits for more sound, or for the end.
        return self._pacer.ahead_ms(self._clock_ms()) >= FRAME_MS

    async def room(self) -> None:
        """Waits while 3 s of sound are made but not heard."""
        while not self._is_over:
            now_ms = self._clock_ms()
            if self._pacer.wants_more(now_ms):
                return
            if self._held_at_ms is not None:
                await self._is_free.wait()
                continue
            await asyncio.sleep((self._pacer.wants_more_at_ms(now_ms) - now_ms) / 1000)

    async def heard_out(self) -> None:
        """Waits until the listener has heard all; to be called after `finish`."""
        await self._heard_out.wait()

    def _pump(self) -> None:
        self._timer = None
        if self._is_over or self._held_at_ms is not None:
            return
        if self._sender.audio_ms > MAX_AT_SOCKET_MS:
            self._call_in(LOOK_AGAIN_MS)
            return
        now_ms = _now_ms()
        for item in self._pacer.take(now_ms):
            self._send(item)
        if self._pacer.is_drained:
            self._end(now_ms)
        elif (at_ms := self._pacer.next_at_ms(now_ms, frames=FRAMES_PER_MESSAGE)) is not None:
            self._call_in(at_ms - now_ms)

    def _send(self, item: Frames | SegmentBegun | SegmentEnded) -> None:
        if not self._has_begun and self._pacer.sent_ms:
            self._has_begun = True
            self._dispatch(VoiceBegun(self._turn, self.tts_ttfb_ms))
        if not self._may_sound(self._turn):
            return
        if isinstance(item, Frames):
            self._sender.send_audio(self._turn, item.pcm)
        else:
            self._dispatch(item)

    def _end(self, now_ms: float) -> None:
        self._is_over = True
        if not self._has_begun:
            self._heard_out.set()
            return
        self._dispatch(VoiceSent(self._turn))
        wait_s = max(0.0, self._pacer.silent_at_ms - now_ms) / 1000
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._heard_out.set)

    def _clock_ms(self) -> float:
        return _now_ms() if self._held_at_ms is None else self._held_at_ms

    def _call_in(self, delay_ms: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, delay_ms) / 1000, self._pump)


def _now_ms() -> float:
    return time.monotonic() * 1000
