"""The process in which pocketsphinx decodes: it holds Python's lock for its whole work.

Run as `python -m providers.builtin.sphinx_worker PARENT_PID`. One decoder (about 110 MB), one
utterance at a time: BEGIN {"hotwords": […]}, then FEED and PARTIAL, then FINISH.

What was found to matter (espeak-ng in four voices at two speeds, 15 phrases: word error rate from
0.89 to 0.37): bringing the speech to one level, a trace of noise under perfectly silent audio, and
the acoustic model's own starting values for the cepstral mean, anew for every utterance. With the
phrases as hotwords the rate is 0.00; one of 60 other sentences was mistaken for one of them.
"""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

import numpy as np
from pocketsphinx import Decoder

from providers.builtin import pipe

# Audio is behind real time anyway when it gets here; what paces the calls goes first.
_NICENESS = 5
_RATE_HZ = 16_000
_MEAN = "41.00,-5.29,-0.12,5.09,2.48,-4.07,-1.37,-1.78,-5.08,-2.05,-6.45,-1.42,1.17"
# Half a second of speech tells its level; what is softer than the floor is no speech.
_LEARN_BYTES = _RATE_HZ * 2 * 500 // 1000
_HOLD_BYTES = _RATE_HZ * 2 * 3
_WINDOW_SAMPLES = _RATE_HZ * 100 // 1000
_FLOOR_DB = -50.0
_TARGET_DB, _MAX_GAIN_DB = -30.0, 20.0
_NOISE = np.random.default_rng(0).normal(0.0, 30.0, _RATE_HZ).astype(np.float32)
# A hotword is taken instead of the free hypothesis when it fits the sound at least as well, per
# frame. Short ones fit many things, so they must fit better (figures in the decoder's log units).
_MARGIN, _SHORT_MARGIN, _SHORT_PHONES = 0.0, 6_000.0, 8
_COVERED = 0.8
_MAX_HOTWORDS = 100
_FREE, _HOT = "_default", "hotwords"
_FILLER = re.compile(r"[<\[+]\S*|\(\d+\)")
_NO_WORD = re.compile(r"[<\[+(]")
_WORD = re.compile(r"[a-z']+")


class Fit(NamedTuple):
    """How well words fit the sound, and how much of it they cover."""

    score_per_frame: float
    spoken_frames: float


