"""Knowledge bases, their documents, and what a search reads."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from pgvector.django import HalfVectorField

from core.ids import short_id
from core.models import OwnedQuerySet, OwnedRow, Timestamped
from providers.models import Llm, LlmType

MIN_CHUNK_SIZE, MAX_CHUNK_SIZE = 50, 4000


class KnowledgeBase(OwnedRow):
    """A set of documents that assistants can quote."""

    name = models.CharField(_("name"), max_length=100)
    description = models.CharField(_("description"), max_length=500, blank=True)
    embedder = models.ForeignKey(
        Llm,
        # A model goes with its owner, whose bases go too; alone it stays while a base needs it.
        models.RESTRICT,
        null=True,
        blank=True,
        limit_choices_to={"type": LlmType.EMBEDDING},
        verbose_name=_("embedding model"),
        help_text=_("Empty: the default when the first document comes; it then stays."),
    )
    chunk_size = models.PositiveIntegerField(
        _("chunk size"),
        default=500,
        validators=[MinValueValidator(MIN_CHUNK_SIZE), MaxValueValidator(MAX_CHUNK_SIZE)],
        help_text=_("In characters. Documents keep their chunks until they are read again."),
    )
    chunk_overlap = models.PositiveIntegerField(
        _("overlap"),
        default=50,
        help_text=_("Characters that a chunk repeats of the one before; less than the size."),
    )

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("knowledge base")
        verbose_name_plural = _("knowledge bases")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(chunk_overlap__lt=models.F("chunk_size")),
                name="knowledge_overlap_below_size",
                violation_error_message=_("The overlap must be smaller than the chunk size."),
            )
        ]

    def __str__(self) -> str:
        return self.name


class Work(models.Model):
    """Work that one worker at a time has on lease; a dead worker's lease runs out.

    Every write of a worker asks for its own `claim`, so that one that lost its lease changes
    nothing any more. A failure that may pass sets `next_attempt_at`; others end the work.
    """

    claim = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    attempt = models.PositiveIntegerField(_("attempt"), default=0, editable=False)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True, editable=False)
    error_code = models.CharField(_("error"), max_length=64, blank=True, editable=False)
    error_message = models.CharField(_("error message"), max_length=500, blank=True, editable=False)

    class Meta:
        abstract = True


class SpaceStatus(models.TextChoices):
    BUILDING = "building", _("Building")
    ACTIVE = "active", _("In use")


class IndexState(models.TextChoices):
    NONE = "none", _("Exact search")
    BUILDING = "building", _("Building")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")


class VectorSpace(Timestamped, Work):
    """The vectors of one base by one embedding model.

    A base searches its active space. Another model gets a space of its own beside it, which takes
    over when it holds a vector of every chunk.
    """

    knowledge_base = models.ForeignKey(
        KnowledgeBase, models.CASCADE, related_name="spaces", verbose_name=_("knowledge base")
    )
    embedder = models.ForeignKey(
        Llm, models.RESTRICT, related_name="+", verbose_name=_("embedding model")
    )
    fingerprint = models.CharField(
        max_length=64,
        editable=False,
        help_text=_("Of what decides the vectors; a model row that was edited no longer fits."),
    )
    dimensions = models.PositiveIntegerField(_("dimensions"), null=True, editable=False)
    status = models.CharField(_("status"), max_length=16, choices=SpaceStatus.choices)
    index_state = models.CharField(
        _("index"), max_length=16, choices=IndexState.choices, default=IndexState.NONE
    )
    index_error = models.CharField(_("index error"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("vector space")
        verbose_name_plural = _("vector spaces")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["knowledge_base", "status"], name="knowledge_space_per_status"
            )
        ]

    def __str__(self) -> str:
        return f"{self.knowledge_base} · {self.embedder}"


class DocumentStatus(models.TextChoices):
    UPLOADED = "uploaded", _("Uploaded")
    PARSING = "parsing", _("Reading")
    CHUNKING = "chunking", _("Cutting")
    EMBEDDING = "embedding", _("Embedding")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")

    @classmethod
    def open(cls) -> tuple[DocumentStatus, ...]:
        """What a worker still has to do something about."""
        return (cls.UPLOADED, cls.PARSING, cls.CHUNKING, cls.EMBEDDING)


def document_path(document: Document, filename: str) -> str:
    """Where a document's file is kept: under our own name, whatever the client called it."""
    return f"knowledge/{document.knowledge_base_id}/{document.pk}.{document.file_type}"


