"""The vectors of another model, built beside those in use until they can take over."""

from __future__ import annotations

import asyncio
import datetime
import logging

from django.db import Error as DatabaseFault
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from knowledge import chunks, embedding, indexes, ingest, leases, spaces
from knowledge.attempts import BACKOFF_S, Failure, failure_of
from knowledge.leases import Lease, LeaseLost
from knowledge.models import Document, DocumentStatus, SpaceStatus, VectorSpace
from providers.registry import embedding_model
from providers.specs import embedder_spec

# What needs a person is tried again too, rarely: nobody should have to remember to start it.
PERMANENT_WAIT_S = 3600
_DOCUMENTS_AT_ONCE = 100

logger = logging.getLogger(__name__)


def build(space_id: int) -> list[int]:
    """Fills a building space and lets it take over; the ids of spaces that it replaced.

    What goes wrong is on the row, with the time of the next attempt. Spaces that somebody else is
    building, or nobody has to build, are left alone.
    """
    lease = leases.take(VectorSpace, space_id, Q(status=SpaceStatus.BUILDING))
    if lease is None:
        return []
    try:
        try:
            with lease.kept():
                return _Build(lease, space_id).run()
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge of a task's work
            _fail(lease, failure_of(error))
    except LeaseLost:
        logger.info("A vector space is no longer this worker's; its work was dropped")
    except DatabaseFault as error:
        logger.error("What came of a vector space could not be written: %s", error)
    return []


def _fail(lease: Lease[VectorSpace], failure: Failure) -> None:
    with transaction.atomic():
        space = lease.lock()
        backoff = BACKOFF_S[min(space.attempt, len(BACKOFF_S)) - 1]
        wait_s = (
            PERMANENT_WAIT_S if failure.is_permanent else max(backoff, failure.retry_after_s or 0)
        )
        lease.release(
            next_attempt_at=Now() + datetime.timedelta(seconds=wait_s),
            error_code=failure.code,
            error_message=failure.message[:500],
        )


class _Build:
    """One attempt at filling a space, document by document."""

    def __init__(self, lease: Lease[VectorSpace], space_id: int) -> None:
        self._lease = lease
        self._space_id = space_id
        # Documents with a text that the model would not have: the others do not wait for them.
        self._refused: set[str] = set()

    def run(self) -> list[int]:
        with asyncio.Runner() as runner:
            while True:
                space = self._space()
                lacking = spaces.lacking_documents(
                    space, limit=_DOCUMENTS_AT_ONCE, refused=self._refused
                )
                for document_id in lacking:
                    self._fill(runner, document_id)
                    if leases.STOPPING.is_set():
                        self._lease.release()
                        return []
                if not lacking:
                    if indexes.index_is_wanted(space):
                        indexes.build_index(space.pk)
                    replaced = spaces.activate(self._lease, refused=self._refused)
                    if replaced is not None:
                        spaces.heal_documents(space)
                        return replaced

    def _space(self) -> VectorSpace:
        """The space, while it is ours and its model still gives the vectors that it is made of."""
        space = self._lease.rows.select_related("embedder__provider").first()
        if space is None:
            raise LeaseLost
        if spaces.is_stale(space):
            # The sweeper begins another in its place.
            self._lease.release(next_attempt_at=Now() + datetime.timedelta(seconds=BACKOFF_S[0]))
            raise LeaseLost
        if not spaces.is_ready_for_use(space):
            raise spaces.NoEmbedder
        return space

    def _fill(self, runner: asyncio.Runner, document_id: str) -> None:
        after = -1
        while texts := chunks.without_vector(
            document_id, self._space_id, after=after, limit=embedding.BATCH
        ):
            space = self._space()
            model = embedding_model(embedder_spec(space.embedder))
            try:
                found = ingest.vectors_of(runner, model, texts, space)
            except embedding.TextRefused as refusal:
                runner.run(embedding.check_takes_texts(model))
                self._leave_out(document_id, refusal)
                return
            with transaction.atomic():
                self._lease.lock()
                chunks.add_vectors(space.pk, [text.chunk_id for text in texts], found.vectors)
                ingest.note_dimensions(space, found)
                # What was wrong before is over.
                self._lease.change(attempt=1, error_code="", error_message="")
            after = texts[-1].ordinal
            if leases.STOPPING.is_set():
                return

    def _leave_out(self, document_id: str, refusal: embedding.TextRefused) -> None:
        """Fails the document, if nobody is about to embed it anyway; it is asked for by nobody."""
        self._lease.check()
        self._refused.add(document_id)
        failure = failure_of(refusal)
        Document.objects.filter(
            pk=document_id, status__in=(DocumentStatus.READY, DocumentStatus.FAILED)
        ).update(
            status=DocumentStatus.FAILED,
            chunks_embedded=chunks.count_vectors(document_id, self._space_id),
            error_code=failure.code,
            error_message=failure.message[:500],
            updated_at=Now(),
        )
