"""Recorded speech that was uploaded."""

from __future__ import annotations

import io
import wave

from django.core.files import File
from django.utils.translation import gettext as _

from core.audio import AudioError, pcm_from_wav
from core.errors import InvalidRequest, PayloadTooLarge

MAX_BYTES = 25 * 2**20
MAX_SECONDS = 600
# Boundaries and the other fields of a multipart body.
_FORM_MARGIN_BYTES = 64 * 1024


def refuse_large_form(content_length: str) -> None:
    """Raises PayloadTooLarge before a form is read that cannot hold an acceptable file."""
    if content_length.isdigit() and int(content_length) > MAX_BYTES + _FORM_MARGIN_BYTES:
        raise _too_large()


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(
        _("The file is larger than %(size)d MB.") % {"size": MAX_BYTES // 2**20}, param="file"
    )


def speech_in(upload: File[bytes]) -> bytes:
    """The speech of a WAV file as PCM. Raises PayloadTooLarge and InvalidRequest naming `file`."""
    if upload.size is None or upload.size > MAX_BYTES:
        raise _too_large()
    data = upload.read()
    # A few bytes at a low rate would become gigabytes at ours, so the length is read first.
    if _seconds(data) > MAX_SECONDS:
        raise PayloadTooLarge(
            _("The recording is longer than %(minutes)d minutes.") % {"minutes": MAX_SECONDS // 60},
            param="file",
        )
    try:
        pcm = pcm_from_wav(data)
    except AudioError:
        raise _not_wav() from None
    if not pcm:
        raise InvalidRequest(_("The recording is empty."), param="file")
    return pcm


def _not_wav() -> InvalidRequest:
    return InvalidRequest(_("Expected an uncompressed WAV file."), param="file")


def _seconds(data: bytes) -> float:
    try:
        with wave.open(io.BytesIO(data)) as reader:
            frames, rate_hz = reader.getnframes(), reader.getframerate()
    except (wave.Error, EOFError, OverflowError):
        raise _not_wav() from None
    return float(frames / max(1, rate_hz))
