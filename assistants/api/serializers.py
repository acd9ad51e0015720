"""An assistant on the wire: camelCase out, both cases in."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from assistants.models import (
    MAX_PASSAGES,
    Assistant,
    ConfigMode,
    FirstTurn,
    KnowledgeMode,
    Language,
)
from assistants.opener import ready_audio, stored_audio
from core.serializers import SecretField, WireSerializer

MAX_PROMPT = 100_000
MAX_OPENER = 4_000
MAX_DESCRIPTION = 500


class RowIdField(serializers.CharField):
    """The id of another row; null or an empty text for none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=64, required=False, allow_null=True, allow_blank=True, **kwargs)


class IdsField(serializers.ListField):
    """Ids of other rows."""

    def __init__(self, **kwargs: Any) -> None:
        child = serializers.CharField(max_length=64)
        super().__init__(child=child, max_length=200, required=False, **kwargs)


class AssistantSerializer(WireSerializer):
    """What an assistant is. Only `name` is needed to make one."""

    id = serializers.CharField(read_only=True)
    name = serializers.CharField(max_length=100)
    description = serializers.CharField(
        max_length=MAX_DESCRIPTION, required=False, allow_blank=True
    )
    logoUrl = serializers.CharField(
        source="logo_url", max_length=500, required=False, allow_blank=True
    )
    prompt = serializers.CharField(
        max_length=MAX_PROMPT, required=False, allow_blank=True, trim_whitespace=False
    )
    firstTurnMode = serializers.ChoiceField(
        FirstTurn.choices, source="first_turn_mode", required=False
    )
    opener = serializers.CharField(max_length=MAX_OPENER, required=False, allow_blank=True)
    generatedOpenerEnabled = serializers.BooleanField(
        source="generated_opener_enabled", required=False
    )
    manualOpenerToolCalls = serializers.ListField(
        child=serializers.DictField(),
        source="manual_opener_tool_calls",
        max_length=100,
        required=False,
        help_text=_('Calls after the opener: [{"toolName": …, "arguments": {…}}], at most eight.'),
    )
    openerAudioEnabled = serializers.BooleanField(source="opener_audio_enabled", required=False)
    openerAudioReady = serializers.SerializerMethodField(method_name="is_opener_ready")
    openerAudioDurationMs = serializers.SerializerMethodField(method_name="opener_duration_ms")
    openerAudioError = serializers.SerializerMethodField(method_name="opener_error")
    knowledgeBaseId = RowIdField(source="knowledge_base_id")
    knowledgeBaseIds = IdsField(source="knowledge_base_ids")
    knowledgeMode = serializers.ChoiceField(
        KnowledgeMode.choices,
        source="knowledge_mode",
        required=False,
        help_text=_("`before`: searched before every answer; `tool`: the model asks for it."),
    )
    knowledgeLimit = serializers.IntegerField(
        source="knowledge_limit", min_value=1, max_value=MAX_PASSAGES, required=False
    )
    knowledgeMinScore = serializers.FloatField(
        source="knowledge_min_score", min_value=0, max_value=1, required=False
    )
    mcpServerIds = IdsField(source="mcp_server_ids")
    enableMemory = serializers.BooleanField(
        source="enable_memory",
        required=False,
        help_text=_("Keeps facts that users tell it, and uses them when they come back."),
    )
    language = serializers.ChoiceField(Language.choices, required=False)
    voiceOutputEnabled = serializers.BooleanField(source="voice_output_enabled", required=False)
    voice = RowIdField(source="voice_id")
    speed = serializers.FloatField(min_value=0.5, max_value=2, required=False)
    hotwords = serializers.ListField(
        child=serializers.CharField(max_length=100), max_length=500, required=False
    )
    tools = IdsField(source="tool_ids")
    botCannotBeInterrupted = serializers.BooleanField(
        source="bot_cannot_be_interrupted", required=False
    )
    interruptionSensitivity = serializers.IntegerField(
        source="interruption_sensitivity_ms", min_value=50, max_value=5000, required=False
    )
    endOfTurnSilenceMs = serializers.IntegerField(
        source="end_of_turn_silence_ms", min_value=100, max_value=3000, required=False
    )
    asrInterimEnabled = serializers.BooleanField(source="asr_interim_enabled", required=False)
    configMode = serializers.ChoiceField(ConfigMode.choices, source="config_mode", required=False)
    apiUrl = serializers.CharField(
        source="api_url", max_length=500, required=False, allow_blank=True
    )
    apiKey = SecretField(source="api_key")
    llmModelId = RowIdField(source="llm_id")
    asrModelId = RowIdField(source="asr_id")
    embeddingModelId = RowIdField(source="embedder_id")
    rerankModelId = RowIdField(source="reranker_id")
    isPublic = serializers.BooleanField(source="is_public", required=False)
    allowedOrigins = serializers.ListField(
        child=serializers.CharField(max_length=200),
        source="allowed_origins",
        max_length=100,
        required=False,
    )
    callCount = serializers.IntegerField(source="call_count", read_only=True)
    user_id = serializers.IntegerField(source="owner_id", read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def is_opener_ready(self, row: Assistant) -> bool:
        return ready_audio(row) is not None

    def opener_duration_ms(self, row: Assistant) -> int:
        audio = ready_audio(row)
        return audio.duration_ms if audio else 0

    def opener_error(self, row: Assistant) -> str:
        audio = stored_audio(row)
        return audio.error if audio else ""


class SavedAssistantSerializer(AssistantSerializer):
    """An assistant as it was stored, and what of the request was left out."""

    warnings = serializers.ListField(child=serializers.CharField(), read_only=True)


class OpenerAudioSerializer(WireSerializer):
    """The state of the prepared opener."""

    enabled = serializers.BooleanField()
    ready = serializers.BooleanField()
    duration_ms = serializers.IntegerField()
    encoding = serializers.CharField()
    sample_rate_hz = serializers.IntegerField()
    channels = serializers.IntegerField()
    text_hash = serializers.CharField()


class ModelConfigSerializer(WireSerializer):
    id = serializers.CharField()
    name = serializers.CharField()
    vendor = serializers.CharField()
    modelName = serializers.CharField()


class LlmConfigSerializer(ModelConfigSerializer):
    temperature = serializers.FloatField(allow_null=True)
    contextLength = serializers.IntegerField(allow_null=True)


class AsrConfigSerializer(ModelConfigSerializer):
    language = serializers.CharField()
    hotwords = serializers.ListField(child=serializers.CharField())


class VoiceConfigSerializer(ModelConfigSerializer):
    language = serializers.CharField()
    voiceKey = serializers.CharField()
    speed = serializers.FloatField()
    gain = serializers.FloatField()
    pitch = serializers.FloatField()


class ToolConfigSerializer(WireSerializer):
    id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    parameters = serializers.JSONField()
    executor = serializers.ChoiceField(["client", "server"])
    waitForResponse = serializers.BooleanField()
    timeoutMs = serializers.IntegerField()


class OpenerCallSerializer(WireSerializer):
    toolName = serializers.CharField()
    arguments = serializers.JSONField()


class OpenerConfigSerializer(WireSerializer):
    text = serializers.CharField()
    isGenerated = serializers.BooleanField()
    hasAudio = serializers.BooleanField()
    toolCalls = OpenerCallSerializer(many=True)


class TurnTakingSerializer(WireSerializer):
    canBeInterrupted = serializers.BooleanField()
    interruptionSensitivity = serializers.IntegerField()
    endOfTurnSilenceMs = serializers.IntegerField()
    asrInterimEnabled = serializers.BooleanField()


class OutputSerializer(WireSerializer):
    mode = serializers.ChoiceField(["audio", "text"])


class KnowledgeConfigSerializer(WireSerializer):
    mode = serializers.ChoiceField(KnowledgeMode.choices)
    limit = serializers.IntegerField()
    minScore = serializers.FloatField()
    rerankModelId = serializers.CharField(allow_null=True)


class ConfigSerializer(WireSerializer):
    """An assistant as a call would use it, with defaults filled in and secrets left out."""

    id = serializers.CharField()
    name = serializers.CharField()
    language = serializers.CharField()
    prompt = serializers.CharField()
    firstTurnMode = serializers.CharField()
    opener = OpenerConfigSerializer()
    output = OutputSerializer()
    turnTaking = TurnTakingSerializer()
    llm = LlmConfigSerializer(allow_null=True)
    asr = AsrConfigSerializer(allow_null=True)
    voice = VoiceConfigSerializer(allow_null=True)
    tools = ToolConfigSerializer(many=True)
    knowledgeBaseIds = serializers.ListField(child=serializers.CharField())
    knowledge = KnowledgeConfigSerializer(
        allow_null=True, help_text=_("How the knowledge bases are searched; null without any.")
    )
    embeddingModelId = serializers.CharField(allow_null=True)
    timeZone = serializers.CharField()
    problems = serializers.ListField(
        child=serializers.CharField(), help_text=_("What a call would lack.")
    )
