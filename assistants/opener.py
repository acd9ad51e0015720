"""The opener spoken ahead of time: when it can be, and when it is stale."""

from __future__ import annotations

import hashlib

from assistants.models import Assistant, OpenerAudio
from providers.types import VoiceSpec


def has_fixed_opener(assistant: Assistant) -> bool:
    """Whether the opener is the same in every call, so that it can be spoken ahead of time."""
    opener = assistant.opener.strip()
    return bool(opener) and not assistant.generated_opener_enabled and "{{" not in opener


def opener_hash(text: str, voice: VoiceSpec) -> str:
    """Changes with everything that is heard: the text, the voice, its speed, gain and pitch."""
    parts = (
        text.strip(),
        voice.endpoint.row_id,
        voice.endpoint.vendor,
        voice.endpoint.model_name,
        voice.voice_key,
        f"{voice.speed:.3f}",
        f"{voice.gain:.3f}",
        f"{voice.pitch:.3f}",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def fresh_opener_audio(assistant: Assistant, voice: VoiceSpec | None) -> OpenerAudio | None:
    """The stored audio, if it is wanted and still says the opener in the assistant's voice."""
    if voice is None or not assistant.opener_audio_enabled or not has_fixed_opener(assistant):
        return None
    audio: OpenerAudio | None = getattr(assistant, "opener_audio", None)
    if audio is None or audio.error or audio.text_hash != opener_hash(assistant.opener, voice):
        return None
    return audio
