"""The opener spoken ahead of time: when it can be, when it is stale, and making it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection
from typing import Any

from django.utils.translation import gettext as _

from assistants.models import Assistant, OpenerAudio
from core.audio import duration_ms
from core.errors import AppError, InvalidRequest
from providers.actions import Speech, speak
from providers.models import Voice
from providers.specs import default_voice, is_usable, voice_spec
from providers.types import VoiceSpec
from tooling.catalogue import normalise_tool_id

MAX_TOOL_CALLS = 8


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


def chosen_voice(assistant: Assistant) -> Voice | None:
    """The assistant's voice, or the default of its language where it has none that is enabled."""
    voice = assistant.voice
    if voice is not None and is_usable(voice):
        return voice
    return default_voice(assistant.owner_id, assistant.language)


def stored_audio(assistant: Assistant) -> OpenerAudio | None:
    """What is stored, good or bad."""
    audio: OpenerAudio | None = getattr(assistant, "opener_audio", None)
    return audio


def ready_audio(assistant: Assistant) -> OpenerAudio | None:
    """The stored audio, if it says the opener in the voice that the assistant names.

    An assistant that names no voice keeps the one of that moment; `fresh_opener_audio` is stricter.
    Asks no query where the rows came from `for_display`.
    """
    audio = stored_audio(assistant)
    if audio is None or audio.error or audio.voice is None or not has_fixed_opener(assistant):
        return None
    named = assistant.voice
    if named is not None and is_usable(named) and named.pk != audio.voice_id:
        return None
    spoken = voice_spec(audio.voice, speed=assistant.speed)
    return audio if audio.text_hash == opener_hash(assistant.opener, spoken) else None


def fresh_opener_audio(assistant: Assistant, voice: VoiceSpec | None) -> OpenerAudio | None:
    """The stored audio for a call: wanted, and in the very voice that will speak in the call."""
    audio = stored_audio(assistant)
    if audio is None or audio.error or voice is None or not assistant.opener_audio_enabled:
        return None
    if not has_fixed_opener(assistant):
        return None
    return audio if audio.text_hash == opener_hash(assistant.opener, voice) else None


def prepare_opener_audio(assistant: Assistant) -> OpenerAudio:
    """Speaks the opener and stores the audio.

    Raises InvalidRequest where there is nothing fixed to speak or no voice, and the provider's
    error after noting it on the row.
    """
    if not has_fixed_opener(assistant):
        text = _("Only an opener with a text and without variables can be spoken ahead of time.")
        raise InvalidRequest(text, param="opener")
    voice = chosen_voice(assistant)
    if voice is None:
        raise InvalidRequest(_("There is no voice for this language."), param="voice_id")
    spec = voice_spec(voice, speed=assistant.speed)
    values: dict[str, Any] = {
        "voice": voice,
        "text_hash": opener_hash(assistant.opener, spec),
        "error": "",
    }
    try:
        pcm = speak(voice, Speech(text=assistant.opener, speed=spec.speed))
    except AppError as error:
        _store(assistant, {**values, "pcm": b"", "duration_ms": 0, "error": str(error)[:500]})
        raise
    return _store(assistant, {**values, "pcm": pcm, "duration_ms": duration_ms(pcm)})


def _store(assistant: Assistant, values: dict[str, Any]) -> OpenerAudio:
    audio, _is_new = OpenerAudio.objects.update_or_create(assistant=assistant, defaults=values)
    return audio


@dataclasses.dataclass(frozen=True, slots=True)
class NormalisedCalls:
    """Tool calls as they are stored, and what was left out."""

    calls: list[dict[str, Any]]
    warnings: list[str]


def normalise_calls(sent: Any, *, tool_ids: Collection[str]) -> NormalisedCalls:
    """The calls of the opener that the assistant can make, with today's names; at most eight."""
    calls: list[dict[str, Any]] = []
    warnings: list[str] = []
    for item in sent if isinstance(sent, list) else []:
        call = _normalised(item)
        if call is None:
            warnings.append(
                _("An opener tool call without a usable name or arguments was dropped.")
            )
        elif call["toolName"] not in tool_ids:
            warnings.append(
                _("The opener tool call “%(name)s” was dropped: the assistant lacks the tool.")
                % {"name": call["toolName"]}
            )
        elif len(calls) == MAX_TOOL_CALLS:
            warnings.append(
                _("The opener tool call “%(name)s” was dropped: at most %(count)d are possible.")
                % {"name": call["toolName"], "count": MAX_TOOL_CALLS}
            )
        else:
            calls.append(call)
    return NormalisedCalls(calls, warnings)


def _normalised(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        return None
    name = item.get("toolName") or item.get("tool_name") or item.get("name")
    arguments = item.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return {"toolName": normalise_tool_id(name.strip()), "arguments": arguments}
