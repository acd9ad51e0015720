"""Waking workers, finding what nobody works on, and clearing up."""

from __future__ import annotations

import datetime
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import OperationalError, connection, connections, transaction
from django.db.models import Q
from django.utils import timezone
from kombu import pools

from accounts.models import User
from config.celery import app
from core.redis import redis_sync
from knowledge import actions, indexes, ingest, leases, spaces, tasks, upkeep
from knowledge.models import Document, DocumentStatus, KnowledgeBase, Upload, VectorSpace
from providers.models import Llm
from tests.knowledge.documents import add, make_due, work_on

pytestmark = pytest.mark.django_db(transaction=True)


def waiting_in(queue: str) -> int:
    return int(redis_sync().llen(queue))


@pytest.fixture
def broker_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens where the broker was."""
    nobody = app.connection_for_write("redis://127.0.0.1:1/0")
    monkeypatch.setattr(app.amqp, "_producer_pool", pools.producers[nobody])


# --- Waking ------------------------------------------------------------------------------------


def test_a_worker_is_woken_once_the_document_is_committed(base: KnowledgeBase) -> None:
    with transaction.atomic():
        add(base)
        assert waiting_in("parse") == 0
    assert waiting_in("parse") == 1


def test_each_step_wakes_the_next(base: KnowledgeBase) -> None:
    document = add(base)
    tasks.prepare(document.pk)
    assert (waiting_in("parse"), waiting_in("ingest")) == (1, 1)
    tasks.embed(document.pk)
    document.refresh_from_db()
    assert document.status == DocumentStatus.READY
    assert waiting_in("ingest") == 1


def test_a_document_is_stored_while_the_broker_is_away_and_swept_up_later(
    base: KnowledgeBase, broker_away: None, caplog: pytest.LogCaptureFixture
) -> None:
    document = add(base)
    document.refresh_from_db()
    assert document.status == DocumentStatus.UPLOADED
    assert "the broker is away" in caplog.text
    assert upkeep.waiting_documents("prepare", limit=9) == [document]


def test_the_sweeper_wakes_a_worker_for_what_no_message_is_about(base: KnowledgeBase) -> None:
    to_read, to_embed = add(base), add(base, topic="owl")
    ingest.prepare(to_embed.pk)
    redis_sync().flushdb()
    tasks.sweep()
    assert (waiting_in("parse"), waiting_in("ingest")) == (1, 1)
    work_on(to_read)
    to_embed.refresh_from_db()
    work_on(to_embed)
    redis_sync().flushdb()
    tasks.sweep()
    assert (waiting_in("parse"), waiting_in("ingest")) == (0, 0)


def test_the_sweeper_leaves_alone_what_somebody_works_on_or_what_waits(
    base: KnowledgeBase,
) -> None:
    document = add(base)
    lease = leases.take(Document, document.pk, Q())
    assert lease is not None
    redis_sync().flushdb()
    tasks.sweep()
    assert waiting_in("parse") == 0
    lease.release(next_attempt_at=timezone.now() + datetime.timedelta(minutes=1))
    tasks.sweep()
    assert waiting_in("parse") == 0
    make_due(document)
    tasks.sweep()
    assert waiting_in("parse") == 1


def test_the_sweeper_takes_up_what_a_dead_worker_left(base: KnowledgeBase) -> None:
    document = add(base)
    assert leases.take(Document, document.pk, Q(), status=DocumentStatus.PARSING) is not None
    make_due(document)
    redis_sync().flushdb()
    tasks.sweep()
    assert waiting_in("parse") == 1
    ingest.prepare(document.pk)
    document.refresh_from_db()
    assert document.status == DocumentStatus.EMBEDDING


def test_the_sweeper_does_not_multiply_a_backlog(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_MAX_QUEUED", 3)
    for number in range(5):
        add(base, topic=str(number))
    for _sweep in range(3):
        tasks.sweep()
    assert waiting_in("parse") == 3
    redis_sync().flushdb()
    for _sweep in range(3):
        tasks.sweep()
    assert waiting_in("parse") == 3


def test_the_sweeper_has_spaces_and_indexes_built(
    base: KnowledgeBase, vendor_embedder: Llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_on(add(base, 10))
    actions.update_base(base, {"embedder_id": vendor_embedder.pk})
    redis_sync().flushdb()
    tasks.sweep()
    assert waiting_in("ingest") == 1
    monkeypatch.setattr(indexes, "INDEXED_FROM", 9)
    redis_sync().flushdb()
    tasks.sweep()
    assert waiting_in("ingest") == 2


def test_an_index_is_built_when_the_large_document_that_wants_it_is_done(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "INDEXED_FROM", 9)
    monkeypatch.setattr(upkeep, "_FEW_VECTORS", 20)
    work_on(add(base, 10))
    document = add(base, 20, topic="owl")
    ingest.prepare(document.pk)
    assert upkeep.indexes_to_build() == []
    document.refresh_from_db()
    work_on(document)
    active = spaces.active_space(base)
    assert active is not None
    assert upkeep.indexes_to_build() == upkeep.spaces_without_index(document.pk) == [active.pk]


def test_an_index_is_built_though_documents_keep_coming(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "INDEXED_FROM", 9)
    monkeypatch.setattr(upkeep, "_FEW_VECTORS", 2)
    work_on(add(base, 10))
    active = spaces.active_space(base)
    assert active is not None
    monkeypatch.setattr(upkeep, "_EXACT_UP_TO", 10)
    ingest.prepare(add(base, 8, topic="owl").pk)
    assert upkeep.indexes_to_build() == [active.pk]
    ingest.prepare(add(base, 5, topic="hen").pk)
    assert upkeep.indexes_to_build() == []


def test_an_index_is_set_aside_while_a_space_grows_by_much(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "INDEXED_FROM", 9)
    monkeypatch.setattr(upkeep, "_FEW_VECTORS", 2)
    work_on(add(base, 30))
    active = spaces.active_space(base)
    assert active is not None
    tasks.build_index(active.pk)
    few, many = add(base, 5, topic="owl"), add(base, 8, topic="hen")
    ingest.prepare(few.pk)
    assert upkeep.indexes_in_the_way(few.pk) == []
    tasks.embed(few.pk)
    ingest.prepare(many.pk)
    monkeypatch.setattr(upkeep, "_EXACT_UP_TO", 42)
    assert upkeep.indexes_in_the_way(many.pk) == []
    monkeypatch.setattr(upkeep, "_EXACT_UP_TO", 43)
    assert upkeep.indexes_in_the_way(many.pk) == [active.pk]
    tasks.embed(many.pk)
    assert indexed_among(active) == []
    assert upkeep.spaces_without_index(many.pk) == [active.pk]
    tasks.build_index(active.pk)
    assert indexed_among(active) == [active]
    actions.delete_base(base, force=True)
    tasks.tidy()


def test_the_sweepers_look_at_indexes_costs_one_query_however_many_spaces_are_small(
    alice: User, base: KnowledgeBase, django_assert_num_queries: Any
) -> None:
    work_on(add(base))
    work_on(add(actions.create_base(alice.pk, {"name": "Other"})))
    with django_assert_num_queries(1):
        assert upkeep.indexes_to_build() == []


def test_the_sweepers_look_at_documents_uses_the_index_of_open_ones(base: KnowledgeBase) -> None:
    work_on(add(base))
    waiting = Document.objects.filter(
        Q(status__in=DocumentStatus.open())
        & (Q(lease_until=None) | Q(lease_until__lt=timezone.now()))
    )
    with connection.cursor() as cursor:
        cursor.execute("set enable_seqscan = off")
        plan = waiting.explain()
        cursor.execute("reset enable_seqscan")
    assert "knowledge_document_open" in plan


# --- Sharing -----------------------------------------------------------------------------------


def test_embedding_leaves_threads_for_other_work(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = add(base)
    ingest.prepare(document.pk)
    monkeypatch.setattr(tasks, "_EMBEDDING_SLOTS", threading.BoundedSemaphore(1))
    with tasks._EMBEDDING_SLOTS:
        tasks.embed(document.pk)
        document.refresh_from_db()
        assert document.status == DocumentStatus.EMBEDDING
    tasks.embed(document.pk)
    document.refresh_from_db()
    assert document.status == DocumentStatus.READY


def test_one_base_leaves_room_for_the_documents_of_others(
    base: KnowledgeBase, vendor_base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "MAX_EMBEDDING_PER_BASE", 1)
    held, waiting = add(base), add(base, topic="owl")
    other = add(vendor_base)
    for document in (held, waiting, other):
        ingest.prepare(document.pk)
    lease = leases.take(Document, held.pk, Q(status=DocumentStatus.EMBEDDING))
    assert lease is not None
    assert [row.pk for row in upkeep.waiting_to_be_embedded(limit=9)] == [other.pk]
    tasks.embed(waiting.pk)
    waiting.refresh_from_db()
    assert waiting.status == DocumentStatus.EMBEDDING
    lease.release()
    tasks.embed(waiting.pk)
    waiting.refresh_from_db()
    assert waiting.status == DocumentStatus.READY


def test_the_files_of_one_base_do_not_stand_before_those_of_others(
    base: KnowledgeBase, vendor_base: KnowledgeBase
) -> None:
    many = [add(base, topic=str(number)) for number in range(6)]
    assert waiting_in("parse") == upkeep.MAX_WOKEN_PER_BASE
    late = add(vendor_base)
    assert waiting_in("parse") == upkeep.MAX_WOKEN_PER_BASE + 1
    in_turn = [row.pk for row in upkeep.waiting_documents("prepare", limit=9)]
    assert set(in_turn[:2]) == {many[0].pk, late.pk}
    assert in_turn[2:] == [row.pk for row in many[1:]]


def test_each_document_that_is_read_wakes_a_worker_for_another(base: KnowledgeBase) -> None:
    first, _second, _third = (add(base, topic=str(number)) for number in range(3))
    redis_sync().flushdb()
    tasks.prepare(first.pk)
    assert (waiting_in("parse"), waiting_in("ingest")) == (1, 1)


def test_changes_of_models_leave_threads_for_documents(
    alice: User, base: KnowledgeBase, vendor_embedder: Llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_BUILDS_AT_ONCE", 2)
    changed = [base, *(actions.create_base(alice.pk, {"name": str(at)}) for at in range(3))]
    for each in changed:
        KnowledgeBase.objects.filter(pk=each.pk).update(embedder=base.embedder)
        work_on(add(each))
        actions.update_base(
            KnowledgeBase.objects.get(pk=each.pk), {"embedder_id": vendor_embedder.pk}
        )
    redis_sync().flushdb()
    tasks.sweep()
    assert waiting_in("ingest") == 2
    space_ids = upkeep.waiting_spaces(limit=9)
    assert len(space_ids) == 4
    for slots in ("_EMBEDDING_SLOTS", "_BUILDING_SLOTS"):
        with monkeypatch.context() as patch:
            full = threading.BoundedSemaphore(1)
            patch.setattr(tasks, slots, full)
            with full:
                tasks.build_space(space_ids[0])
        assert len(upkeep.waiting_spaces(limit=9)) == 4
    redis_sync().flushdb()
    tasks.build_space(space_ids[0])
    assert upkeep.waiting_spaces(limit=9) == space_ids[1:]
    assert waiting_in("ingest") == 2  # the index of the old space, and the next space
    assert leases.take(VectorSpace, space_ids[1], leases.due()) is not None
    assert upkeep.waiting_spaces(limit=2) == [space_ids[2]]


def test_a_worker_that_is_told_to_stop_gives_its_document_back(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = add(base, 100)
    ingest.prepare(document.pk)
    stopping = threading.Event()
    stopping.set()
    monkeypatch.setattr(leases, "STOPPING", stopping)
    ingest.embed(document.pk)
    document.refresh_from_db()
    assert (document.status, document.chunks_embedded) == (DocumentStatus.EMBEDDING, 64)
    assert (document.claim, document.lease_until, document.next_attempt_at) == (None, None, None)
    stopping.clear()
    assert work_on(document).status == DocumentStatus.READY
    assert document.chunks_embedded == 100


# --- Leases ------------------------------------------------------------------------------------


def test_a_lease_is_renewed_while_its_work_takes_long(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY_S", 0.01)
    document = add(base)
    lease = leases.take(Document, document.pk, Q())
    assert lease is not None
    Document.objects.filter(pk=document.pk).update(lease_until=timezone.now())
    with lease.kept():
        deadline = time.monotonic() + 10
        while not Document.objects.filter(
            pk=document.pk, lease_until__gt=timezone.now() + leases.LEASE / 2
        ):
            assert time.monotonic() < deadline


def test_a_lease_outlives_a_database_that_is_away_for_a_moment(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY_S", 0.01)
    lease = leases.take(Document, add(base).pk, Q())
    assert lease is not None
    renewed = threading.Event()
    tries = 0

    class Rows:
        def update(self, **values: object) -> int:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise OperationalError("the database is starting up")
            renewed.set()
            return 1

    monkeypatch.setattr(type(lease), "rows", property(lambda self: Rows()))
    with lease.kept():
        assert renewed.wait(10)
    assert "could not be renewed" in caplog.text


def test_only_one_of_many_takes_a_row(base: KnowledgeBase) -> None:
    document = add(base)

    def take(number: int) -> bool:
        try:
            return leases.take(Document, document.pk, Q()) is not None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(12))) == 1
    document.refresh_from_db()
    assert document.attempt == 1


# --- Clearing up -------------------------------------------------------------------------------


def age(path: Path) -> None:
    long_ago = time.time() - 7200
    os.utime(path, (long_ago, long_ago))


def test_old_uploads_go_with_their_files(alice: User, settings: Any) -> None:
    old, new = (
        actions.store_upload(alice, ContentFile(name.encode(), name=name))
        for name in ("old.txt", "new.txt")
    )
    days = datetime.timedelta(days=settings.UPLOAD_KEEP_DAYS, minutes=1)
    Upload.objects.filter(pk=old.pk).update(created_at=timezone.now() - days)
    tasks.tidy()
    assert list(Upload.objects.all()) == [new]
    assert not Path(old.file.path).exists()
    assert Path(new.file.path).exists()


def test_files_without_a_row_go_when_they_are_old_enough(base: KnowledgeBase, alice: User) -> None:
    document = add(base)
    upload = actions.store_upload(alice, ContentFile(b"x", name="a.txt"))
    kept = [Path(document.file.path), Path(upload.file.path)]
    orphans = [path.with_name("orphan.txt") for path in kept]
    fresh = kept[0].with_name("fresh.txt")
    for path in (*orphans, fresh):
        path.write_bytes(b"left behind")
    for path in (*kept, *orphans):
        age(path)
    assert upkeep.remove_orphaned_files() == 2
    assert not any(path.exists() for path in orphans)
    assert all(path.exists() for path in (*kept, fresh))


def test_all_but_the_latest_attempts_at_a_document_go(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "KEPT_RUNS", 3)
    often, once = add(base, topic="fox"), add(base, topic="owl")
    for attempt in range(1, 6):
        often.stage_runs.create(stage="embedding", attempt=attempt)
    once.stage_runs.create(stage="parsing", attempt=1)
    tasks.tidy()
    assert [run.attempt for run in often.stage_runs.all()] == [3, 4, 5]
    assert once.stage_runs.count() == 1


def test_the_index_of_a_replaced_space_goes(
    base: KnowledgeBase, vendor_embedder: Llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "INDEXED_FROM", 9)
    document = add(base, 10)
    tasks.prepare(document.pk)
    tasks.embed(document.pk)
    old = spaces.active_space(base)
    assert old is not None
    tasks.build_index(old.pk)
    assert indexed_among(old) == [old]
    actions.update_base(base, {"embedder_id": vendor_embedder.pk})
    new = VectorSpace.objects.exclude(pk=old.pk).get()
    tasks.build_space(new.pk)
    assert indexed_among(old, new) == [old, new]
    tasks.drop_index(old.pk)
    assert indexed_among(old, new) == [new]
    actions.delete_base(base, force=True)
    tasks.tidy()
    assert indexed_among(old, new) == []


def indexed_among(*of: VectorSpace) -> list[VectorSpace]:
    """Those of the spaces that have an index; others may be left of other tests."""
    with connection.cursor() as cursor:
        cursor.execute("select indexname from pg_indexes where tablename = 'knowledge_chunkvector'")
        names = {str(row[0]) for row in cursor.fetchall()}
    return [space for space in of if indexes.index_name(space.pk) in names]
