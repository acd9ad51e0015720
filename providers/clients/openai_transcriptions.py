"""`POST /audio/transcriptions` as OpenAI and most other vendors speak it: whole utterances."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.audio import duration_ms, wav_from_pcm
from providers.clients import failures
from providers.clients.transport import post, read
from providers.profiles import PROFILES
from providers.types import AsrSpec, Transcript

# Ten minutes of speech, with the time of each word, take less.
_MAX_BYTES = 1024 * 1024
# OpenAI refuses audio of less than 100 ms; nobody says anything in it.
_MIN_AUDIO_MS = 100
# Vendors cut the prompt at 224 tokens.
_MAX_PROMPT_CHARS = 600
# Some recognisers put the language, the mood and noises into the text: <|en|><|HAPPY|>.
_TAGS = re.compile(r"<\|[^|>]*\|>")
_PUNCTUATION = re.compile(r"(?<!\d)[.,](?!\d)|[.,](?!\d)|[!?;:，。！？；：、…]")


class OpenAITranscriptions:
    """Recogniser that sends each utterance when it is over."""

    def __init__(self, spec: AsrSpec) -> None:
        self._spec = spec
        self._profile = PROFILES[spec.endpoint.vendor]
        self._model = spec.endpoint.model_name or self._profile.default_asr_model
        self._is_verbose = any(
            part in self._model.lower() for part in self._profile.verbose_asr_models
        )

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[BufferedUtterance]:
        """Begins one utterance; leaving forgets its audio."""
        yield BufferedUtterance(self)

    async def transcribe(self, pcm: bytes) -> Transcript:
        """What was said, in one request."""
        if duration_ms(pcm) < _MIN_AUDIO_MS:
            return Transcript("")
        endpoint = self._spec.endpoint
        async with post(
            endpoint,
            self._profile.transcriptions_path,
            expects=("application/json",),
            files={"file": ("speech.wav", wav_from_pcm(pcm), "audio/wav")},
            data=self._fields(),
        ) as response:
            body = failures.json_object(endpoint, await read(response, max_bytes=_MAX_BYTES))
        text = body.get("text")
        if not isinstance(text, str):
            raise failures.unreadable(endpoint)
        language = body.get("language")
        return Transcript(
            self._cleaned(text),
            language if isinstance(language, str) else "",
            _confidence(body.get("segments")),
        )

    def _fields(self) -> dict[str, str]:
        fields = {
            "model": self._model,
            "response_format": "verbose_json" if self._is_verbose else "json",
        }
        if self._spec.language in ("zh", "en"):
            fields["language"] = self._spec.language
        if self._spec.hotwords and self._profile.takes_asr_prompt:
            fields["prompt"] = ", ".join(self._spec.hotwords)[:_MAX_PROMPT_CHARS]
        return fields

    def _cleaned(self, text: str) -> str:
        text = _TAGS.sub("", text).strip()
        return text if self._spec.enable_punctuation else _PUNCTUATION.sub("", text).strip()


class BufferedUtterance:
    """The audio of one utterance until it is over."""

    def __init__(self, client: OpenAITranscriptions) -> None:
        self._client = client
        self._pcm = bytearray()

    def feed(self, pcm: bytes) -> None:
        """Adds audio."""
        self._pcm += pcm

    async def partial(self) -> str:
        """Always "": the vendor hears whole utterances only."""
        return ""

    async def finish(self) -> Transcript:
        """Sends the audio and returns what was said."""
        return await self._client.transcribe(bytes(self._pcm))


def _confidence(segments: Any) -> float | None:
    """The mean probability of a word piece over all segments, by their length."""
    if not isinstance(segments, list):
        return None
    total = weight = 0.0
    for segment in segments:
        try:
            seconds = max(0.01, float(segment["end"]) - float(segment["start"]))
            total += seconds * math.exp(min(0.0, float(segment["avg_logprob"])))
        except (KeyError, TypeError, ValueError):
            return None
        weight += seconds
    return total / weight if weight else None
