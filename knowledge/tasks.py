"""What workers do for knowledge. A message is only a wake-up: what is to be done is in Postgres.

Messages may be lost, late or doubled. The sweeper finds what nobody works on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerAway
from redis.exceptions import RedisError

from core.redis import redis_sync
from knowledge import building, indexes, ingest, leases, upkeep
from knowledge.models import Document

logger = logging.getLogger(__name__)

# Half of the threads at most wait for embedding models; the others stay free for conversations.
_EMBEDDING_SLOTS = threading.BoundedSemaphore(max(1, settings.WORKER_THREADS // 2))
# Of these, what a change of models may take: a base takes long, and documents keep coming.
_BUILDING_SLOTS = threading.BoundedSemaphore(max(1, settings.WORKER_THREADS // 4))
_BUILDS_AT_ONCE = max(1, settings.WORKER_THREADS // 4)
# Waiting messages of a queue beyond which the sweeper adds none.
_MAX_QUEUED = 50


# --- Waking workers ----------------------------------------------------------------------------


def wake(task: Any, *arguments: object) -> None:
    """Sends a task off. Where the broker is away, the sweeper does it later."""
    try:
        task.delay(*arguments)
    except BrokerAway as error:
        logger.warning("%s waits for the sweeper: the broker is away (%s)", task.name, error)


def wake_after_commit(task: Any, *arguments: object) -> None:
    """As `wake`, once what it is about can be seen by others."""
    transaction.on_commit(lambda: wake(task, *arguments))


def wake_document(document: Document) -> None:
    """Has a worker do what the document needs next, if anything."""
    step = ingest.next_step(document)
    if step is not None:
        wake(_STEPS[step], document.pk)


def wake_document_after_commit(document: Document) -> None:
    """As `wake_document`, once the document can be seen by others, if it is near the front.

    Others of its base wait for those before them, or for the sweeper.
    """

    def wake_near_the_front() -> None:
        if upkeep.is_near_the_front(document):
            wake_document(document)

    transaction.on_commit(wake_near_the_front)


def _wake_next(document_id: str) -> None:
    """Goes on with the document in its next step, which may be a queue of its own."""
    document = Document.objects.filter(pk=document_id, claim=None, next_attempt_at=None).first()
    if document is not None:
        wake_document(document)


def _wake_another(step: ingest.Step) -> None:
    """Has a worker do the step with another document that waits for it."""
    task = _STEPS[step]
    for document in upkeep.waiting_documents(step, limit=min(1, _room_for(task))):
        wake(task, document.pk)


@contextlib.contextmanager
def _room_in(*slots: threading.Semaphore) -> Iterator[bool]:
    """Whether all of them had room, which is taken until the end of the context."""
    with contextlib.ExitStack() as taken:
        for each in slots:
            if not each.acquire(blocking=False):
                yield False
                return
            taken.callback(each.release)
        yield True


# --- Documents ---------------------------------------------------------------------------------


@shared_task(name="knowledge.prepare")
def prepare(document_id: str) -> None:
    """Reads and cuts a document."""
    ingest.prepare(document_id)
    _wake_next(document_id)
    _wake_another("prepare")


@shared_task(name="knowledge.prepare_with_ocr")
def prepare_with_ocr(document_id: str) -> None:
    """Reads a document with OCR, and cuts it."""
    ingest.prepare(document_id, with_ocr=True)
    _wake_next(document_id)
    _wake_another("prepare_with_ocr")


@shared_task(name="knowledge.embed")
def embed(document_id: str) -> None:
    """Embeds a document, then wakes a worker for another that waits."""
    with _room_in(_EMBEDDING_SLOTS) as has_room:
        if not has_room:
            return  # Whoever ends next takes it up.
        if not upkeep.is_base_busy(document_id):
            for space_id in upkeep.indexes_in_the_way(document_id):
                indexes.set_aside(space_id)
            ingest.embed(document_id)
    _wake_who_waits_for_room()
    for space_id in upkeep.spaces_without_index(document_id):
        wake(build_index, space_id)


def _wake_who_waits_for_room() -> None:
    for document in upkeep.waiting_to_be_embedded(limit=1):
        wake(embed, document.pk)
    for space_id in upkeep.waiting_spaces(limit=_BUILDS_AT_ONCE)[:1]:
        wake(build_space, space_id)


_STEPS: dict[ingest.Step, Any] = {
    "prepare": prepare,
    "prepare_with_ocr": prepare_with_ocr,
    "embed": embed,
}


# --- Spaces ------------------------------------------------------------------------------------


@shared_task(name="knowledge.build_space")
def build_space(space_id: int) -> None:
    """Builds the vectors of another model, which then take over; then wakes a worker for more."""
    with _room_in(_EMBEDDING_SLOTS, _BUILDING_SLOTS) as has_room:
        if not has_room:
            return  # Whoever ends next takes it up.
        replaced = building.build(space_id)
    for each in replaced:
        wake(drop_index, each)
    _wake_who_waits_for_room()


@shared_task(name="knowledge.build_index")
def build_index(space_id: int) -> None:
    """Builds the index of a space that has grown."""
    indexes.build_index(space_id)


@shared_task(name="knowledge.drop_index")
def drop_index(space_id: int) -> None:
    """Drops the index of a space that is gone."""
    indexes.drop_index(space_id)


# --- Upkeep ------------------------------------------------------------------------------------


@shared_task(name="knowledge.sweep")
def sweep() -> None:
    """Wakes workers for what waits and nobody holds: after a crash, a pause, a lost message."""
    for step, task in _STEPS.items():
        for document in upkeep.waiting_documents(step, limit=_room_for(task)):
            wake(task, document.pk)
    for space_id in upkeep.spaces_to_build(limit=_BUILDS_AT_ONCE):
        wake(build_space, space_id)
    for space_id in upkeep.indexes_to_build():
        wake(build_index, space_id)


@shared_task(name="knowledge.tidy")
def tidy() -> None:
    """Removes what nobody needs any more: old uploads and attempts, files and indexes of no row."""
    upkeep.remove_old_uploads()
    upkeep.remove_old_runs()
    upkeep.remove_orphaned_files()
    indexes.drop_stray_indexes()


def _room_for(task: Any) -> int:
    """How many more messages may wait in the task's queue, so that a backlog is not multiplied."""
    queue = task.app.amqp.router.route({}, task.name)["queue"].name
    try:
        return max(0, _MAX_QUEUED - int(redis_sync().llen(queue)))
    except RedisError:
        return 0


def _stop_soon(**kwargs: Any) -> None:
    leases.STOPPING.set()


worker_shutting_down.connect(_stop_soon)
