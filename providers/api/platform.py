"""`/llm`, `/asr` and `/voices` of the platform family."""

from __future__ import annotations

import base64
from typing import Any, ClassVar, TypeVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import principal_of
from accounts.principals import Principal
from core.audio import wav_from_pcm
from core.errors import OutboundRefused, ProviderError
from core.viewsets import PlatformViewSet, success
from providers import actions
from providers.access import (
    ASR_NOT_FOUND,
    LLM_NOT_FOUND,
    VOICE_NOT_FOUND,
    may_edit,
    require_editable,
    require_usable,
    visible_asrs,
    visible_llms,
    visible_voices,
)
from providers.api.filters import AsrFilters, LlmFilters, VoiceFilters
from providers.api.serializers import (
    AsrSerializer,
    ChatSerializer,
    CheckResultSerializer,
    LlmPreviewResultSerializer,
    LlmPreviewSerializer,
    LlmSerializer,
    ReplySerializer,
    SpeechSerializer,
    SpokenSerializer,
    TranscribeSerializer,
    TranscriptSerializer,
    VoiceSerializer,
)
from providers.models import Asr, Llm, ModelRow, Voice
from providers.trials import Reply
from providers.uploads import refuse_large_form, speech_in

R = TypeVar("R", bound=ModelRow)
_WRITING = frozenset({"PUT", "PATCH", "DELETE"})


