"""`/assistants` of the platform family."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import principal_of
from accounts.principals import Principal
from assistants import actions
from assistants.access import NOT_FOUND_CODE, require_editable, visible_assistants
from assistants.api.config import render_config
from assistants.api.filters import AssistantFilters
from assistants.api.serializers import (
    AssistantSerializer,
    ConfigSerializer,
    OpenerAudioSerializer,
    SavedAssistantSerializer,
)
from assistants.models import Assistant
from assistants.opener import ready_audio
from assistants.runtime import load_runtime
from core.audio import wav_from_pcm
from core.errors import NotFound
from core.serializers import wire_names
from core.viewsets import PlatformViewSet, success
from providers.interfaces import SAMPLE_RATE_HZ

_WRITING = frozenset({"PUT", "PATCH", "DELETE"})


@extend_schema_view(
    create=extend_schema(responses={201: SavedAssistantSerializer}),
    update=extend_schema(responses=SavedAssistantSerializer),
    partial_update=extend_schema(responses=SavedAssistantSerializer),
)
class AssistantViewSet(PlatformViewSet[Assistant]):
    """Assistants: own ones and the system's."""

    serializer_class = AssistantSerializer
    filterset_class = AssistantFilters
    not_found_code: ClassVar = NOT_FOUND_CODE
    queryset = Assistant.objects.none()

    @property
    def principal(self) -> Principal:
        return principal_of(self.request)

    def get_queryset(self) -> QuerySet[Assistant]:
        rows: QuerySet[Assistant] = visible_assistants(self.principal).for_display()
        return rows.order_by("-created_at", "pk")

    def get_object(self) -> Assistant:
        row = super().get_object()
        if self.request.method in _WRITING:
            require_editable(self.principal, row)
        return row

    def not_found(self) -> NotFound:
        return NotFound(_("Assistant not found."), code=NOT_FOUND_CODE)

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        with wire_names(serializer):
            saved = actions.create_assistant(self.principal, serializer.validated_data)
        return success(self.render_saved(saved), status=201)

    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.get_object()
        serializer = self.get_serializer(row, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        with wire_names(serializer):
            saved = actions.save_assistant(self.principal, row, serializer.validated_data)
        return success(self.render_saved(saved))

    def render_saved(self, saved: actions.Saved) -> dict[str, Any]:
        """The row as it is now stored."""
        return {**self.render(self.get_queryset().get(pk=saved.row.pk)), "warnings": saved.warnings}

    @extend_schema(responses=ConfigSerializer)
    def config(self, request: Request, pk: str) -> Response:
        """The assistant as a call would use it: defaults filled in, secrets left out."""
        runtime = load_runtime(self.get_object().pk, caller_id=self.principal.user_id)
        return success(render_config(runtime))

    @extend_schema(responses={(200, "audio/wav"): OpenApiTypes.BINARY})
    def opener_audio(self, request: Request, pk: str) -> HttpResponse:
        """The opener, spoken ahead of time."""
        audio = ready_audio(self.get_object())
        if audio is None:
            raise NotFound(_("The opener has not been spoken yet."), code="OPENER_AUDIO_NOT_READY")
        return HttpResponse(wav_from_pcm(bytes(audio.pcm)), content_type="audio/wav")

    @extend_schema(request=None, responses=OpenerAudioSerializer)
    def generate_opener_audio(self, request: Request, pk: str) -> Response:
        """Speaks the opener now and keeps the audio; calls use it where it is enabled."""
        row = self.get_object()
        require_editable(self.principal, row)
        with wire_names(self.get_serializer(row)):
            audio = actions.generate_opener_audio(row)
        return success(
            {
                "enabled": row.opener_audio_enabled,
                "ready": True,
                "duration_ms": audio.duration_ms,
                "encoding": "pcm_s16le",
                "sample_rate_hz": SAMPLE_RATE_HZ,
                "channels": 1,
                "text_hash": audio.text_hash,
            }
        )
