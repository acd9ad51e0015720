"""The built-in voices: espeak-ng in worker processes of its own. Clear, robotic, offline."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from django.utils.translation import gettext as _

from core.audio import StreamResampler, apply_gain
from core.errors import ProviderError
from providers.builtin import pipe
from providers.builtin.workers import Line, WorkerDied, WorkerPool
from providers.types import VoiceSpec

WORKERS = WorkerPool("providers.builtin.espeak_worker", limit=2)
ESPEAK_RATE_HZ = 22_050
MAX_CHARS = 5_000
_WORDS_PER_MINUTE = 175
_MIN_WORDS_PER_MINUTE, _MAX_WORDS_PER_MINUTE = 80, 450
_MIDDLE_PITCH, _MAX_PITCH = 50, 99
# Measured on en-us: 49 steps up raise the fundamental by 10.5 semitones.
_PITCH_STEPS_PER_SEMITONE = 4.7
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_HAN_RUN = re.compile(rf"[{_HAN}][{_HAN}\u3000-\u303f\uff00-\uffef\s]*")
_LATIN_RUN = re.compile(r"[A-Za-zÀ-ɏ][A-Za-zÀ-ɏ'’\-\s.,!?]*(?<=[A-Za-zÀ-ɏ.!?])")
# espeak takes more than names, such as the path of a file.
_VOICE_NAME = re.compile(r"[a-z0-9+-]{1,32}")
_DEFAULT_VOICES = {"zh": "cmn", "en": "en-us", "yue": "yue"}

Segment = tuple[str, str]


def segments_by_script(text: str, voice: str) -> list[Segment]:
    """The text cut where the script changes, each piece with a voice that can read it.

    espeak spells out Han characters in an English voice, and reads English as pinyin in a Chinese
    one. Digits and marks stay with what is around them.
    """
    is_chinese = voice.startswith(("cmn", "yue", "zh"))
    foreign, foreign_voice = (_LATIN_RUN, "en-us") if is_chinese else (_HAN_RUN, "cmn")
    segments: list[Segment] = []
    at = 0
    for run in foreign.finditer(text):
        segments += [(voice, text[at : run.start()]), (foreign_voice, run[0])]
        at = run.end()
    segments.append((voice, text[at:]))
    spoken = [(name, part.strip()) for name, part in segments]
    return [(name, part) for name, part in spoken if any(map(str.isalnum, part))]


class EspeakSpeaker:
    """Speaker over the worker pool. A worker that dies before the first sound is replaced."""

    def __init__(self, spec: VoiceSpec) -> None:
        self._voice = spec.voice_key or _DEFAULT_VOICES.get(spec.language[:2], "en-us")
        self._gain_db = spec.gain
        self._rate = _bounded(
            _WORDS_PER_MINUTE * spec.speed, _MIN_WORDS_PER_MINUTE, _MAX_WORDS_PER_MINUTE
        )
        self._pitch = _bounded(
            _MIDDLE_PITCH + spec.pitch * _PITCH_STEPS_PER_SEMITONE, 0, _MAX_PITCH
        )

    @asynccontextmanager
    async def speak(self, text: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The spoken text as PCM pieces; leaving stops the synthesis in mid-sentence."""
        async with aclosing(self._pieces(text)) as pieces:
            yield pieces

    async def _pieces(self, text: str) -> AsyncGenerator[bytes, None]:
        if len(text) > MAX_CHARS:
            raise ProviderError(_("The text is too long to be spoken at once."), is_permanent=True)
        if not _VOICE_NAME.fullmatch(self._voice):
            raise self._unknown_voice()
        segments = segments_by_script(text, self._voice)
        if not segments:
            return
        request = {"segments": segments, "rate": self._rate, "pitch": self._pitch}
        payload = json.dumps(request).encode()
        # Each worker that was idle may turn out to be dead.
        for attempts_left in range(WORKERS.limit, -1, -1):
            has_sounded = False
            try:
                async with WORKERS.lease() as line:
                    line.send(pipe.BEGIN, payload)
                    async with aclosing(self._sound(line)) as sound:
                        async for pcm in sound:
                            has_sounded = True
                            yield pcm
                return
            except WorkerDied:
                if has_sounded or not attempts_left:
                    raise ProviderError(
                        _("The built-in voice stopped unexpectedly."), is_permanent=False
                    ) from None

    async def _sound(self, line: Line) -> AsyncGenerator[bytes, None]:
        resampler = StreamResampler(from_hz=ESPEAK_RATE_HZ)
        while True:
            kind, payload = await line.receive()
            if kind == pipe.FAILED:
                raise self._unknown_voice()
            pcm = resampler.finish() if kind == pipe.END else resampler.push(payload)
            if pcm:
                yield apply_gain(pcm, self._gain_db)
            if kind == pipe.END:
                return

    def _unknown_voice(self) -> ProviderError:
        text = _("The built-in speech has no voice “%(name)s”.") % {"name": self._voice[:32]}
        return ProviderError(text, is_permanent=True)


def _bounded(value: float, low: int, high: int) -> int:
    return round(min(high, max(low, value)))
