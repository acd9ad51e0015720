"""The resolved configuration of an assistant, rendered without addresses and secrets."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from assistants.runtime import AssistantRuntime, KnowledgeUse
from providers.types import AsrSpec, Endpoint, LlmSpec, VoiceSpec


def render_config(runtime: AssistantRuntime) -> dict[str, Any]:
    """What `ConfigSerializer` describes."""
    taking = runtime.turn_taking
    return {
        "id": runtime.id,
        "name": runtime.name,
        "language": runtime.language,
        "prompt": runtime.prompt,
        "firstTurnMode": runtime.first_turn,
        "opener": {
            "text": runtime.opener,
            "isGenerated": runtime.generates_opener,
            "hasAudio": runtime.opener_pcm is not None,
            "toolCalls": [
                {"toolName": call.tool_name, "arguments": call.arguments}
                for call in runtime.opener_tool_calls
            ],
        },
        "output": {"mode": "audio" if runtime.voice_output and runtime.voice else "text"},
        "turnTaking": {
            "canBeInterrupted": taking.can_be_interrupted,
            "interruptionSensitivity": taking.interruption_ms,
            "endOfTurnSilenceMs": taking.end_of_turn_silence_ms,
            "asrInterimEnabled": taking.interim_transcripts,
        },
        "llm": _llm(runtime.llm) if runtime.llm else None,
        "asr": _asr(runtime.recogniser) if runtime.recogniser else None,
        "voice": _voice(runtime.voice) if runtime.voice else None,
        "tools": [
            {
                "id": tool.id,
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "executor": tool.executor,
                "waitForResponse": tool.wait_for_response,
                "timeoutMs": tool.timeout_ms,
            }
            for tool in runtime.tools
        ],
        "knowledgeBaseIds": list(runtime.knowledge.base_ids) if runtime.knowledge else [],
        "knowledge": _knowledge(runtime.knowledge) if runtime.knowledge else None,
        "embeddingModelId": runtime.embedder.endpoint.row_id if runtime.embedder else None,
        "timeZone": runtime.time_zone,
        "problems": _problems(runtime),
    }


def _model(endpoint: Endpoint, name: str) -> dict[str, Any]:
    return {
        "id": endpoint.row_id,
        "name": name,
        "vendor": endpoint.vendor,
        "modelName": endpoint.model_name,
    }


def _llm(spec: LlmSpec) -> dict[str, Any]:
    return {
        **_model(spec.endpoint, spec.name),
        "temperature": spec.temperature,
        "contextLength": spec.context_length,
    }


def _asr(spec: AsrSpec) -> dict[str, Any]:
    return {
        **_model(spec.endpoint, spec.name),
        "language": spec.language,
        "hotwords": list(spec.hotwords),
    }


def _voice(spec: VoiceSpec) -> dict[str, Any]:
    return {
        **_model(spec.endpoint, spec.name),
        "language": spec.language,
        "voiceKey": spec.voice_key,
        "speed": spec.speed,
        "gain": spec.gain,
        "pitch": spec.pitch,
    }


def _knowledge(use: KnowledgeUse) -> dict[str, Any]:
    return {
        "mode": use.mode,
        "limit": use.limit,
        "minScore": use.min_score,
        "rerankModelId": use.reranker.endpoint.row_id if use.reranker else None,
    }


def _problems(runtime: AssistantRuntime) -> list[str]:
    found = []
    if runtime.llm is None and runtime.brain is None:
        found.append(_("There is no language model: the assistant cannot answer."))
    if runtime.recogniser is None:
        found.append(_("There is no speech recogniser for the language: it cannot hear."))
    if runtime.voice_output and runtime.voice is None:
        found.append(_("There is no voice for the language: it cannot speak."))
    return found