class Document(Timestamped, Work):
    """A file in a base, and how far it has come to being searchable."""

    id = models.CharField(max_length=64, primary_key=True, default=short_id, editable=False)
    knowledge_base = models.ForeignKey(
        KnowledgeBase, models.CASCADE, related_name="documents", verbose_name=_("knowledge base")
    )
    name = models.CharField(_("name"), max_length=255)
    file = models.FileField(_("file"), upload_to=document_path, max_length=255)
    file_type = models.CharField(_("file type"), max_length=16)
    size = models.PositiveBigIntegerField(_("size"), help_text=_("In bytes."))
    sha256 = models.CharField(max_length=64, editable=False)

    status = models.CharField(
        _("status"),
        max_length=16,
        choices=DocumentStatus.choices,
        default=DocumentStatus.UPLOADED,
    )
    warning = models.CharField(
        _("warning"), max_length=500, blank=True, help_text=_("What could not be read of it.")
    )
    needs_ocr = models.BooleanField(_("needs OCR"), default=False, editable=False)
    page_count = models.PositiveIntegerField(_("pages"), null=True, editable=False)
    char_count = models.PositiveIntegerField(_("characters"), null=True, editable=False)
    chunks_total = models.PositiveIntegerField(_("chunks"), default=0, editable=False)
    chunks_embedded = models.PositiveIntegerField(_("chunks embedded"), default=0, editable=False)
    processed_at = models.DateTimeField(_("processed"), null=True, editable=False)

    class Meta:
        verbose_name = _("document")
        verbose_name_plural = _("documents")
        ordering: ClassVar = ["-created_at", "pk"]
        indexes: ClassVar = [
            models.Index(
                fields=["lease_until"],
                name="knowledge_document_open",
                condition=Q(status__in=["uploaded", "parsing", "chunking", "embedding"]),
            )
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["knowledge_base", "sha256"], name="knowledge_same_file_once"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def progress(self) -> float:
        """How much of the work is done, 0 to 1; embedding is counted, the rest is estimated."""
        match self.status:
            case DocumentStatus.READY:
                return 1.0
            case DocumentStatus.EMBEDDING if self.chunks_total:
                return 0.2 + 0.8 * self.chunks_embedded / self.chunks_total
            case DocumentStatus.CHUNKING:
                return 0.15
            case DocumentStatus.PARSING:
                return 0.05
            case _:
                return 0.0


class Stage(models.TextChoices):
    PARSING = "parsing", _("Reading")
    CHUNKING = "chunking", _("Cutting")
    EMBEDDING = "embedding", _("Embedding")


class StageRun(models.Model):
    """One attempt at one stage of a document: when, how much, and what went wrong."""

    document = models.ForeignKey(Document, models.CASCADE, related_name="stage_runs")
    stage = models.CharField(_("stage"), max_length=16, choices=Stage.choices)
    attempt = models.PositiveIntegerField(_("attempt"))
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    items = models.PositiveIntegerField(
        _("items"), default=0, help_text=_("Characters read, chunks cut or chunks embedded.")
    )
    error_code = models.CharField(_("error"), max_length=64, blank=True)
    error_message = models.CharField(_("error message"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("stage")
        verbose_name_plural = _("stages")
        ordering: ClassVar = ["started_at", "pk"]

    def __str__(self) -> str:
        return f"{self.get_stage_display()} {self.attempt}"


class Chunk(models.Model):
    """A piece of a document as a search finds it. Offsets count characters of the read text."""

    id = models.BigAutoField(primary_key=True)
    knowledge_base = models.ForeignKey(KnowledgeBase, models.CASCADE, db_index=False)
    document = models.ForeignKey(Document, models.CASCADE, related_name="chunks", db_index=False)
    ordinal = models.PositiveIntegerField(_("number"))
    content = models.TextField(_("content"))
    heading = models.TextField(_("heading"), blank=True)
    page = models.PositiveIntegerField(_("page"), null=True)
    char_start = models.PositiveIntegerField()
    char_end = models.PositiveIntegerField()
    # Written as a literal by `lexemes`: Postgres cannot cut Chinese into words.
    lexemes = SearchVectorField()

    class Meta:
        verbose_name = _("chunk")
        verbose_name_plural = _("chunks")
        ordering: ClassVar = ["document", "ordinal"]
        indexes: ClassVar = [
            models.Index(fields=["knowledge_base", "document"], name="knowledge_chunk_base"),
            GinIndex(fields=["lexemes"], name="knowledge_chunk_lexemes", fastupdate=False),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["document", "ordinal"], name="knowledge_chunk_ordinal")
        ]

    def __str__(self) -> str:
        return f"{self.document_id}:{self.ordinal}"


class ChunkVector(models.Model):
    """The vector of a chunk in one space; its width is the space's."""

    pk = models.CompositePrimaryKey("space_id", "chunk_id")
    space = models.ForeignKey(VectorSpace, models.CASCADE, db_index=False)
    chunk = models.ForeignKey(Chunk, models.CASCADE)
    embedding = HalfVectorField()

    class Meta:
        verbose_name = _("vector")
        verbose_name_plural = _("vectors")

    def __str__(self) -> str:
        return f"{self.space_id}:{self.chunk_id}"


def upload_path(upload: Upload, filename: str) -> str:
    """Where an upload is kept: under our own name."""
    return f"uploads/{upload.created_at:%Y%m%d}/{upload.pk}.{upload.file_type}"


class Upload(models.Model):
    """A file that a user sent ahead, to name it in a later request by its signed link."""

    id = models.CharField(max_length=64, primary_key=True, default=short_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("owner"))
    name = models.CharField(_("name"), max_length=255)
    file = models.FileField(_("file"), upload_to=upload_path, max_length=255)
    file_type = models.CharField(_("file type"), max_length=16)
    size = models.PositiveBigIntegerField(_("size"), help_text=_("In bytes."))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")
        ordering: ClassVar = ["-created_at", "pk"]

    def __str__(self) -> str:
        return self.name


class SearchSource(models.TextChoices):
    PLAYGROUND = "playground", _("Playground")
    API = "api", "API"
    CONVERSATION = "conversation", _("Conversation")


class SearchRecord(models.Model):
    """A search that was made in a base, for the operator who asks why an answer came out so."""

    knowledge_base = models.ForeignKey(
        KnowledgeBase, models.CASCADE, related_name="searches", verbose_name=_("knowledge base")
    )
    source = models.CharField(_("source"), max_length=16, choices=SearchSource.choices)
    query = models.CharField(_("query"), max_length=1000)
    hits = models.PositiveIntegerField(_("hits"))
    top_score = models.FloatField(_("best score"), null=True)
    duration_ms = models.FloatField(_("duration (ms)"))
    notes = models.JSONField(_("notes"), default=list, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("search")
        verbose_name_plural = _("searches")
        ordering: ClassVar = ["-created_at", "-pk"]
        indexes: ClassVar = [
            models.Index(fields=["knowledge_base", "-created_at"], name="knowledge_search_recent")
        ]

    def __str__(self) -> str:
        return self.query
