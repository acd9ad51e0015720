"""How a document becomes searchable: read, cut and stored in one step, embedded in another.

A step is taken by a lease and can be repeated at any time: chunks are replaced in one transaction,
embedding goes on at the first chunk without a vector. See `attempts` for what happens on failure.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from core.db import release_connections
from knowledge import attempts, chunks, embedding, leases, locks, spaces
from knowledge.leases import Lease, LeaseLost
from knowledge.models import Document, DocumentStatus, KnowledgeBase, Stage, VectorSpace
from knowledge.parse import ParseFailed, ocr_is_installed, parse_file
from knowledge.split import split
from knowledge.storage import local_path
from knowledge.types import Parsed
from knowledge.wording import CHUNKS_SHORTENED, PAGES_NOT_READ, PAGES_WITHOUT_TEXT
from providers.interfaces import EmbeddingModel
from providers.registry import embedding_model
from providers.specs import embedder_spec

Step = Literal["prepare", "prepare_with_ocr", "embed"]

TO_PREPARE = (DocumentStatus.UPLOADED, DocumentStatus.PARSING, DocumentStatus.CHUNKING)


def next_step(document: Document) -> Step | None:
    """What a worker has to do with the document now."""
    match document.status:
        case DocumentStatus.EMBEDDING:
            return "embed"
        case DocumentStatus.UPLOADED | DocumentStatus.PARSING | DocumentStatus.CHUNKING:
            return "prepare_with_ocr" if document.needs_ocr and ocr_is_installed() else "prepare"
        case _:
            return None


# --- Reading and cutting -----------------------------------------------------------------------


def prepare(document_id: str, *, with_ocr: bool = False) -> None:
    """Reads and cuts a waiting document; what came of it is on the row. Others are left alone."""
    is_waiting = Q(status__in=TO_PREPARE)
    lease = attempts.begin(document_id, Stage.PARSING, is_waiting, status=DocumentStatus.PARSING)
    if lease is not None:
        attempts.guarded(lease, Stage.PARSING, lambda: _prepare(lease, with_ocr=with_ocr))


def _prepare(lease: Lease[Document], *, with_ocr: bool) -> None:
    document = lease.rows.select_related("knowledge_base").first()
    if document is None:
        raise LeaseLost
    parsed = _read(document, lease, with_ocr=with_ocr)
    if parsed.image_pages and not with_ocr and ocr_is_installed():
        with transaction.atomic():
            values = {"status": DocumentStatus.UPLOADED, "needs_ocr": True, "attempt": 0}
            attempts.finish(lease, items=len(parsed.text), **values)
        return
    attempts.proceed(
        lease,
        Stage.CHUNKING,
        items=len(parsed.text),
        page_count=parsed.page_count,
        char_count=len(parsed.text),
        warning=_missing_pages(parsed, with_ocr=with_ocr),
    )
    _store(lease, document, parsed)


def _read(document: Document, lease: Lease[Document], *, with_ocr: bool) -> Parsed:
    release_connections()
    with local_path(document.file) as path:
        parsed = parse_file(path, document.file_type, with_ocr=with_ocr, on_wait=lease.check)
    if parsed.text.strip() or (parsed.image_pages and not with_ocr and ocr_is_installed()):
        return parsed
    raise ParseFailed("no_text")


def _missing_pages(parsed: Parsed, *, with_ocr: bool) -> str:
    """What the reader of the document should know about pages that were not read."""
    missing = len(parsed.image_pages)
    if not missing:
        return ""
    numbers = {"missing": missing, "total": parsed.page_count or missing}
    return (PAGES_WITHOUT_TEXT if with_ocr else PAGES_NOT_READ) % numbers


def _store(lease: Lease[Document], document: Document, parsed: Parsed) -> None:
    """Replaces the document's chunks.

    While they are cut nothing is locked: the document can be cancelled, and the base changed or
    deleted. A worker that was overtaken meanwhile finds its claim gone and stores nothing.
    """
    base = document.knowledge_base
    pieces = split(parsed, size=base.chunk_size, overlap=base.chunk_overlap)
    with transaction.atomic():
        is_again = document.chunks.exists()
        stored = chunks.store(document, pieces, check=lease.check, aside=is_again)
        if not stored:
            raise ParseFailed("no_text")
        if not locks.hold_base(base.pk):
            raise LeaseLost
        lease.lock()
        if is_again:
            chunks.replace(document.pk, base.pk)
        attempts.finish(
            lease,
            items=stored,
            status=DocumentStatus.EMBEDDING,
            attempt=0,
            chunks_total=stored,
            chunks_embedded=0,
        )


# --- Embedding ---------------------------------------------------------------------------------


def embed(document_id: str) -> None:
    """Embeds what a document lacks; what came of it is on the row. Others are left alone."""
    is_waiting = Q(status=DocumentStatus.EMBEDDING)
    lease = attempts.begin(document_id, Stage.EMBEDDING, is_waiting)
    if lease is not None:
        attempts.guarded(lease, Stage.EMBEDDING, lambda: _Embedding(lease).run())


class _Embedding:
    """One attempt at a document's vectors, batch by batch, each committed."""

    def __init__(self, lease: Lease[Document]) -> None:
        self._lease = lease
        document = lease.rows.first()
        if document is None:
            raise LeaseLost
        self._document = document
        self._space: VectorSpace | None = None
        self._after = -1
        self._items = 0
        self._shortened = 0

    def run(self) -> None:
        # One loop for all batches, so that connections to the vendor stay open between them.
        with asyncio.Runner() as runner:
            while not self._is_finished(runner):
                if leases.STOPPING.is_set():
                    attempts.stop(self._lease)
                    return

    def _is_finished(self, runner: asyncio.Runner) -> bool:
        """Does the next batch; true when no chunk lacks a vector and the document is ready."""
        space = self._target()
        texts = chunks.without_vector(
            self._document.pk, space.pk, after=self._after, limit=embedding.BATCH
        )
        if not texts:
            return self._finish(space)
        model = embedding_model(embedder_spec(space.embedder))
        vectors = vectors_of(runner, model, texts, space)
        self._commit(space, texts, vectors)
        return False

    def _target(self) -> VectorSpace:
        """The space to fill, asked anew for each batch: another one may have taken over."""
        try:
            space = spaces.target_space(self._document.knowledge_base_id)
        except KnowledgeBase.DoesNotExist:
            raise LeaseLost from None
        if self._space is None or self._space.pk != space.pk:
            self._after = -1
            done = chunks.count_vectors(self._document.pk, space.pk)
            self._lease.change(chunks_embedded=done)
        self._space = space
        return space

    def _commit(
        self, space: VectorSpace, texts: list[chunks.Text], found: embedding.Embedded
    ) -> None:
        with transaction.atomic():
            self._lease.lock()
            if not locks.hold_space(space.pk):
                return
            added = chunks.add_vectors(space.pk, [text.chunk_id for text in texts], found.vectors)
            note_dimensions(space, found)
            self._items += added
            self._shortened += found.shortened
            attempts.note_items(self._document, self._items)
            self._lease.change(chunks_embedded=F("chunks_embedded") + added)
        self._after = texts[-1].ordinal

    def _finish(self, space: VectorSpace) -> bool:
        with transaction.atomic():
            self._lease.lock()
            # Held until the document is ready, so that a space that takes over counts its chunks.
            if not locks.hold_space(space.pk):
                return False
            if chunks.without_vector(self._document.pk, space.pk, after=-1, limit=1):
                self._after = -1
                return False
            attempts.finish(
                self._lease,
                items=self._items,
                status=DocumentStatus.READY,
                chunks_embedded=F("chunks_total"),
                processed_at=Now(),
                warning=_with_shortened(self._document.warning, self._shortened),
            )
        return True


def vectors_of(
    runner: asyncio.Runner, model: EmbeddingModel, texts: list[chunks.Text], space: VectorSpace
) -> embedding.Embedded:
    """The texts' vectors, of the space's size. Raises ProviderError.

    A vendor may take minutes: meanwhile no connection to the database is held.
    """
    release_connections()
    found = runner.run(embedding.embed(model, [text.embedded for text in texts]))
    embedding.check_size(found.vectors, space.dimensions)
    return found


def note_dimensions(space: VectorSpace, found: embedding.Embedded) -> None:
    """The first vectors decide the size of the space's. Raises ProviderError for another size."""
    if space.dimensions is None:
        rows = VectorSpace.objects.filter(pk=space.pk)
        rows.filter(dimensions=None).update(dimensions=found.vectors.shape[1])
        space.dimensions = rows.values_list("dimensions", flat=True).get()
        embedding.check_size(found.vectors, space.dimensions)


def _with_shortened(warning: str, shortened: int) -> str:
    if not shortened:
        return warning
    return f"{warning} {CHUNKS_SHORTENED % {'count': shortened}}".strip()[:500]
