"""The history in the platform family: `/history`, the conversations of every channel."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any, ClassVar

from django.db.models import QuerySet, prefetch_related_objects
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import principal_of
from conversations.access import (
    access_call,
    calls_about,
    visible_calls,
    visible_calls_with,
)
from conversations.chats.dialogs import delete_conversation, note_on
from conversations.files.attachments import path_of, upload_id_of
from conversations.models import Call, CallSource, CallStatus, Channel, Message, Role
from conversations.reports.moments import Said, said_in_call, said_in_writing
from conversations.reports.stats import CallStats, call_stats
from conversations.types import AttachmentRow
from core.viewsets import PlatformViewSet, success
from knowledge.links import signed_url
from knowledge.models import Upload

MAX_KEYWORD = 200
MAX_SUMMARY = 10_000
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
    """Which conversations are meant."""

    assistant_id = serializers.CharField(required=False)
    channel = serializers.ChoiceField(Channel.choices, required=False)
    start_date = DayOrMoment(is_end=False)
    end_date = DayOrMoment(is_end=True)

    lookups: ClassVar[dict[str, str]] = {
        "channel": "channel",
        "start_date": "started_at__gte",
        "end_date": "started_at__lt",
    }

    def calls(self, request: Request) -> QuerySet[Call]:
        """The visible records that the query asks for."""
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


class HistoryQuery(RangeQuery):
    """Which conversations are listed."""

    status = serializers.ChoiceField(CallStatus.choices, required=False)
    # A field named as the contract names it, not the base class's attribute.
    source = serializers.ChoiceField(  # type: ignore[assignment]
        CallSource.choices, required=False
    )
    keyword = serializers.CharField(
        required=False,
        max_length=MAX_KEYWORD,
        help_text="In the title, the summary or the assistant's name; not in what was said.",
    )
    q = serializers.CharField(required=False, max_length=MAX_KEYWORD, help_text="The same.")

    lookups: ClassVar[dict[str, str]] = {
        **RangeQuery.lookups,
        "status": "status",
        "source": "source",
    }

    def calls(self, request: Request) -> QuerySet[Call]:
        calls = super().calls(request)
        for name in ("keyword", "q"):
            if keyword := self.validated_data.get(name):
                calls = calls_about(calls, principal_of(request), keyword)
        return calls


class CallSerializer(serializers.ModelSerializer[Call]):
    """The record of one conversation; of a chat, from its first message to its last answer."""

    id = serializers.CharField(source="conversation_id", read_only=True)
    user_id = serializers.IntegerField(source="owner_id", read_only=True, allow_null=True)
    assistant_id = serializers.CharField(source="assistant_key", read_only=True)
    assistant_name = serializers.CharField(source="conversation.assistant_name", read_only=True)
    title = serializers.CharField(source="conversation.title", read_only=True)
    duration_seconds = serializers.SerializerMethodField()
    summary = serializers.CharField(source="conversation.summary", read_only=True)
    cost = serializers.FloatField(read_only=True)
    created_at = serializers.DateTimeField(source="conversation.created_at", read_only=True)

    class Meta:
        model = Call
        fields: ClassVar = [
            "id",
            "user_id",
            "assistant_id",
            "assistant_name",
            "channel",
            "title",
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
        """Whole seconds; null while a call goes on."""
        return round((call.ended_at - call.started_at).total_seconds()) if call.ended_at else None


class NotesSerializer(serializers.Serializer[Any]):
    """What may be changed of a record: what people call it and note on it."""

    title = serializers.CharField(max_length=200, allow_blank=True, required=False)
    summary = serializers.CharField(max_length=MAX_SUMMARY, allow_blank=True, required=False)


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


class AttachmentSerializer(serializers.Serializer[Any]):
    """What was sent along with a message."""

    kind = serializers.ChoiceField(["text", "image"])
    name = serializers.CharField()
    media_type = serializers.CharField()
    path = serializers.CharField(help_text="In the user's folder; empty for an upload.")
    url = serializers.CharField(
        allow_null=True, help_text="A link to the upload; null for files of the folder, and lost."
    )


class MessageDetailSerializer(serializers.Serializer[Any]):
    """One message as it is stored, tools included."""

    role = serializers.ChoiceField(Role.choices)
    content = serializers.CharField()
    audio_url = serializers.CharField(allow_null=True)
    image_urls = serializers.ListField(
        child=serializers.CharField(), help_text="Links to the images that were uploaded for it."
    )
    attachments = AttachmentSerializer(many=True)
    timestamp = serializers.DateTimeField()
    tool_calls = serializers.JSONField()
    tool_result = serializers.JSONField(allow_null=True)
    citations = CitationSerializer(many=True)
    knowledge_note = serializers.CharField()
    error = serializers.CharField()


class CallDetailSerializer(CallSerializer):
    """The record of one conversation, with what was said."""

    transcripts = serializers.SerializerMethodField()
    details = serializers.SerializerMethodField()

    class Meta(CallSerializer.Meta):
        fields: ClassVar = [*CallSerializer.Meta.fields, "transcripts", "details"]
        read_only_fields: ClassVar = fields

    @extend_schema_field(TranscriptEntrySerializer(many=True))
    def get_transcripts(self, call: Call) -> list[dict[str, Any]]:
        messages = list(call.conversation.messages.all())
        said = (
            said_in_call(messages)
            if call.channel == Channel.VOICE
            else said_in_writing(messages, since=call.started_at)
        )
        return [_transcript(index, each) for index, each in enumerate(said)]

    @extend_schema_field(MessageDetailSerializer(many=True))
    def get_details(self, call: Call) -> list[dict[str, Any]]:
        messages = list(call.conversation.messages.all())
        links = UploadLinks(self.context["request"], call, messages)
        return [_detail(message, links) for message in messages]


class UploadLinks:
    """Links to what the owner of a conversation uploaded for its messages."""

    def __init__(self, request: Request, call: Call, messages: Iterable[Message]) -> None:
        ids = {upload_id_of(row) for message in messages for row in message.attachments} - {""}
        own = Upload.objects.filter(owner_id=call.owner_id, pk__in=ids) if ids else ()
        self._urls = {upload.pk: signed_url(request._request, upload) for upload in own}

    def of(self, row: AttachmentRow) -> str | None:
        """None for files of the user's folder, and for uploads that are gone."""
        return self._urls.get(upload_id_of(row))


