"""What is waiting that nobody works on, and what is left over that belongs to nothing."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import logging
from collections.abc import Iterator

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import Count, F, Q, QuerySet, Sum, Window
from django.db.models.functions import Now, Random, RowNumber
from django.utils import timezone

from knowledge import indexes, ingest, leases, spaces
from knowledge.models import (
    Document,
    DocumentStatus,
    IndexState,
    KnowledgeBase,
    SpaceStatus,
    Upload,
    VectorSpace,
)
from knowledge.parse import ocr_is_installed
from knowledge.storage import DOCUMENTS_FOLDER, UPLOADS_FOLDER, files_below

# Of one base, so that a slow model of one user leaves room for the documents of others.
MAX_EMBEDDING_PER_BASE = 4
# Waiting documents of one base beyond which an upload wakes nobody.
MAX_WOKEN_PER_BASE = 2
# A file is written before its row is committed; nothing takes this long.
ORPHAN_AFTER = datetime.timedelta(hours=1)
# Of one document: what was tried for days against a vendor that was away is of no interest.
KEPT_RUNS = 100
_OLD_RUNS = """
delete from knowledge_stagerun r using (
  select id, row_number() over (partition by document_id order by id desc) as number
  from knowledge_stagerun where document_id in (
    select document_id from knowledge_stagerun group by document_id having count(*) > %s)
) each where each.id = r.id and each.number > %s
"""
_FEW_VECTORS = 1_000
# Of those present. With 1,024 dimensions 30 a second are added to an index, 520 without, and 220 a
# second are built into one: from here on, to add them first and to build all anew takes less.
_SHARE = 0.2
# Comparing with so many stays below 100 ms (see `indexes.INDEXED_FROM`): bearable meanwhile.
_EXACT_UP_TO = 50_000
_UPLOADS_AT_ONCE = 500
_FILES_AT_ONCE = 500

logger = logging.getLogger(__name__)


# --- Documents ---------------------------------------------------------------------------------


def waiting_documents(step: ingest.Step, *, limit: int) -> list[Document]:
    """Documents that wait for the step, of each base in turn the oldest."""
    if step == "embed":
        return waiting_to_be_embedded(limit=limit)
    return _in_turn(needs(step), limit)


def needs(step: ingest.Step) -> Q:
    """Documents of which the step is the next, those included that somebody is busy with."""
    match step:
        case "embed":
            return Q(status=DocumentStatus.EMBEDDING)
        case "prepare_with_ocr":
            return _to_prepare(with_ocr=True)
        case "prepare":
            return _to_prepare(with_ocr=False)


def _to_prepare(*, with_ocr: bool) -> Q:
    is_open = Q(status__in=ingest.TO_PREPARE)
    if ocr_is_installed():
        return is_open & Q(needs_ocr=with_ocr)
    # Nobody would take them from OCR's queue.
    return Q(pk__in=[]) if with_ocr else is_open


def waiting_to_be_embedded(*, limit: int) -> list[Document]:
    """As `waiting_documents`, for vectors, of bases that have room."""
    return _in_turn(needs("embed") & ~Q(knowledge_base__in=_busy_bases()), limit)


def is_base_busy(document_id: str) -> bool:
    """Whether as many documents of its base are being embedded as may be at once."""
    return Document.objects.filter(pk=document_id, knowledge_base__in=_busy_bases()).exists()


def _busy_bases() -> QuerySet[Document, str]:
    being_embedded = Document.objects.filter(
        status=DocumentStatus.EMBEDDING, lease_until__gte=Now()
    )
    return (
        being_embedded.order_by()
        .values("knowledge_base")
        .annotate(count=Count("pk"))
        .filter(count__gte=MAX_EMBEDDING_PER_BASE)
        .values_list("knowledge_base", flat=True)
    )


def is_near_the_front(document: Document) -> bool:
    """Whether so few of its base wait before it that a worker may be woken for it at once.

    The others wait for their base's turn: the files of one user do not stand in a queue before
    those of everybody else.
    """
    step = ingest.next_step(document)
    if step is None:
        return False
    others = Document.objects.filter(
        needs(step) & leases.due(), knowledge_base=document.knowledge_base_id
    ).exclude(pk=document.pk)
    return others[:MAX_WOKEN_PER_BASE].count() < MAX_WOKEN_PER_BASE


def _in_turn(condition: Q, limit: int) -> list[Document]:
    """The oldest of each base, then the second of each; bases come in any order."""
    place = Window(RowNumber(), partition_by="knowledge_base", order_by=[F("created_at"), F("pk")])
    waiting = Document.objects.filter(condition & leases.due()).annotate(place=place)
    return list(waiting.order_by("place", Random())[:limit])


# --- Spaces and indexes ------------------------------------------------------------------------


def spaces_to_build(*, limit: int) -> list[int]:
    """Spaces that wait to be built, those included that a base has just come to want.

    No more than `limit` less those that are being built.
    """
    for base_id in spaces.bases_to_reconcile():
        with contextlib.suppress(KnowledgeBase.DoesNotExist):
            spaces.reconcile(base_id)
    spaces.hurry_changed()
    return waiting_spaces(limit=limit)


def waiting_spaces(*, limit: int) -> list[int]:
    """Spaces that are due to be built: no more than `limit` less those that are being built."""
    building = VectorSpace.objects.filter(status=SpaceStatus.BUILDING)
    room = max(0, limit - building.filter(lease_until__gte=Now()).count())
    due = building.filter(leases.due()).order_by("updated_at", "pk")
    return list(due.values_list("pk", flat=True)[:room])


def spaces_without_index(document_id: str) -> list[int]:
    """The active space of a document's base, if it has grown to want an index."""
    return _to_index(Q(knowledge_base__documents=document_id))


