"""How far a document, a base and its vectors have come, drawn for a page and for its refreshing.

A page marks what it draws with a key (`data-live="document:…"`); static/console/live.js asks for
the keys whose drawing says that work is open, until none does.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString

from knowledge import ingest, upkeep
from knowledge.actions import CANCELLED, RESTARTED
from knowledge.models import (
    ChunkVector,
    Document,
    DocumentStatus,
    IndexState,
    KnowledgeBase,
    SearchRecord,
    SpaceStatus,
    Stage,
    StageRun,
    VectorSpace,
)
from knowledge.spaces import is_stale
from knowledge.wording import in_readers_language

MAX_KEYS = 400
# The sweeper looks every few seconds: whoever waits this long waits for something that is broken.
LATE_AFTER = dt.timedelta(minutes=5)
COLOURS: Mapping[str, str] = {
    DocumentStatus.UPLOADED: "default",
    DocumentStatus.PARSING: "info",
    DocumentStatus.CHUNKING: "info",
    DocumentStatus.EMBEDDING: "info",
    DocumentStatus.READY: "success",
    DocumentStatus.FAILED: "danger",
    DocumentStatus.CANCELLED: "warning",
}
# A document that turns out to need OCR was read without it before, as well as could be.
_WITH_OCR = Q(document__needs_ocr=True) & (Q(stage=Stage.CHUNKING) | ~Q(error_code=""))
# The attempts that tell of a worker at each step.
_RUNS: Mapping[ingest.Step, Q] = {
    "prepare": Q(stage__in=(Stage.PARSING, Stage.CHUNKING)) & ~_WITH_OCR,
    "prepare_with_ocr": Q(stage__in=(Stage.PARSING, Stage.CHUNKING)) & _WITH_OCR,
    "embed": Q(stage=Stage.EMBEDDING),
}
WITH_TROUBLE = ~Q(error_code="") | Q(index_state=IndexState.FAILED)


def with_figures(bases: QuerySet[KnowledgeBase]) -> QuerySet[KnowledgeBase]:
    """Adds what a list of bases shows, without a query per row."""
    latest = SearchRecord.objects.filter(knowledge_base=OuterRef("pk")).order_by(
        "-created_at", "-pk"
    )
    figures: QuerySet[KnowledgeBase] = (
        bases.select_related("owner", "embedder")
        .annotate(
            documents_total=Count("documents"),
            documents_ready=Count("documents", filter=Q(documents__status=DocumentStatus.READY)),
            documents_failed=Count("documents", filter=Q(documents__status=DocumentStatus.FAILED)),
            documents_open=Count(
                "documents", filter=Q(documents__status__in=DocumentStatus.open())
            ),
            chunks_total=Coalesce(Sum("documents__chunks_total"), 0),
            last_search=Subquery(latest.values("created_at")[:1]),
        )
        .prefetch_related(
            Prefetch("spaces", VectorSpace.objects.select_related("embedder").order_by("status"))
        )
    )
    return figures


def document_state(document: Document) -> SafeString:
    """Status, progress, error and warning of a document."""
    return _drawn(
        "knowledge/document_state.html",
        document=document,
        colour=COLOURS[document.status],
        is_open=is_open(document),
        is_counted=document.status == DocumentStatus.EMBEDDING and document.chunks_total,
        is_worked_at=document.status in (DocumentStatus.PARSING, DocumentStatus.CHUNKING),
        percent=round(100 * document.progress),
        error=in_readers_language(document.error_message),
        warning=in_readers_language(document.warning),
    )


def document_buttons(document: Document) -> SafeString:
    """What can be done with a document now, as buttons of the form around it."""
    return _drawn("knowledge/document_buttons.html", document=document, is_open=is_open(document))


def base_counts(base: Any) -> SafeString:
    """The documents of a base `with_figures`, by state."""
    return _drawn("knowledge/base_counts.html", base=base)


def is_open(document: Document) -> bool:
    """Whether a worker still has to do something about it."""
    return document.status in DocumentStatus.open()


def is_late() -> Q:
    """Documents that have waited for minutes for a step that nobody works at.

    Behind others that are worked on a document waits its turn, however long.
    """
    since = timezone.now() - LATE_AFTER
    waits = (
        Q(status__in=DocumentStatus.open(), updated_at__lt=since)
        & (Q(lease_until=None) | Q(lease_until__lt=since))
        & (Q(next_attempt_at=None) | Q(next_attempt_at__lt=since))
    )
    neglected = Q(pk__in=[])
    for step in _RUNS:
        if not _is_worked_at(step, since):
            neglected |= upkeep.needs(step)
    return waits & neglected


def _is_worked_at(step: ingest.Step, since: dt.datetime) -> bool:
    """Whether a worker has a document of the step now, or had one since then."""
    held = Document.objects.filter(upkeep.needs(step), lease_until__gte=timezone.now())
    ended = StageRun.objects.filter(_RUNS[step], ended_at__gte=since)
    return held.exists() or ended.exclude(error_code__in=(RESTARTED, CANCELLED)).exists()


@dataclasses.dataclass(frozen=True, slots=True)
class SpaceState:
    """The vectors of a base by one model, and how many its chunks still lack."""

    space: VectorSpace
    vectors: int
    chunks: int
    is_open: bool

    @property
    def is_building(self) -> bool:
        return self.space.status == SpaceStatus.BUILDING

    @property
    def is_stale(self) -> bool:
        """Whether the model was changed, so that these vectors are not searched any more."""
        return is_stale(self.space)

    @property
    def is_due(self) -> bool:
        """Whether a worker tries it any moment, a minute at most."""
        at = self.space.next_attempt_at
        return at is None or at < timezone.now() + dt.timedelta(minutes=1)

    @property
    def errors(self) -> list[str]:
        """What is wrong with the vectors, and with their index."""
        stored = (self.space.error_message, self.space.index_error)
        return [in_readers_language(text) for text in stored if text]

    @property
    def percent(self) -> int:
        return round(100 * self.vectors / self.chunks) if self.chunks else 0


def space_states(base: KnowledgeBase) -> list[SpaceState]:
    """The active space and the one that is being built beside it."""
    spaces = list(base.spaces.select_related("embedder__provider").order_by("status"))
    documents = base.documents.aggregate(
        chunks=Coalesce(Sum("chunks_total"), 0),
        open=Count("pk", filter=Q(status__in=DocumentStatus.open())),
    )
    return [
        SpaceState(
            space,
            vectors=ChunkVector.objects.filter(space_id=space.pk).count(),
            chunks=documents["chunks"],
            is_open=bool(documents["open"])
            or space.status == SpaceStatus.BUILDING
            or space.index_state == IndexState.BUILDING,
        )
        for space in spaces
    ]


def spaces(base: KnowledgeBase) -> SafeString:
    """Which vectors a base searches, and the progress of those that will replace them."""
    return _drawn("knowledge/spaces.html", base=base, states=space_states(base))


def _drawn(template: str, **context: Any) -> SafeString:
    return render_to_string(template, context)


def live(request: HttpRequest) -> JsonResponse:
    """The present drawings for the keys that a page asks for; what is gone is missing."""
    wanted: dict[str, list[str]] = {"document": [], "base": [], "spaces": []}
    for key in request.GET.getlist("key")[:MAX_KEYS]:
        kind, _, row_id = key.partition(":")
        if kind in wanted:
            wanted[kind].append(row_id)
    return JsonResponse(
        {
            **_documents(wanted["document"]),
            **_bases(wanted["base"]),
            **_spaces(wanted["spaces"]),
        }
    )


def _documents(ids: Sequence[str]) -> dict[str, str]:
    drawings: dict[str, str] = {}
    for document in Document.objects.filter(pk__in=ids) if ids else ():
        drawings[f"document:{document.pk}"] = document_state(document)
        drawings[f"buttons:{document.pk}"] = document_buttons(document)
        drawings[f"chunks:{document.pk}"] = str(document.chunks_total)
    return drawings


def _bases(ids: Sequence[str]) -> dict[str, str]:
    rows: Iterable[Any] = with_figures(KnowledgeBase.objects.filter(pk__in=ids)) if ids else ()
    return {f"base:{base.pk}": base_counts(base) for base in rows}


def _spaces(ids: Sequence[str]) -> dict[str, str]:
    rows = KnowledgeBase.objects.filter(pk__in=ids) if ids else ()
    return {f"spaces:{base.pk}": spaces(base) for base in rows}
