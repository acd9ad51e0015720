"""`POST /audio/speech` as OpenAI and most other vendors speak it: PCM, streamed."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from core.audio import StreamResampler, apply_gain
from core.errors import ProviderError
from core.http import too_large
from providers.clients import failures, transport
from providers.profiles import PROFILES
from providers.types import Endpoint, VoiceSpec

_AUDIO_TYPES = ("audio/", "application/octet-stream", "binary/octet-stream")
_COMPRESSED_STARTS = (b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
_RIFF_HEAD_BYTES = 12
_CHUNK_HEAD_BYTES = 8
# A WAV header longer than this is none.
_MAX_HEAD_BYTES = 65_536


class OpenAISpeech:
    """Speaker that passes the vendor's PCM on as it comes, at our rate and with the row's gain."""

    def __init__(self, spec: VoiceSpec) -> None:
        self._spec = spec
        self._profile = PROFILES[spec.endpoint.vendor]

    @asynccontextmanager
    async def speak(self, text: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The spoken text as PCM pieces; leaving closes the request to the vendor."""
        async with aclosing(self._pieces(text)) as pieces:
            yield pieces

    async def _pieces(self, text: str) -> AsyncGenerator[bytes, None]:
        if not text.strip():
            return
        endpoint = self._spec.endpoint
        decoder = PcmDecoder(endpoint, rate_hz=self._profile.speech_rate_hz)
        has_sounded = False
        bytes_left = transport.MAX_STREAM_BYTES
        async with transport.post(
            endpoint, self._profile.speech_path, expects=_AUDIO_TYPES, json=self._request(text)
        ) as response:
            async for data in response.aiter_raw():
                bytes_left -= len(data)
                if bytes_left < 0:
                    raise too_large(transport.MAX_STREAM_BYTES)
                if pcm := decoder.push(data):
                    has_sounded = True
                    yield apply_gain(pcm, self._spec.gain)
        if pcm := decoder.finish():
            has_sounded = True
            yield apply_gain(pcm, self._spec.gain)
        if not has_sounded:
            raise failures.empty(endpoint)

    def _request(self, text: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._spec.endpoint.model_name or self._profile.default_speech_model,
            "voice": self._spec.voice_key or self._profile.default_voice,
            "input": text,
            "response_format": "pcm",
            **self._profile.speech_extra,
        }
        if self._spec.speed != 1.0:
            body["speed"] = self._spec.speed
        return body


class PcmDecoder:
    """PCM at our rate from what a vendor sends: bare PCM as asked, or a WAV file all the same."""

    def __init__(self, endpoint: Endpoint, *, rate_hz: int) -> None:
        self._endpoint = endpoint
        self._rate_hz = rate_hz
        self._head = b""
        self._resampler: StreamResampler | None = None

    def push(self, data: bytes) -> bytes:
        """The audio that is ready after this piece."""
        if self._resampler is not None:
            return self._resampler.push(data)
        self._head += data
        if len(self._head) < _RIFF_HEAD_BYTES:
            return b""
        rest = self._past_header()
        if rest is None:
            return b""
        self._resampler = StreamResampler(from_hz=self._rate_hz)
        self._head = b""
        return self._resampler.push(rest)

    def finish(self) -> bytes:
        """The last of the audio."""
        if self._resampler is None:
            if not self._head or self._head.startswith(b"RIFF"):
                return b""
            self._resampler = StreamResampler(from_hz=self._rate_hz)
            return self._resampler.push(self._head) + self._resampler.finish()
        return self._resampler.finish()

    def _past_header(self) -> bytes | None:
        """The data after a WAV header, or all where there is none; None while it is incomplete."""
        head = self._head
        if head.startswith(_COMPRESSED_STARTS):
            raise self._not_pcm()
        if not (head.startswith(b"RIFF") and head[8:12] == b"WAVE"):
            return head
        at = _RIFF_HEAD_BYTES
        while len(head) >= at + _CHUNK_HEAD_BYTES:
            name, size = struct.unpack_from("<4sI", head, at)
            at += _CHUNK_HEAD_BYTES
            if name == b"data":
                return head[at:]
            if name == b"fmt " and len(head) >= at + 16:
                self._use_format(*struct.unpack_from("<HHIIHH", head, at))
            at += size + size % 2
        if len(head) > _MAX_HEAD_BYTES:
            raise failures.unreadable(self._endpoint)
        return None

    def _use_format(
        self, code: int, channels: int, rate_hz: int, _bytes: int, _align: int, bits: int
    ) -> None:
        if (channels, bits) != (1, 16) or code not in (1, 0xFFFE) or not 8_000 <= rate_hz <= 96_000:
            raise self._not_pcm()
        self._rate_hz = rate_hz

    def _not_pcm(self) -> ProviderError:
        return failures.not_an_api(self._endpoint, "compressed or stereo audio")
