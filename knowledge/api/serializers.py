"""Knowledge bases, documents and searches of the platform family on the wire; both cases in."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.casing import to_snake
from core.serializers import WireSerializer
from knowledge.api.words import DOCUMENT_WORDS, platform_word
from knowledge.links import signed_url
from knowledge.models import (
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
    Document,
    DocumentStatus,
    IndexState,
    SpaceStatus,
    Stage,
    StageRun,
    VectorSpace,
)
from knowledge.overview import BaseState
from knowledge.parse import FILE_TYPES
from knowledge.wording import in_readers_language

MAX_QUERY = 4000
MAX_RESULTS = 50
MAX_NEIGHBOURS = 5
MAX_TOKEN_BUDGET = 100_000
# Of one document; older attempts are of no more interest.
MAX_STAGES = 20
TEXT_TYPES = tuple(
    ending
    for ending in ("txt", "md", "markdown", "html", "htm", "csv", "json")
    if ending in FILE_TYPES
)


# --- Bases -------------------------------------------------------------------------------------


class KnowledgeBaseSerializer(WireSerializer):
    """A knowledge base. Only `name` is needed to make one."""

    id = serializers.CharField(read_only=True)
    user_id = serializers.IntegerField(source="owner_id", read_only=True, allow_null=True)
    name = serializers.CharField(max_length=100)
    description = serializers.CharField(max_length=500, required=False, allow_blank=True)
    embeddingModel = serializers.CharField(
        source="embedder_id",
        max_length=200,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text=_(
            "Id or name of an embedding model; none: the default, with the first document."
        ),
    )
    chunkSize = serializers.IntegerField(
        source="chunk_size", min_value=MIN_CHUNK_SIZE, max_value=MAX_CHUNK_SIZE, required=False
    )
    chunkOverlap = serializers.IntegerField(
        source="chunk_overlap", min_value=0, max_value=MAX_CHUNK_SIZE, required=False
    )
    docCount = serializers.IntegerField(source="doc_count", read_only=True)
    chunkCount = serializers.IntegerField(source="chunk_count", read_only=True)
    size = serializers.IntegerField(
        source="byte_count", read_only=True, help_text=_("Of all files, in bytes.")
    )
    status = serializers.ChoiceField(BaseState.choices, source="state", read_only=True)
    createdAt = serializers.DateTimeField(source="created_at", read_only=True)
    updatedAt = serializers.DateTimeField(source="updated_at", read_only=True)


class StoredText(serializers.CharField):
    """What a worker wrote, in the language of the one who reads it."""

    def to_representation(self, value: Any) -> str:
        return in_readers_language(str(value))


class VectorSpaceSerializer(WireSerializer):
    """The vectors of a base by one model: those in use, and those being built beside them."""

    embeddingModel = serializers.CharField(source="embedder_id")
    status = serializers.ChoiceField(SpaceStatus.choices)
    dimensions = serializers.IntegerField(allow_null=True)
    indexState = serializers.ChoiceField(IndexState.choices, source="index_state")
    errorMessage = serializers.SerializerMethodField(method_name="error_of")

    def error_of(self, row: VectorSpace) -> str:
        return in_readers_language(row.error_message or row.index_error)


# --- Documents ---------------------------------------------------------------------------------


class StageSerializer(WireSerializer):
    """One attempt at one stage of reading a document."""

    stage = serializers.ChoiceField(Stage.choices)
    attempt = serializers.IntegerField()
    startedAt = serializers.DateTimeField(source="started_at")
    endedAt = serializers.DateTimeField(source="ended_at", allow_null=True)
    durationMs = serializers.SerializerMethodField(method_name="duration_ms")
    items = serializers.IntegerField()
    errorCode = serializers.CharField(source="error_code")
    errorMessage = StoredText(source="error_message")

    def duration_ms(self, row: StageRun) -> int | None:
        if row.ended_at is None:
            return None
        return round((row.ended_at - row.started_at).total_seconds() * 1000)


class DocumentSerializer(WireSerializer):
    """A document, and how far it has come."""

    id = serializers.CharField()
    kb_id = serializers.CharField(source="knowledge_base_id")
    name = serializers.CharField()
    size = serializers.IntegerField(help_text=_("In bytes."))
    fileType = serializers.CharField(source="file_type")
    storageUrl = serializers.SerializerMethodField(
        method_name="storage_url", help_text=_("A signed link to the file, which expires.")
    )
    status = serializers.SerializerMethodField(method_name="word")
    stage = serializers.ChoiceField(DocumentStatus.choices, source="status")
    progress = serializers.FloatField(help_text=_("From 0 to 1."))
    attempt = serializers.IntegerField()
    nextAttemptAt = serializers.DateTimeField(source="next_attempt_at", allow_null=True)
    chunkCount = serializers.IntegerField(source="chunks_total")
    chunksEmbedded = serializers.IntegerField(source="chunks_embedded")
    pageCount = serializers.IntegerField(source="page_count", allow_null=True)
    charCount = serializers.IntegerField(source="char_count", allow_null=True)
    warning = StoredText()
    errorCode = serializers.CharField(source="error_code")
    errorMessage = StoredText(source="error_message")
    stages = serializers.SerializerMethodField(method_name="latest_stages")
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")
    processedAt = serializers.DateTimeField(source="processed_at", allow_null=True)

    def storage_url(self, row: Document) -> str:
        return signed_url(self.context["request"]._request, row)

    @extend_schema_field(serializers.ChoiceField(DOCUMENT_WORDS))
    def word(self, row: Document) -> str:
        return platform_word(DocumentStatus(row.status))

    @extend_schema_field(StageSerializer(many=True))
    def latest_stages(self, row: Any) -> Any:
        """The oldest first of `latest_runs`, which the view fetched with the latest first."""
        return StageSerializer(row.latest_runs[::-1], many=True).data


class KnowledgeBaseDetailSerializer(KnowledgeBaseSerializer):
    """A knowledge base with a page of its documents; `docCount` is the number of all of them."""

    vectorSpaces = VectorSpaceSerializer(source="spaces", many=True, read_only=True)
    documents = DocumentSerializer(many=True, read_only=True)


class FileFormSerializer(WireSerializer):
    """A file for a base."""

    file = serializers.FileField(allow_empty_file=True, help_text=_("At most 50 MB."))
    name = serializers.CharField(
        max_length=1000,
        required=False,
        allow_blank=True,
        help_text=_("Shown in place of the file's."),
    )


class TextFormSerializer(WireSerializer):
    """A text for a base."""

    name = serializers.CharField(max_length=1000)
    content = serializers.CharField(
        trim_whitespace=False, help_text=_("At most 10 MB; send more as a file.")
    )
    fileType = serializers.ChoiceField(
        TEXT_TYPES,
        source="file_type",
        required=False,
        help_text=_("Not given: by the ending of the name, or else txt."),
    )


# --- Search ------------------------------------------------------------------------------------


class SearchSerializer(WireSerializer):
    """What is looked for in a base. `limit` and `top_k` mean `n_results`."""

    query = serializers.CharField(max_length=MAX_QUERY)
    n_results = serializers.IntegerField(min_value=1, max_value=MAX_RESULTS, default=5)
    min_score = serializers.FloatField(
        min_value=-1,
        max_value=1,
        required=False,
        allow_null=True,
        default=None,
        help_text=_("The least cosine of a result."),
    )
    keeps_keyword_share = serializers.FloatField(
        min_value=0,
        max_value=1,
        required=False,
        allow_null=True,
        default=None,
        help_text=_("Below the least cosine, keeps what has this share of the query's words."),
    )
    neighbours = serializers.IntegerField(
        min_value=0,
        max_value=MAX_NEIGHBOURS,
        default=0,
        help_text=_("Chunks to join before and after each result."),
    )
    token_budget = serializers.IntegerField(
        min_value=1, max_value=MAX_TOKEN_BUDGET, required=False, allow_null=True, default=None
    )
    rerank_model_id = serializers.CharField(
        max_length=64, required=False, allow_null=True, allow_blank=True, default=None
    )

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            sent = {to_snake(str(name)): name for name in data}
            alias = next((sent[name] for name in ("limit", "top_k") if name in sent), None)
            if alias is not None and "n_results" not in sent:
                data = data.copy()
                data["n_results"] = data[alias]
        return super().to_internal_value(data)


class HitMetadataSerializer(WireSerializer):
    """Where a result is from and why it was found."""

    knowledge_base_id = serializers.CharField()
    knowledge_base_name = serializers.CharField()
    document_id = serializers.CharField()
    document_name = serializers.CharField()
    ordinal = serializers.IntegerField()
    heading = serializers.CharField()
    page = serializers.IntegerField(allow_null=True)
    char_start = serializers.IntegerField()
    char_end = serializers.IntegerField()
    score = serializers.FloatField(
        allow_null=True, help_text=_("The cosine, if there are vectors.")
    )
    vector_rank = serializers.IntegerField(allow_null=True)
    keyword_rank = serializers.IntegerField(allow_null=True)
    keyword_score = serializers.FloatField()
    keyword_share = serializers.FloatField()
    fused_score = serializers.FloatField()
    rerank_score = serializers.FloatField(allow_null=True)


class ResultSerializer(WireSerializer):
    """A chunk that was found."""

    id = serializers.CharField()
    content = serializers.CharField()
    score = serializers.FloatField(
        help_text=_("The cosine; without vectors the share of the query's words that it has.")
    )
    document_id = serializers.CharField()
    document_name = serializers.CharField()
    chunk_index = serializers.IntegerField()
    metadata = HitMetadataSerializer()


class TimingsSerializer(WireSerializer):
    """Milliseconds."""

    embed_ms = serializers.FloatField()
    database_ms = serializers.FloatField()
    rerank_ms = serializers.FloatField()
    total_ms = serializers.FloatField()


class NoteSerializer(WireSerializer):
    """Something that the search did without."""

    code = serializers.CharField()
    message = serializers.CharField()
    knowledge_base_id = serializers.CharField(allow_null=True)


class ResultsSerializer(WireSerializer):
    """The results, best first."""

    query = serializers.CharField()
    results = ResultSerializer(many=True)
    timings = TimingsSerializer()
    notes = NoteSerializer(many=True)