class DayStatsSerializer(serializers.Serializer[Any]):
    date = serializers.DateField()
    calls = serializers.IntegerField()
    connected = serializers.IntegerField()


class AssistantStatsSerializer(serializers.Serializer[Any]):
    assistant_id = serializers.CharField()
    name = serializers.CharField()
    calls = serializers.IntegerField()


class TotalsSerializer(serializers.Serializer[Any]):
    """Figures over some conversations; durations are those of connected ones."""

    total_calls = serializers.IntegerField()
    connected = serializers.IntegerField()
    missed = serializers.IntegerField()
    failed = serializers.IntegerField()
    answer_rate = serializers.FloatField(help_text="Connected of all, 0 to 1.")
    total_duration_seconds = serializers.IntegerField()
    avg_duration_seconds = serializers.FloatField()
    total_cost = serializers.FloatField()


class ChannelStatsSerializer(TotalsSerializer):
    channel = serializers.ChoiceField(Channel.choices)


class CallStatsSerializer(TotalsSerializer):
    """Figures over the visible conversations of all channels, or of the one that is asked for."""

    trend = DayStatsSerializer(
        many=True,
        help_text="Every day, in the server's time zone, from the first with a conversation to"
        " the last.",
    )
    by_channel = ChannelStatsSerializer(many=True, help_text="Every channel, also with zeros.")
    by_assistant = AssistantStatsSerializer(many=True, help_text="Those called most come first.")


