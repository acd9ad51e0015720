"""Models on the wire: snake_case out, both cases in, keys only in."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from core.serializers import SecretField, WireSerializer
from providers.models import AsrLanguage, Gender, LlmType

MAX_CONTEXT = 2**31 - 1
MAX_MESSAGE = 32_000


class ModelSerializer(WireSerializer):
    """What every model has."""

    id = serializers.CharField(read_only=True)
    user_id = serializers.IntegerField(source="owner_id", read_only=True, allow_null=True)
    name = serializers.CharField(max_length=100)
    vendor = serializers.CharField(max_length=32, help_text=_("A vendor's name, in any case."))
    base_url = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        help_text=_("Needed where the vendor has no address of its own."),
    )
    api_key = SecretField(help_text=_("Masked in answers; the mask sent back keeps the key."))
    enabled = serializers.BooleanField(source="is_enabled", required=False)


class CheckedSerializer(WireSerializer):
    """When the row was made, and what its last test found."""

    is_system = serializers.BooleanField(read_only=True)
    last_checked_at = serializers.DateTimeField(read_only=True, allow_null=True)
    last_check_ok = serializers.BooleanField(read_only=True, allow_null=True)
    last_check_message = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)


class LlmSerializer(ModelSerializer, CheckedSerializer):
    """A language, embedding or rerank model."""

    type = serializers.ChoiceField(LlmType.choices, required=False)
    model_name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False, allow_null=True)
    context_length = serializers.IntegerField(
        min_value=1, max_value=MAX_CONTEXT, required=False, allow_null=True
    )
    max_output_tokens = serializers.IntegerField(
        min_value=1, max_value=MAX_CONTEXT, required=False, allow_null=True
    )
    supports_thinking = serializers.BooleanField(
        required=False, help_text=_("Whether it can be told to think, and obeys.")
    )
    accepts_images = serializers.BooleanField(required=False)
    description = serializers.CharField(max_length=500, required=False, allow_blank=True)
    aliases = serializers.ListField(
        child=serializers.CharField(max_length=100),
        max_length=20,
        required=False,
        help_text=_("Clients may ask for it by these too, where no model has the name itself."),
    )
    dimensions = serializers.IntegerField(
        min_value=1, max_value=16_000, required=False, allow_null=True
    )


class AsrSerializer(ModelSerializer, CheckedSerializer):
    """A speech recogniser."""

    language = serializers.ChoiceField(AsrLanguage.choices, required=False)
    model_name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    hotwords = serializers.ListField(
        child=serializers.CharField(max_length=100), max_length=500, required=False
    )
    enable_punctuation = serializers.BooleanField(required=False)
    enable_normalization = serializers.BooleanField(required=False)


class VoiceSerializer(ModelSerializer, CheckedSerializer):
    """A voice."""

    gender = serializers.ChoiceField(Gender.choices, required=False)
    language = serializers.CharField(max_length=16, required=False)
    description = serializers.CharField(max_length=500, required=False, allow_blank=True)
    model = serializers.CharField(max_length=200, required=False, allow_blank=True)
    voice_key = serializers.CharField(max_length=200, required=False, allow_blank=True)
    speed = serializers.FloatField(min_value=0.5, max_value=2, required=False)
    gain = serializers.FloatField(min_value=-10, max_value=10, required=False)
    pitch = serializers.FloatField(min_value=-12, max_value=12, required=False)


class OneTimeKey(WireSerializer):
    """A key for this one call, in place of the stored one."""

    api_key = serializers.CharField(
        max_length=1000, required=False, allow_blank=True, default="", write_only=True
    )


class ChatSerializer(WireSerializer):
    """A message for a language model."""

    message = serializers.CharField(max_length=MAX_MESSAGE)
    system_prompt = serializers.CharField(
        max_length=MAX_MESSAGE, required=False, allow_blank=True, default=""
    )
    max_tokens = serializers.IntegerField(
        min_value=1, max_value=131_072, required=False, default=1000
    )
    temperature = serializers.FloatField(
        min_value=0, max_value=2, required=False, allow_null=True, default=None
    )


class LlmPreviewSerializer(OneTimeKey, ChatSerializer):
    """A message for a language model, also with a key that is not stored."""

    max_tokens = serializers.IntegerField(
        min_value=1, max_value=131_072, required=False, default=512
    )


class TranscribeSerializer(OneTimeKey):
    """A recording to be transcribed."""

    file = serializers.FileField(help_text=_("An uncompressed WAV file."))
    language = serializers.ChoiceField(
        AsrLanguage.choices, required=False, allow_blank=True, default=""
    )


class SpeechSerializer(OneTimeKey):
    """A text to be spoken."""

    text = serializers.CharField(max_length=2000)
    speed = serializers.FloatField(
        min_value=0.5, max_value=2, required=False, allow_null=True, default=None
    )
    gain = serializers.FloatField(
        min_value=-10, max_value=10, required=False, allow_null=True, default=None
    )
    pitch = serializers.FloatField(
        min_value=-12, max_value=12, required=False, allow_null=True, default=None
    )


class UsageSerializer(WireSerializer):
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()


class CheckResultSerializer(WireSerializer):
    """What a test found."""

    success = serializers.BooleanField()
    latency_ms = serializers.IntegerField()
    message = serializers.CharField()


class ReplySerializer(WireSerializer):
    """What a language model answered."""

    success = serializers.BooleanField()
    reply = serializers.CharField()
    usage = UsageSerializer(allow_null=True)


class LlmPreviewResultSerializer(ReplySerializer):
    """The same, or why there is no answer."""

    latency_ms = serializers.IntegerField()
    error = serializers.CharField(allow_null=True)


class TranscriptSerializer(WireSerializer):
    """What a recogniser understood, or why it did not."""

    success = serializers.BooleanField()
    transcript = serializers.CharField()
    language = serializers.CharField()
    confidence = serializers.FloatField(allow_null=True)
    latency_ms = serializers.IntegerField()
    error = serializers.CharField(allow_null=True)


class SpokenSerializer(WireSerializer):
    """Speech as a data URL, or why there is none."""

    success = serializers.BooleanField()
    audio_url = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)