def indexes_to_build() -> list[int]:
    """Spaces whose index was begun or is wanted, and is not ready."""
    # Each is then looked at by queries of its own: not all the small ones, every few seconds.
    chunks = Sum("knowledge_base__documents__chunks_total")
    large = (
        VectorSpace.objects.annotate(chunks=chunks)
        .filter(chunks__gt=indexes.INDEXED_FROM)
        .values("pk")
    )
    return _to_index(~Q(index_state=IndexState.READY) & Q(pk__in=large))


def indexes_in_the_way(document_id: str) -> list[int]:
    """The active space of a document's base, if it grows so much that its index should go first."""
    indexed = VectorSpace.objects.filter(
        knowledge_base__documents=document_id,
        status=SpaceStatus.ACTIVE,
        index_state=IndexState.READY,
    )
    return [space.pk for space in indexed if _is_better_later(space, is_there=True)]


def _to_index(condition: Q) -> list[int]:
    """Spaces that want an index now. Those that are being filled want it later.

    Adding a vector to an index takes several times as long as building the index with it.
    """
    active = VectorSpace.objects.filter(condition, status=SpaceStatus.ACTIVE)
    wanted = (space for space in active if indexes.index_is_wanted(space))
    return [space.pk for space in wanted if not _is_better_later(space)]


def _is_better_later(space: VectorSpace, *, is_there: bool = False) -> bool:
    """Whether the index would be in the way of what is added soon.

    Not for ever, where documents keep coming: only while exact searches are quick, or most of the
    vectors are still missing and no index `is_there` that spares searches the others.
    """
    missing = _missing_soon(space)
    if missing < _FEW_VECTORS:
        return False
    present = indexes.count_vectors(space.pk)
    is_quick = missing + present <= _EXACT_UP_TO
    if is_quick:
        return missing >= present * _SHARE
    return missing >= present and not is_there


def _missing_soon(space: VectorSpace) -> int:
    """How many vectors are about to be added; not those of documents that wait for a vendor."""
    documents = Document.objects.filter(
        knowledge_base=space.knowledge_base_id,
        status=DocumentStatus.EMBEDDING,
        next_attempt_at=None,
    )
    missing = Sum(F("chunks_total") - F("chunks_embedded"))
    return int(documents.aggregate(missing=missing)["missing"] or 0)


# --- Attempts ----------------------------------------------------------------------------------


def remove_old_runs() -> int:
    """Removes all but the latest attempts at each document; how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(_OLD_RUNS, [KEPT_RUNS, KEPT_RUNS])
        return int(cursor.rowcount)


# --- Files -------------------------------------------------------------------------------------


def remove_old_uploads() -> int:
    """Removes uploads that are older than UPLOAD_KEEP_DAYS, row first; how many there were."""
    limit = timezone.now() - datetime.timedelta(days=settings.UPLOAD_KEEP_DAYS)
    old = list(
        Upload.objects.filter(created_at__lt=limit).order_by("created_at")[:_UPLOADS_AT_ONCE]
    )
    for upload in old:
        upload.delete()
        with contextlib.suppress(OSError):
            upload.file.storage.delete(upload.file.name or "")
    return len(old)


def remove_orphaned_files() -> int:
    """Removes files that no row names, as a crash between row and file leaves; how many."""
    removed = 0
    for model, folder in ((Document, DOCUMENTS_FOLDER), (Upload, UPLOADS_FOLDER)):
        for names in _in_batches(_old_files(folder)):
            known = set(model.objects.filter(file__in=names).values_list("file", flat=True))
            for name in names:
                if name not in known:
                    logger.info("Removing %s, which belongs to nothing", name)
                    default_storage.delete(name)
                    removed += 1
    return removed


def _old_files(folder: str) -> Iterator[str]:
    limit = timezone.now() - ORPHAN_AFTER
    return (name for name, changed_at in files_below(folder) if changed_at < limit)


def _in_batches(names: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(itertools.islice(names, _FILES_AT_ONCE)):
        yield batch