class Listener:
    """One decoder and the utterance it is at."""

    def __init__(self) -> None:
        self._decoder = Decoder(loglevel="FATAL", samprate=_RATE_HZ)
        self._is_open = False
        self._hotwords: tuple[str, ...] = ()
        self._begin_audio()

    def begin(self, hotwords: list[str]) -> None:
        """Forgets the utterance before, and starts another."""
        self.cancel()
        self._begin_audio()
        self._set_hotwords(tuple(dict.fromkeys(filter(None, map(self._known, hotwords)))))
        self._start(_FREE)

    def feed(self, pcm: bytes) -> None:
        """Decodes audio; the first of it is held back until the level of the speech is known."""
        if not self._is_open:
            return
        if self._gain is None:
            self._held += pcm
            voiced_from = first_loud_byte(self._held)
            if len(self._held) - voiced_from < _LEARN_BYTES and len(self._held) < _HOLD_BYTES:
                return
            pcm = self._learn_level()
        self._process(pcm)

    def partial(self) -> str:
        """The words so far."""
        return self._words() if self._is_open else ""

    def finish(self) -> str:
        """The words of the whole utterance."""
        if not self._is_open:
            return ""
        if self._gain is None:
            self._process(self._learn_level())
        self._end()
        free, fit = self._words(), self._fit()
        if not free or free in self._hotwords or not self._hotwords:
            return free
        return self._hotword_instead(fit) or free

    def cancel(self) -> None:
        """Ends an utterance that nobody wants any more."""
        if self._is_open:
            self._end()

    def _begin_audio(self) -> None:
        self._held = bytearray()
        self._gain: float | None = None
        self._heard: list[bytes] = []
        # Every utterance meets the same noise, so that the same sound gives the same words.
        self._at = 0

    def _learn_level(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        level_db = max(levels_db(held), default=_FLOOR_DB)
        gain_db = max(-_MAX_GAIN_DB, min(_MAX_GAIN_DB, _TARGET_DB - level_db))
        self._gain = 10.0 ** (gain_db / 20.0)
        return held

    def _process(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float32)
        if not samples.size:
            return
        noise = np.take(_NOISE, np.arange(self._at, self._at + samples.size), mode="wrap")
        self._at += samples.size
        levelled = np.clip(samples * (self._gain or 1.0) + noise, -32768, 32767)
        data = levelled.astype("<i2").tobytes()
        self._heard.append(data)
        self._decoder.process_raw(data, False, False)

    def _start(self, search: str) -> None:
        # Or what was learned of the last speaker's noise would colour the next one's words.
        self._decoder.reinit_feat()
        self._decoder.activate_search(search)
        self._decoder.set_cmn(_MEAN)
        self._decoder.start_utt()
        self._is_open = True

    def _end(self) -> None:
        self._decoder.end_utt()
        self._is_open = False

    def _words(self) -> str:
        hypothesis = self._decoder.hyp()
        return " ".join(_FILLER.sub(" ", hypothesis.hypstr).lower().split()) if hypothesis else ""

    def _fit(self) -> Fit:
        """How well the words fit the sound, without what the language model thinks of them."""
        logarithm = self._decoder.get_logmath().log
        score = spoken = frames = 0.0
        for segment in self._decoder.seg() or ():
            frames = segment.end_frame + 1
            score += logarithm(segment.ascore)
            if not _NO_WORD.match(segment.word):
                spoken += frames - segment.start_frame
        return Fit(score / frames if frames else float("-inf"), spoken)

    def _hotword_instead(self, free: Fit) -> str | None:
        """The hotword that the whole utterance sounds like, if it fits well enough."""
        self._start(_HOT)
        for data in self._heard:
            self._decoder.process_raw(data, False, False)
        self._end()
        hotword, fit = self._words(), self._fit()
        # A part of a phrase means that the rest was not heard; and where much more was said than
        # the phrase, the rest of it would be lost.
        if hotword not in self._hotwords or fit.spoken_frames < _COVERED * free.spoken_frames:
            return None
        margin = _SHORT_MARGIN if self._phones(hotword) < _SHORT_PHONES else _MARGIN
        return hotword if fit.score_per_frame - free.score_per_frame >= margin else None

    def _known(self, hotword: str) -> str:
        """The hotword as the dictionary spells it, or "" where it lacks a word of it."""
        words = _WORD.findall(hotword.lower())
        return " ".join(words) if all(map(self._decoder.lookup_word, words)) else ""

    def _phones(self, phrase: str) -> int:
        found = (self._decoder.lookup_word(word) for word in phrase.split())
        return sum(len(phones.split()) for phones in found if phones)

    def _set_hotwords(self, hotwords: tuple[str, ...]) -> None:
        hotwords = hotwords[:_MAX_HOTWORDS]
        if hotwords and hotwords != self._hotwords:
            alternatives = " | ".join(hotwords)
            grammar = f"#JSGF V1.0; grammar hotwords; public <hotword> = {alternatives} ;"
            self._decoder.add_jsgf_string(_HOT, grammar)
        self._hotwords = hotwords


def levels_db(pcm: bytes | bytearray) -> list[float]:
    """The level of each whole 100 ms, in dB below full scale."""
    samples = np.frombuffer(bytes(pcm[: len(pcm) // 2 * 2]), "<i2").astype(np.float32)
    windows = samples[: samples.size // _WINDOW_SAMPLES * _WINDOW_SAMPLES]
    power = np.square(windows.reshape(-1, _WINDOW_SAMPLES)).mean(axis=1)
    levels: list[float] = (10.0 * np.log10(np.maximum(power, 1.0) / 32768.0**2)).tolist()
    return levels


def first_loud_byte(pcm: bytes | bytearray) -> int:
    """Where the speech begins, to 100 ms; the end where there is none."""
    for index, level in enumerate(levels_db(pcm)):
        if level > _FLOOR_DB:
            return index * _WINDOW_SAMPLES * 2
    return len(pcm)


def main() -> None:
    line = pipe.Pipe()
    os.nice(_NICENESS)
    listener = Listener()
    line.send(pipe.READY, 0)
    for kind, number, payload in line.frames():
        if kind == pipe.BEGIN:
            listener.begin(json.loads(payload)["hotwords"])
        elif kind == pipe.FEED:
            listener.feed(payload)
        elif kind == pipe.PARTIAL:
            line.send(pipe.TEXT, number, listener.partial().encode())
        elif kind == pipe.FINISH:
            line.send(pipe.END, number, listener.finish().encode())
        elif kind == pipe.CANCEL:
            listener.cancel()


if __name__ == "__main__":
    try:
        main()
    except ConnectionError:
        raise SystemExit(0) from None