class ModelViewSet(PlatformViewSet[R]):
    """What the three kinds of model share. Unsaved calls fail inside the answer, not as errors."""

    @property
    def principal(self) -> Principal:
        return principal_of(self.request)

    def get_object(self) -> R:
        row = super().get_object()
        if self.request.method in _WRITING:
            require_editable(self.principal, row)
        return row

    def usable_object(self) -> R:
        """The row of the URL, for a call of its model."""
        row = self.get_object()
        require_usable(self.principal, row)
        return row

    def sent(self, serializer_class: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """The validated body of a request that stores nothing."""
        serializer = serializer_class(data=self.request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        values: dict[str, Any] = serializer.validated_data
        return values

    def delete_row(self, row: R) -> None:
        actions.delete_model(row)

    @extend_schema(request=None, responses=CheckResultSerializer)
    def test(self, request: Request, pk: str) -> Response:
        """Calls the model once; the result is kept on its row."""
        row = self.usable_object()
        result = actions.check_model(row, is_stored=may_edit(self.principal, row))
        return success(
            {"success": result.is_ok, "latency_ms": result.latency_ms, "message": result.message}
        )


def saved(serializer: serializers.BaseSerializer[R]) -> R:
    """The stored row that a serializer was made for."""
    assert serializer.instance is not None
    return serializer.instance


def _usage(reply: Reply) -> dict[str, int]:
    read, written = reply.usage.input_tokens, reply.usage.output_tokens
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }


class LlmViewSet(ModelViewSet[Llm]):
    """Language, embedding and rerank models."""

    serializer_class = LlmSerializer
    filterset_class = LlmFilters
    not_found_code: ClassVar = LLM_NOT_FOUND
    queryset = Llm.objects.none()

    def get_queryset(self) -> QuerySet[Llm]:
        rows = visible_llms(self.principal).select_related("provider")
        return rows.order_by("-created_at", "pk")

    def create_row(self, serializer: serializers.BaseSerializer[Llm]) -> Llm:
        return actions.create_llm(self.principal, serializer.validated_data)

    def update_row(self, serializer: serializers.BaseSerializer[Llm]) -> Llm:
        return actions.save_llm(saved(serializer), serializer.validated_data)

    @extend_schema(request=ChatSerializer, responses=ReplySerializer)
    def chat(self, request: Request, pk: str) -> Response:
        """The model's answer to one message; a failure of the vendor is an error (502)."""
        row = self.usable_object()
        reply = actions.ask_llm(row, actions.Question(**self.sent(ChatSerializer)))
        return success({"success": True, "reply": reply.text, "usage": _usage(reply)})

    @extend_schema(request=LlmPreviewSerializer, responses=LlmPreviewResultSerializer)
    def preview(self, request: Request, pk: str) -> Response:
        """The model's answer to one message, or in `error` what the vendor complains about."""
        row = self.usable_object()
        question = actions.Question(**self.sent(LlmPreviewSerializer))
        data: dict[str, Any] = {"success": False, "reply": "", "usage": None, "latency_ms": 0}
        try:
            reply = actions.ask_llm(row, question)
        except (ProviderError, OutboundRefused) as error:
            return success({**data, "error": str(error.message)})
        return success(
            {
                "success": True,
                "reply": reply.text,
                "usage": _usage(reply),
                "latency_ms": reply.latency_ms,
                "error": None,
            }
        )


class AsrViewSet(ModelViewSet[Asr]):
    """Speech recognisers."""

    serializer_class = AsrSerializer
    filterset_class = AsrFilters
    not_found_code: ClassVar = ASR_NOT_FOUND
    queryset = Asr.objects.none()

    def get_queryset(self) -> QuerySet[Asr]:
        rows = visible_asrs(self.principal).select_related("provider")
        return rows.order_by("-created_at", "pk")

    def create_row(self, serializer: serializers.BaseSerializer[Asr]) -> Asr:
        return actions.create_asr(self.principal, serializer.validated_data)

    def update_row(self, serializer: serializers.BaseSerializer[Asr]) -> Asr:
        return actions.save_asr(saved(serializer), serializer.validated_data)

    @extend_schema(
        request={"multipart/form-data": TranscribeSerializer}, responses=TranscriptSerializer
    )
    def transcribe(self, request: Request, pk: str) -> Response:
        """What is said in a WAV file, or in `error` what the vendor complains about."""
        row = self.usable_object()
        refuse_large_form(request.META.get("CONTENT_LENGTH", ""))
        values = self.sent(TranscribeSerializer)
        pcm = speech_in(values["file"])
        data: dict[str, Any] = {"language": values["language"] or row.language, "confidence": None}
        try:
            heard = actions.transcribe(
                row, pcm, language=values["language"], api_key=values["api_key"]
            )
        except (ProviderError, OutboundRefused) as error:
            failed = {"success": False, "transcript": "", "latency_ms": 0}
            return success({**failed, **data, "error": str(error.message)})
        return success(
            {
                "success": True,
                "transcript": heard.transcript.text,
                "language": heard.transcript.language or data["language"],
                "confidence": heard.transcript.confidence,
                "latency_ms": heard.latency_ms,
                "error": None,
            }
        )


class VoiceViewSet(ModelViewSet[Voice]):
    """Voices."""

    serializer_class = VoiceSerializer
    filterset_class = VoiceFilters
    not_found_code: ClassVar = VOICE_NOT_FOUND
    queryset = Voice.objects.none()

    def get_queryset(self) -> QuerySet[Voice]:
        rows = visible_voices(self.principal).select_related("provider")
        return rows.order_by("-created_at", "pk")

    def create_row(self, serializer: serializers.BaseSerializer[Voice]) -> Voice:
        return actions.create_voice(self.principal, serializer.validated_data)

    def update_row(self, serializer: serializers.BaseSerializer[Voice]) -> Voice:
        return actions.save_voice(saved(serializer), serializer.validated_data)

    @extend_schema(request=SpeechSerializer, responses=SpokenSerializer)
    def preview(self, request: Request, pk: str) -> Response:
        """The spoken text as a WAV data URL, or in `error` what the vendor complains about."""
        row = self.usable_object()
        speech = actions.Speech(**self.sent(SpeechSerializer))
        try:
            pcm = actions.speak(row, speech)
        except (ProviderError, OutboundRefused) as error:
            return success({"success": False, "audio_url": None, "error": str(error.message)})
        encoded = base64.b64encode(wav_from_pcm(pcm)).decode()
        url = f"data:audio/wav;base64,{encoded}"
        return success({"success": True, "audio_url": url, "error": None})
