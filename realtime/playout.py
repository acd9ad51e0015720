"""What the listener has really heard of a response. Pure.

History and the next prompt hold the heard text: an assistant that was cut short must not believe
that it has said the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from realtime.segmenter import is_cjk

# Milliseconds of speech per weight unit; a letter weighs 1, a CJK character CJK_WEIGHT.
# About 15 letters or 4.5 characters a second, as espeak-ng and the large vendors speak.
MS_PER_WEIGHT = 65.0
CJK_WEIGHT = 3.4


@dataclasses.dataclass(frozen=True, slots=True)
class SpokenSegment:
    """A piece of the response and where its sound lies; `audio_ms` so far, while it is made."""

    text: str
    audio_offset_ms: int
    audio_ms: int
    is_complete: bool = True


def heard_text(segments: Sequence[SpokenSegment], heard_ms: float) -> str:
    """The text that sounds in the first `heard_ms`: a prefix of the segments' texts, joined.

    Whole segments, then the share of the current one, cut where a word or CJK character ends.
    """
    heard: list[str] = []
    for segment in segments:
        share = _share_heard(segment, heard_ms)
        if share < 1:
            heard.append(_cut(segment.text, share))
            break
        heard.append(segment.text)
    return "".join(heard)


class Playout:
    """The account of one response: its segments, their sound, what the client says it played."""

    def __init__(self) -> None:
        self._segments: list[SpokenSegment] = []
        self._audio_bytes = 0
        self._reported: tuple[float, float] | None = None

    @property
    def segments(self) -> tuple[SpokenSegment, ...]:
        """The segments so far, in order."""
        return tuple(self._segments)

    @property
    def generated_text(self) -> str:
        """The text of all segments so far."""
        return "".join(segment.text for segment in self._segments)

    def begin_segment(self, text: str) -> int:
        """Opens a segment, closing the one before; returns its offset in milliseconds.

        Text without sound (a mark, an emoji) is a segment of no length: heard when its turn comes.
        """
        self.end_segment()
        offset_ms = self._audio_bytes // 32
        self._segments.append(SpokenSegment(text, offset_ms, 0, is_complete=False))
        return offset_ms

    def add_audio(self, pcm_bytes: int) -> None:
        """Counts that many bytes of 16 kHz PCM to the open segment."""
        self._audio_bytes += pcm_bytes
        last = self._segments[-1]
        audio_ms = self._audio_bytes // 32 - last.audio_offset_ms
        self._segments[-1] = dataclasses.replace(last, audio_ms=audio_ms)

    def end_segment(self) -> None:
        """Says that the open segment's sound is complete; nothing when none is open."""
        if self._segments:
            self._segments[-1] = dataclasses.replace(self._segments[-1], is_complete=True)

    def report(self, played_ms: float, now_ms: float) -> None:
        """Takes a client's word: `played_ms` of this response were heard at `now_ms`."""
        if self._reported is None or played_ms >= self._reported[0]:
            self._reported = (max(played_ms, 0.0), now_ms)

    def heard_ms(self, estimate_ms: float, *, sent_ms: float, now_ms: float) -> float:
        """How much was heard: by the client's last report and the time since, else the estimate.

        Never more than was sent; and time in which nothing sounded, as the estimate knows, does
        not count.
        """
        if self._reported is None:
            return max(0.0, min(estimate_ms, sent_ms))
        played_ms, at_ms = self._reported
        by_now_ms = min(played_ms + (now_ms - at_ms), max(played_ms, estimate_ms))
        return max(0.0, min(by_now_ms, sent_ms))

    def surely_heard_ms(self, estimate_ms: float) -> float:
        """How much was heard without a doubt, by one who may have gone away unnoticed."""
        return estimate_ms if self._reported is None else self._reported[0]

    def heard_text(self, heard_ms: float) -> str:
        """The text heard in the first `heard_ms`: a prefix of `generated_text`."""
        return heard_text(self._segments, heard_ms)


def _share_heard(segment: SpokenSegment, heard_ms: float) -> float:
    audio_ms: float = segment.audio_ms
    if not segment.is_complete:
        # Its sound is still being made; measured by what there is, a word would count as all.
        audio_ms = max(audio_ms, _weight(segment.text) * MS_PER_WEIGHT)
    into_ms = heard_ms - segment.audio_offset_ms
    if into_ms <= 0:
        return 0.0
    return 1.0 if into_ms >= audio_ms else into_ms / audio_ms


def _weight(text: str) -> float:
    return sum(CJK_WEIGHT if is_cjk(char) else 1.0 for char in text)


def _cut(text: str, share: float) -> str:
    """The longest prefix that ends with a whole word or CJK character within the share."""
    budget = _weight(text) * share
    end = 0
    for index, char in enumerate(text):
        budget -= CJK_WEIGHT if is_cjk(char) else 1.0
        if budget < -1e-9:
            break
        if _ends_word(text, index + 1):
            end = index + 1
    return text[:end].rstrip()


def _ends_word(text: str, index: int) -> bool:
    if index >= len(text):
        return True
    before, after = text[index - 1], text[index]
    return before.isspace() or after.isspace() or is_cjk(before) or is_cjk(after)
