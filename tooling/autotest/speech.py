"""Tests recognisers with real speech, and voices by what they speak."""

from __future__ import annotations

import math

import numpy as np
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.principals import Principal
from core.audio import duration_ms
from core.errors import NotFound
from providers import trials
from providers.access import (
    ASR_NOT_FOUND,
    VOICE_NOT_FOUND,
    access_asr,
    access_voice,
    require_usable,
)
from providers.models import Asr, Voice
from providers.specs import asr_spec, voice_spec
from providers.types import AsrSpec, VoiceSpec
from tooling.autotest.cases import Asker, Check, CheckFailed, Prepared, Tester
from tooling.autotest.findings import one_of, prepared_model

# Of full scale; quieter than this, nobody hears it.
_SILENCE_DB = -50.0
# What a person needs for the sample sentence lies well inside.
_SHORTEST_MS, _LONGEST_MS = 400, 15_000
_OK = 200


# --- Recognisers -------------------------------------------------------------------------------


def access_recogniser(principal: Principal, asr_id: str) -> Asr:
    """The recogniser, if the principal may have it tested. Raises NotFound and Conflict."""
    try:
        row = access_asr(principal, asr_id)
    except NotFound:
        raise NotFound(_("ASR Model not found"), code=ASR_NOT_FOUND) from None
    require_usable(principal, row)
    return row


def prepare_recogniser(asr_id: str, asker: Asker) -> Prepared | None:
    row = one_of(Asr, asr_id)
    if row is None:
        return None
    heard = _Heard(asr_spec(row))
    return prepared_model(
        row,
        Check("Hotwords Config", heard.hotwords),
        Check("API Availability", heard.understands),
        Check("Language Config", heard.language),
    )


class _Heard:
    def __init__(self, spec: AsrSpec) -> None:
        self._spec = spec
        self._heard_as = ""

    async def hotwords(self) -> str:
        words = self._spec.hotwords
        if any(not word.strip() for word in words):
            raise CheckFailed(_("One of the hotwords is blank."))
        text = ngettext("Hotwords: %(count)d word", "Hotwords: %(count)d words", len(words))
        return text % {"count": len(words)}

    async def understands(self) -> str:
        pcm = await trials.sample_speech(self._spec.language)
        heard = await trials.transcribe(self._spec, pcm)
        text = heard.transcript.text.strip()
        if not text:
            raise CheckFailed(_("It understood nothing of a spoken sentence."))
        self._heard_as = heard.transcript.language
        return _("Status: %(status)d, understood “%(text)s” in %(ms)dms") % {
            "status": _OK,
            "text": text[:200],
            "ms": heard.latency_ms,
        }

    async def language(self) -> str:
        message = _("Language: %(language)s") % {"language": self._spec.language}
        if self._heard_as:
            return _("%(message)s, heard: %(heard)s") % {
                "message": message,
                "heard": self._heard_as,
            }
        return message


RECOGNISER_TESTER = Tester(
    existence="Model Existence",
    missing=gettext_lazy("Model not found"),
    access=access_recogniser,
    prepare=prepare_recogniser,
)


# --- Voices ------------------------------------------------------------------------------------


def access_speaker(principal: Principal, voice_id: str) -> Voice:
    """The voice, if the principal may have it tested. Raises NotFound and Conflict."""
    try:
        row = access_voice(principal, voice_id)
    except NotFound:
        raise NotFound(_("Voice not found"), code=VOICE_NOT_FOUND) from None
    require_usable(principal, row)
    return row


def prepare_speaker(voice_id: str, asker: Asker) -> Prepared | None:
    row = one_of(Voice, voice_id)
    if row is None:
        return None
    spoken = _Spoken(voice_spec(row))
    return prepared_model(
        row,
        Check("API Availability", spoken.speaks),
        Check("Audible Speech", spoken.is_audible),
        Check("Speech Length", spoken.is_plausible),
        Check("Language Config", spoken.language),
    )


class _Spoken:
    def __init__(self, spec: VoiceSpec) -> None:
        self._spec = spec
        self._pcm = b""

    async def speaks(self) -> str:
        sentence = trials.sample_sentence(self._spec.language)
        spoken = await trials.speak_timed(self._spec, sentence)
        self._pcm = spoken.pcm
        return _("Spoke for %(seconds).1f s; first sound after %(ms)dms") % {
            "seconds": duration_ms(spoken.pcm) / 1000,
            "ms": spoken.first_ms,
        }

    async def is_audible(self) -> str:
        level = _level_db(self._speech())
        if level < _SILENCE_DB:
            raise CheckFailed(_("The audio is silent (%(level).0f dB).") % {"level": level})
        return _("Level: %(level).0f dB") % {"level": level}

    async def is_plausible(self) -> str:
        ms = duration_ms(self._speech())
        if not _SHORTEST_MS <= ms <= _LONGEST_MS:
            raise CheckFailed(_("A short sentence took %(seconds).1f s.") % {"seconds": ms / 1000})
        return _("Speed: %(speed)g") % {"speed": self._spec.speed}

    async def language(self) -> str:
        return _("Language: %(language)s") % {"language": self._spec.language}

    def _speech(self) -> bytes:
        if not self._pcm:
            raise CheckFailed(_("Not tried: there is no audio."))
        return self._pcm


def _level_db(pcm: bytes) -> float:
    """The mean level against full scale."""
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float64)
    power = float(np.mean((samples / 32768) ** 2)) if samples.size else 0.0
    return 10 * math.log10(max(power, 1e-12))


SPEAKER_TESTER = Tester(
    existence="Model Existence",
    missing=gettext_lazy("Model not found"),
    access=access_speaker,
    prepare=prepare_speaker,
)
