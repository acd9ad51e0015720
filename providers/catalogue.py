"""The models that are always there, offline: as data, and written as system rows."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from providers.models import Asr, Gender, Llm, LlmType, Voice

VENDOR = "builtin"
# Names by which published samples ask for a model, so that they run as they are. Only of new rows:
# whoever takes them away or gives them to another model has decided.
_FIRST_ALIASES = {"builtin-demo": ["gpt-4"]}

LLMS: dict[str, dict[str, Any]] = {
    "builtin-demo": {
        "name": "Offline demo model",
        "type": LlmType.TEXT,
        "model_name": "demo",
        "context_length": 8192,
    },
    "builtin-hashing": {
        "name": "Offline hashing embedder",
        "type": LlmType.EMBEDDING,
        "model_name": "hashing",
        "dimensions": 2048,
    },
}
RECOGNISERS: dict[str, dict[str, Any]] = {
    "builtin-pocketsphinx": {
        "name": "Offline English recogniser (limited)",
        "language": "en",
        "model_name": "pocketsphinx",
    },
}
VOICES: dict[str, dict[str, Any]] = {
    "builtin-voice-en-us": {
        "name": "Offline English voice",
        "language": "en",
        "voice_key": "en-us",
        "description": "espeak-ng, American English. Clear and robotic.",
    },
    "builtin-voice-cmn": {
        "name": "离线普通话语音",
        "language": "zh",
        "voice_key": "cmn",
        "description": "espeak-ng, Mandarin. Clear and robotic.",
    },
    "builtin-voice-yue": {
        "name": "離線粵語語音",
        "language": "yue",
        "voice_key": "yue",
        "description": "espeak-ng, Cantonese. Clear and robotic.",
    },
}


@transaction.atomic
def sync_builtin_models() -> None:
    """Writes the system rows of the built-in models; what an operator disabled stays disabled."""
    for pk, values in LLMS.items():
        fixed = {**values, "vendor": VENDOR, "owner": None}
        aliases = _FIRST_ALIASES.get(pk, [])
        Llm.objects.update_or_create(
            pk=pk, defaults=fixed, create_defaults={**fixed, "aliases": aliases}
        )
    for pk, values in RECOGNISERS.items():
        Asr.objects.update_or_create(pk=pk, defaults={**values, "vendor": VENDOR, "owner": None})
    for pk, values in VOICES.items():
        Voice.objects.update_or_create(
            pk=pk,
            defaults={
                **values,
                "vendor": VENDOR,
                "owner": None,
                "model": "espeak-ng",
                "gender": Gender.MALE,
            },
        )
