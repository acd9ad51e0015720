"""Calls in the platform family: `/history`."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import principal_of
from conversations.access import access_call, visible_calls, visible_calls_with
from conversations.models import Call, CallSource, CallStatus, Message, Role
from conversations.stats import call_stats
from core.viewsets import PlatformViewSet, success

_SPEAKERS = {Role.USER: "human", Role.ASSISTANT: "ai"}


@extend_schema_field(OpenApiTypes.STR)
class DayOrMoment(serializers.Field[datetime.datetime, str, str, Any]):
    """A date or a date with time (ISO 8601). A date stands for its whole day."""

    def __init__(self, *, is_end: bool, **options: Any) -> None:
        self.is_end = is_end
        super().__init__(required=False, **options)

    def to_internal_value(self, data: str) -> datetime.datetime:
        """The first moment inside the range, or the first one after it."""
        try:
            moment = self._moment(data)
        except (ValueError, OverflowError):  # no day of the calendar, or none after it
            moment = None
        if moment is None:
            raise serializers.ValidationError(_("Expected a date or a date with time (ISO 8601)."))
        return moment if timezone.is_aware(moment) else timezone.make_aware(moment)

    def _moment(self, data: str) -> datetime.datetime | None:
        day, moment = parse_date(data), parse_datetime(data)
        if day is not None:
            first = datetime.datetime.combine(day, datetime.time.min)
            return first + datetime.timedelta(days=1) if self.is_end else first
        if moment is not None and self.is_end:
            return moment + datetime.timedelta(microseconds=1)
        return moment

    def to_representation(self, value: datetime.datetime) -> str:
        return value.isoformat()


class RangeQuery(serializers.Serializer[Any]):
    """Which calls are meant."""

    assistant_id = serializers.CharField(required=False)
    start_date = DayOrMoment(is_end=False)
    end_date = DayOrMoment(is_end=True)

    def calls(self, request: Request) -> QuerySet[Call]:
        """The visible calls that the query asks for."""
        principal = principal_of(request)
        asked: dict[str, Any] = self.validated_data
        assistant_id = asked.get("assistant_id")
        calls = (
            visible_calls_with(principal, assistant_id)
            if assistant_id
            else visible_calls(principal)
        )
        return calls.filter(
            **{lookup: asked[name] for name, lookup in self.lookups.items() if name in asked}
        )

    lookups: ClassVar[dict[str, str]] = {
        "start_date": "started_at__gte",
        "end_date": "started_at__lt",
    }


class HistoryQuery(RangeQuery):
    """Which calls are listed."""

    status = serializers.ChoiceField(CallStatus.choices, required=False)
    # A field named as the contract names it, not the base class's attribute.
    source = serializers.ChoiceField(  # type: ignore[assignment]
        CallSource.choices, required=False
    )

    lookups: ClassVar[dict[str, str]] = {
        **RangeQuery.lookups,
        "status": "status",
        "source": "source",
    }


class CallSerializer(serializers.ModelSerializer[Call]):
    """The record of one call."""

    id = serializers.CharField(source="conversation_id", read_only=True)
    user_id = serializers.IntegerField(source="conversation.owner_id", allow_null=True)
    assistant_id = serializers.CharField(source="conversation.assistant_key")
    assistant_name = serializers.CharField(source="conversation.assistant_name")
    duration_seconds = serializers.SerializerMethodField()
    cost = serializers.FloatField()
    created_at = serializers.DateTimeField(source="conversation.created_at")

    class Meta:
        model = Call
        fields: ClassVar = [
            "id",
            "user_id",
            "assistant_id",
            "assistant_name",
            "source",
            "status",
            "started_at",
            "ended_at",
            "duration_seconds",
            "summary",
            "cost",
            "metadata",
            "error_code",
            "error_message",
            "created_at",
        ]
        read_only_fields: ClassVar = fields

    def get_duration_seconds(self, call: Call) -> int | None:
        """Whole seconds; null while the call goes on."""
        return round((call.ended_at - call.started_at).total_seconds()) if call.ended_at else None


class CitationSerializer(serializers.Serializer[Any]):
    """A passage that was put before the model; the answer cites it as [index]."""

    index = serializers.IntegerField()
    document = serializers.CharField()
    page = serializers.IntegerField(allow_null=True)
    text = serializers.CharField()
    score = serializers.FloatField(
        allow_null=True, help_text="Cosine with the question; null where only words were compared."
    )
    knowledge_base_id = serializers.CharField()
    document_id = serializers.CharField()
    chunk_id = serializers.CharField()


class TranscriptEntrySerializer(serializers.Serializer[Any]):
    """What one side said. Of an interrupted answer: what was heard."""

    turn_index = serializers.IntegerField(help_text="Counts the entries from 0.")
    turn = serializers.IntegerField(help_text="Which turn of the conversation, from 1.")
    speaker = serializers.ChoiceField(["human", "ai"])
    content = serializers.CharField()
    generated_content = serializers.CharField(allow_null=True)
    is_interrupted = serializers.BooleanField()
    confidence = serializers.FloatField(allow_null=True)
    start_ms = serializers.IntegerField(allow_null=True)
    end_ms = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    audio_url = serializers.CharField(allow_null=True)
    emotion = serializers.CharField(allow_null=True)
    metrics = serializers.DictField(child=serializers.IntegerField())
    citations = CitationSerializer(many=True)
    knowledge_note = serializers.CharField(help_text="What the search for them went without.")


class MessageDetailSerializer(serializers.Serializer[Any]):
    """One message as it is stored, tools included."""

    role = serializers.ChoiceField(Role.choices)
    content = serializers.CharField()
    audio_url = serializers.CharField(allow_null=True)
    image_urls = serializers.ListField(child=serializers.CharField())
    timestamp = serializers.DateTimeField()
    tool_calls = serializers.JSONField()
    tool_result = serializers.JSONField(allow_null=True)
    citations = CitationSerializer(many=True)
    knowledge_note = serializers.CharField()
    error = serializers.CharField()


class CallDetailSerializer(CallSerializer):
    """The record of one call, with what was said."""

    transcripts = serializers.SerializerMethodField()
    details = serializers.SerializerMethodField()

    class Meta(CallSerializer.Meta):
        fields: ClassVar = [*CallSerializer.Meta.fields, "transcripts", "details"]
        read_only_fields: ClassVar = fields

    @extend_schema_field(TranscriptEntrySerializer(many=True))
    def get_transcripts(self, call: Call) -> list[dict[str, Any]]:
        said = [
            message
            for message in call.conversation.messages.all()
            if message.role in _SPEAKERS and (message.text or message.generated_text)
        ]
        return [_transcript(index, message) for index, message in enumerate(said)]

    @extend_schema_field(MessageDetailSerializer(many=True))
    def get_details(self, call: Call) -> list[dict[str, Any]]:
        return [_detail(message) for message in call.conversation.messages.all()]


class DayStatsSerializer(serializers.Serializer[Any]):
    date = serializers.DateField()
    calls = serializers.IntegerField()
    connected = serializers.IntegerField()


class AssistantStatsSerializer(serializers.Serializer[Any]):
    assistant_id = serializers.CharField()
    name = serializers.CharField()
    calls = serializers.IntegerField()


class CallStatsSerializer(serializers.Serializer[Any]):
    """Figures over the visible calls."""

    total_calls = serializers.IntegerField()
    connected = serializers.IntegerField()
    missed = serializers.IntegerField()
    failed = serializers.IntegerField()
    answer_rate = serializers.FloatField(help_text="Connected of all, 0 to 1.")
    total_duration_seconds = serializers.IntegerField()
    avg_duration_seconds = serializers.FloatField()
    total_cost = serializers.FloatField()
    trend = DayStatsSerializer(many=True)
    by_assistant = AssistantStatsSerializer(many=True)


class CallViewSet(PlatformViewSet[Call]):
    """Calls that were made: listed, read with their transcripts, deleted."""

    serializer_class = CallSerializer
    queryset = Call.objects.none()  # for the schema's sake, which asks as nobody

    def get_queryset(self) -> QuerySet[Call]:
        return visible_calls(principal_of(self.request))

    def get_object(self) -> Call:
        return access_call(principal_of(self.request), self.kwargs["id"])

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Call]]:
        return CallDetailSerializer if self.action == "retrieve" else CallSerializer

    @extend_schema(parameters=[HistoryQuery])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        query = HistoryQuery(data=_sent(request))
        query.is_valid(raise_exception=True)
        page = self.paginate_queryset(query.calls(request))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def delete_row(self, row: Call) -> None:
        row.conversation.delete()

    @extend_schema(parameters=[RangeQuery], responses=CallStatsSerializer)
    def stats(self, request: Request) -> Response:
        query = RangeQuery(data=_sent(request))
        query.is_valid(raise_exception=True)
        stats = call_stats(query.calls(request))
        return success(CallStatsSerializer(dataclasses.asdict(stats)).data)


def _sent(request: Request) -> dict[str, str]:
    """The query without empty values, which forms send for "any"."""
    return {name: str(value) for name, value in request.query_params.items() if value}


def _transcript(index: int, message: Message) -> dict[str, Any]:
    start_ms, end_ms = message.start_ms, message.end_ms
    duration_ms = None if start_ms is None or end_ms is None else end_ms - start_ms
    return {
        "turn_index": index,
        "turn": message.turn,
        "speaker": _SPEAKERS[Role(message.role)],
        "content": message.text,
        "generated_content": message.generated_text or None,
        "is_interrupted": message.is_interrupted,
        "confidence": message.confidence,
        "start_ms": start_ms,
        "end_ms": end_ms,
        "duration_ms": duration_ms,
        "audio_url": None,
        "emotion": None,
        "metrics": message.metrics,
        "citations": message.citations,
        "knowledge_note": message.knowledge_note,
    }


def _detail(message: Message) -> dict[str, Any]:
    return {
        "role": message.role,
        "content": message.text,
        "audio_url": None,
        "image_urls": [],
        "timestamp": message.created_at,
        "tool_calls": message.tool_calls,
        "tool_result": message.tool_result,
        "citations": message.citations,
        "knowledge_note": message.knowledge_note,
        "error": message.error,
    }