class CallViewSet(PlatformViewSet[Call]):
    """Conversations of every channel: listed, read with their transcripts, noted on, deleted."""

    serializer_class = CallSerializer
    queryset = Call.objects.none()  # for the schema's sake, which asks as nobody

    def get_queryset(self) -> QuerySet[Call]:
        return visible_calls(principal_of(self.request))

    def get_object(self) -> Call:
        return access_call(principal_of(self.request), self.kwargs["id"])

    @extend_schema(parameters=[HistoryQuery])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        query = HistoryQuery(data=_sent(request))
        query.is_valid(raise_exception=True)
        # An index has all that is needed to find a page; only the page's rows are read.
        keys = self.paginate_queryset(query.calls(request).values_list("pk", flat=True))
        page = Call.objects.filter(pk__in=keys or ()).select_related("conversation")
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(responses=CallDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        call = self.get_object()
        prefetch_related_objects([call], "conversation__messages")
        return success(CallDetailSerializer(call, context=self.get_serializer_context()).data)

    @extend_schema(request=NotesSerializer, responses=CallSerializer)
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Changes the title or the summary."""
        call, notes = self.get_object(), NotesSerializer(data=request.data)
        notes.is_valid(raise_exception=True)
        note_on(call.conversation, **notes.validated_data)
        return success(self.render(call))

    @extend_schema(request=NotesSerializer, responses=CallSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The same."""
        return self.update(request, *args, **kwargs)

    def delete_row(self, row: Call) -> None:
        delete_conversation(row.conversation)

    @extend_schema(parameters=[RangeQuery], responses=CallStatsSerializer)
    def stats(self, request: Request) -> Response:
        query = RangeQuery(data=_sent(request))
        query.is_valid(raise_exception=True)
        stats = call_stats(query.calls(request))
        return success(CallStatsSerializer(_stats_data(stats)).data)


def _stats_data(stats: CallStats) -> dict[str, Any]:
    """What `CallStatsSerializer` describes."""
    by_channel = [
        {"channel": each.channel, **dataclasses.asdict(each.totals)} for each in stats.by_channel
    ]
    return {
        **dataclasses.asdict(stats.totals),
        "trend": stats.trend,
        "by_channel": by_channel,
        "by_assistant": stats.by_assistant,
    }


def _sent(request: Request) -> dict[str, str]:
    """The query without empty values, which forms send for "any"."""
    return {name: str(value) for name, value in request.query_params.items() if value}


def _transcript(index: int, said: Said) -> dict[str, Any]:
    message, span = said.message, said.span
    return {
        "turn_index": index,
        "turn": message.turn,
        "speaker": _SPEAKERS[Role(message.role)],
        "content": message.shown_text,
        "generated_content": message.generated_text or None,
        "is_interrupted": message.is_interrupted,
        "confidence": message.confidence,
        "start_ms": span.start_ms,
        "end_ms": span.end_ms,
        "duration_ms": span.duration_ms,
        "audio_url": None,
        "emotion": None,
        "metrics": message.metrics,
        "citations": message.citations,
        "knowledge_note": message.knowledge_note,
    }


def _detail(message: Message, links: UploadLinks) -> dict[str, Any]:
    attachments = [_attachment(row, links) for row in message.attachments]
    images = [each for each in attachments if each["kind"] == "image"]
    return {
        "role": message.role,
        "content": message.shown_text,
        "audio_url": None,
        "image_urls": [each["url"] for each in images if each["url"]],
        "attachments": attachments,
        "timestamp": message.created_at,
        "tool_calls": message.tool_calls,
        "tool_result": message.tool_result,
        "citations": message.citations,
        "knowledge_note": message.knowledge_note,
        "error": message.error,
    }


def _attachment(row: AttachmentRow, links: UploadLinks) -> dict[str, Any]:
    return {
        "kind": row["kind"],
        "name": row["name"],
        "media_type": row["media_type"],
        "path": path_of(row),
        "url": links.of(row),
    }
