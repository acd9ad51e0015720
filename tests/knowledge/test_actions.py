"""What owners do with bases, documents and uploads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, connections, transaction

from accounts.models import User
from assistants.models import Assistant
from core.errors import Conflict, InvalidRequest, NotFound, PayloadTooLarge, UnsupportedMediaType
from knowledge import actions, chunks, ingest, leases, storage
from knowledge.models import (
    Chunk,
    ChunkVector,
    Document,
    DocumentStatus,
    KnowledgeBase,
    StageRun,
    Upload,
    VectorSpace,
)
from providers.models import Llm, LlmType
from tests.knowledge.documents import add, contents, text_of, work_on

pytestmark = pytest.mark.django_db(transaction=True)


def file_of(content: bytes, name: str) -> ContentFile[bytes]:
    return ContentFile(content, name=name)


# --- Bases -------------------------------------------------------------------------------------


def test_a_base_begins_with_what_was_given_and_sensible_sizes(alice: User) -> None:
    base = actions.create_base(alice.pk, {"name": "Handbook", "description": "All of it"})
    base.refresh_from_db()
    assert (base.name, base.description) == ("Handbook", "All of it")
    assert (base.chunk_size, base.chunk_overlap, base.embedder_id) == (500, 50, None)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": " "}, "name"),
        ({"chunk_size": 10}, "chunk_size"),
        ({"chunk_size": 4001}, "chunk_size"),
        ({"chunk_size": 100, "chunk_overlap": 100}, "chunk_overlap"),
        ({"embedder_id": "unknown"}, "embedder_id"),
        ({"embedder_id": "\0"}, "embedder_id"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(
    base: KnowledgeBase, values: actions.BaseValues, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        actions.update_base(base, values)
    assert list(refusal.value.details) == [field]
    actions.update_base(base, {"name": "New", "chunk_size": 100, "chunk_overlap": 99})
    base.refresh_from_db()
    assert (base.name, base.chunk_size) == ("New", 100)


def test_a_base_may_not_use_models_of_others(alice: User, bob: User) -> None:
    foreign = Llm.objects.create(owner=bob, name="Bob's", vendor="builtin", type=LlmType.EMBEDDING)
    with pytest.raises(InvalidRequest):
        actions.create_base(alice.pk, {"name": "A", "embedder_id": foreign.pk})
    with pytest.raises(InvalidRequest):
        actions.create_base(None, {"name": "A", "embedder_id": foreign.pk})
    assert actions.create_base(bob.pk, {"name": "A", "embedder_id": foreign.pk}).embedder_id


def test_deleting_a_base_leaves_nothing(base: KnowledgeBase, alice: User) -> None:
    kept = actions.create_base(alice.pk, {"name": "Kept"})
    documents = [work_on(add(base, topic=topic)) for topic in ("fox", "owl")]
    other = work_on(add(kept))
    paths = [Path(document.file.path) for document in documents]
    actions.delete_base(base, force=False)
    assert not KnowledgeBase.objects.filter(name="Handbook").exists()
    assert list(Document.objects.all()) == [other]
    assert set(Chunk.objects.values_list("document", flat=True)) == {other.pk}
    assert ChunkVector.objects.count() == Chunk.objects.count()
    assert VectorSpace.objects.count() == 1
    assert not any(path.exists() for path in paths)
    assert Path(other.file.path).exists()


def test_a_base_that_is_gone_cannot_be_changed(base: KnowledgeBase) -> None:
    actions.update_base(base, {"name": "New"})
    actions.delete_base(KnowledgeBase.objects.get(name="New"), force=True)
    with pytest.raises(NotFound) as refusal:
        actions.update_base(base, {"name": "Newer"})
    assert refusal.value.error_code == "KNOWLEDGE_BASE_NOT_FOUND"
    assert not KnowledgeBase.objects.filter(pk=base.pk).exists()


def test_a_user_takes_their_bases_along(base: KnowledgeBase, alice: User, bob: User) -> None:
    work_on(add(base))
    kept = work_on(add(actions.create_base(bob.pk, {"name": "Kept"})))
    alice.delete()
    assert list(Document.objects.all()) == [kept]
    assert Chunk.objects.count() == ChunkVector.objects.count() == kept.chunks_total


def test_a_base_that_an_assistant_uses_is_deleted_by_force_only(
    base: KnowledgeBase, alice: User
) -> None:
    assistant = Assistant.objects.create(owner=alice, name="Anna")
    assistant.set_knowledge_bases([base.pk])
    with pytest.raises(Conflict) as refusal:
        actions.delete_base(base, force=False)
    assert refusal.value.error_code == "KNOWLEDGE_BASE_IN_USE"
    assert "“Handbook” is used by" in refusal.value.message
    actions.delete_base(base, force=True)
    assert not assistant.knowledge_bases.exists()
    assert Assistant.objects.filter(pk=assistant.pk).exists()


# --- Adding ------------------------------------------------------------------------------------


def test_a_file_is_stored_under_our_own_name_and_shown_sanitised(base: KnowledgeBase) -> None:
    name = "../../etc/pass\u202ewd\0.TXT"
    document = actions.add_document(base, file_of(b"text", "x.txt"), name=name)
    assert document.file.name == f"knowledge/{base.pk}/{document.pk}.txt"
    assert document.name == "passwd.TXT"
    assert Path(document.file.path).read_bytes() == b"text"
    assert (document.size, document.status) == (4, DocumentStatus.UPLOADED)


def test_the_type_is_that_of_the_file_or_else_of_the_name(base: KnowledgeBase) -> None:
    of_file = actions.add_document(base, file_of(b"1", "a.MD"), name="Notes")
    of_name = actions.add_document(base, file_of(b"2", "blob"), name="b.csv")
    given = actions.add_document(base, file_of(b"3", "c.txt"), name="c", file_type="json")
    assert [row.file_type for row in (of_file, of_name, given)] == ["md", "csv", "json"]


def test_what_cannot_be_taken_in_is_refused_before_anything_is_stored(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MAX_FILE_BYTES", 10)
    for error, content, name in (
        (UnsupportedMediaType, b"x", "a.exe"),
        (UnsupportedMediaType, b"x", "noname"),
        (PayloadTooLarge, b"x" * 11, "a.txt"),
    ):
        with pytest.raises(error):
            actions.add_document(base, file_of(content, name), name=name)
    assert not Document.objects.exists()
    actions.add_document(base, file_of(b"x" * 10, "a.txt"), name="a.txt")


def test_the_same_bytes_are_taken_once_by_each_base(base: KnowledgeBase, alice: User) -> None:
    first = actions.add_document(base, file_of(b"same", "a.txt"), name="a.txt")
    with pytest.raises(actions.DuplicateDocument) as refusal:
        actions.add_document(base, file_of(b"same", "b.txt"), name="b.txt")
    assert refusal.value.document_id == first.pk
    assert refusal.value.details == {"document_id": [first.pk]}
    assert "a.txt" in refusal.value.message
    assert os.listdir(Path(first.file.path).parent) == [f"{first.pk}.txt"]
    other = actions.create_base(alice.pk, {"name": "Other"})
    actions.add_document(other, file_of(b"same", "b.txt"), name="b.txt")
    actions.delete_document(first)
    actions.add_document(base, file_of(b"same", "b.txt"), name="b.txt")


def test_the_same_bytes_sent_at_once_are_taken_once(base: KnowledgeBase) -> None:
    def send(number: int) -> str:
        try:
            return actions.add_text(base, name=f"{number}.txt", content="same").pk
        except actions.DuplicateDocument as refusal:
            return refusal.document_id
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(send, range(4)))
    assert ids == set(Document.objects.values_list("pk", flat=True))
    assert len(ids) == 1


def test_a_document_for_a_base_that_is_gone_is_not_found(base: KnowledgeBase) -> None:
    KnowledgeBase.objects.filter(pk=base.pk).delete()
    with pytest.raises(NotFound) as refusal:
        actions.add_text(base, name="a.txt", content="text")
    assert refusal.value.error_code == "KNOWLEDGE_BASE_NOT_FOUND"
    assert not Document.objects.exists()


def test_an_upload_becomes_a_document_and_stays(base: KnowledgeBase, alice: User) -> None:
    upload = actions.store_upload(alice, file_of(text_of(2).encode(), "report.txt"))
    assert str(upload.file).endswith(f"/{upload.pk}.txt")
    document = work_on(actions.add_upload(base, upload))
    assert (document.name, document.status) == ("report.txt", DocumentStatus.READY)
    assert Path(upload.file.path).exists()
    with pytest.raises(actions.DuplicateDocument):
        actions.add_upload(base, upload)
    Path(upload.file.path).unlink()
    with pytest.raises(NotFound):
        actions.add_upload(base, upload)
    with pytest.raises(UnsupportedMediaType):
        actions.store_upload(alice, file_of(b"x", "a.exe"))
    assert Upload.objects.count() == 1


# --- Reading again, cancelling, deleting -------------------------------------------------------


def test_reading_again_replaces_the_chunks_at_once(base: KnowledgeBase) -> None:
    document = work_on(add(base, 6))
    before = contents(document)
    actions.update_base(base, {"chunk_size": 200})
    document = actions.reindex_document(document)
    assert (document.status, document.attempt) == (DocumentStatus.UPLOADED, 0)
    assert contents(document) == before
    work_on(document)
    assert document.status == DocumentStatus.READY
    assert 0 < len(contents(document)) < len(before)
    assert ChunkVector.objects.count() == Chunk.objects.count() == document.chunks_total


def test_reading_again_takes_the_work_from_whoever_does_it(base: KnowledgeBase) -> None:
    document = add(base)
    ingest.prepare(document.pk)
    lease = leases.take(Document, document.pk, leases.due())
    assert lease is not None
    actions.reindex_document(document)
    with pytest.raises(leases.LeaseLost):
        lease.check()
    document.refresh_from_db()
    assert work_on(document).status == DocumentStatus.READY


@pytest.mark.parametrize("stage", ["uploaded", "embedding"])
def test_cancelling_a_first_reading_leaves_nothing_of_it(base: KnowledgeBase, stage: str) -> None:
    document = add(base)
    if stage == "embedding":
        ingest.prepare(document.pk)
    document = actions.cancel_document(document)
    assert document.status == DocumentStatus.CANCELLED
    assert not Chunk.objects.exists()
    ingest.prepare(document.pk)
    ingest.embed(document.pk)
    document.refresh_from_db()
    assert (document.status, document.chunks_total) == (DocumentStatus.CANCELLED, 0)
    assert actions.cancel_document(document).status == DocumentStatus.CANCELLED
    assert work_on(actions.reindex_document(document)).status == DocumentStatus.READY


def test_cancelling_a_second_reading_keeps_what_was_found_before(base: KnowledgeBase) -> None:
    document = work_on(add(base))
    actions.reindex_document(document)
    document = actions.cancel_document(document)
    assert document.status == DocumentStatus.CANCELLED
    assert len(contents(document)) == ChunkVector.objects.count() == 5


def test_a_ready_document_cannot_be_cancelled(base: KnowledgeBase) -> None:
    document = work_on(add(base))
    assert actions.cancel_document(document).status == DocumentStatus.READY


def test_deleting_a_document_leaves_nothing_of_it(base: KnowledgeBase) -> None:
    document, other = work_on(add(base)), work_on(add(base, topic="owl"))
    path = Path(document.file.path)
    actions.delete_document(document)
    assert list(Document.objects.all()) == [other]
    assert Chunk.objects.count() == ChunkVector.objects.count() == 5
    assert set(StageRun.objects.values_list("document", flat=True)) == {other.pk}
    assert not path.exists()
    for action in (actions.delete_document, actions.cancel_document, actions.reindex_document):
        with pytest.raises(NotFound) as refusal:
            action(document)
        assert refusal.value.error_code == "DOCUMENT_NOT_FOUND"


def test_a_deletion_that_is_rolled_back_keeps_the_file(base: KnowledgeBase) -> None:
    document = work_on(add(base))
    with transaction.atomic():
        actions.delete_document(document)
        transaction.set_rollback(True)
    assert Path(document.file.path).exists()
    assert len(contents(document)) == 5


# --- While a worker is busy with it ------------------------------------------------------------


def between_batches(monkeypatch: pytest.MonkeyPatch, action: object, document: Document) -> None:
    """Has another connection do something while a worker stores chunks or waits for a vendor."""
    done: list[bool] = []

    def meddle() -> None:
        if done:
            return
        done.append(True)

        def act() -> None:
            try:
                action(Document.objects.get(pk=document.pk))  # type: ignore[operator]
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(act).result()

    store, embed = chunks.store, ingest.vectors_of

    def storing(*arguments: object, **options: object) -> object:
        meddle()
        return store(*arguments, **options)  # type: ignore[arg-type]

    def embedding(*arguments: object) -> object:
        found = embed(*arguments)  # type: ignore[arg-type]
        meddle()
        return found

    monkeypatch.setattr(chunks, "store", storing)
    monkeypatch.setattr(ingest, "vectors_of", embedding)


def end_of(document: Document) -> str:
    row = Document.objects.filter(pk=document.pk).first()
    return row.status if row else "deleted"


@pytest.mark.parametrize("stage", ["chunking", "embedding"])
@pytest.mark.parametrize(
    ("action", "end"),
    [
        (actions.cancel_document, DocumentStatus.CANCELLED),
        (actions.delete_document, "deleted"),
        (lambda row: actions.delete_base(row.knowledge_base, force=True), "deleted"),
        (actions.reindex_document, DocumentStatus.UPLOADED),
    ],
    ids=["cancelled", "deleted", "base deleted", "started anew"],
)
def test_a_worker_that_was_overtaken_ends_quietly_and_stores_nothing(
    base: KnowledgeBase,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stage: str,
    action: object,
    end: str,
) -> None:
    document = add(base)
    if stage == "embedding":
        ingest.prepare(document.pk)
    between_batches(monkeypatch, action, document)
    (ingest.embed if stage == "embedding" else ingest.prepare)(document.pk)
    assert end_of(document) == end
    assert not ChunkVector.objects.exists()
    kept = 5 if (stage, end) == ("embedding", DocumentStatus.UPLOADED) else 0
    assert Chunk.objects.count() == kept
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


def elsewhere(action: Callable[[], object]) -> Future[object]:
    """Begins it on another connection; it may have to wait for this one."""

    def act() -> object:
        try:
            return action()
        finally:
            connections.close_all()

    pool = ThreadPoolExecutor(1)
    begun = pool.submit(act)
    pool.shutdown(wait=False)
    return begun


def await_waiting_lock_or(done: Future[object]) -> None:
    """Until a statement of another connection waits for a lock, or it is done without."""
    deadline = time.monotonic() + 10
    with connection.cursor() as cursor:
        while time.monotonic() < deadline and not done.done():
            cursor.execute("select count(*) from pg_locks where not granted")
            if cursor.fetchone()[0]:
                return


@pytest.mark.parametrize(
    "action",
    [
        lambda row: actions.delete_base(row.knowledge_base, force=True),
        actions.delete_document,
        actions.cancel_document,
        lambda row: actions.update_base(row.knowledge_base, {"name": "Other"}),
    ],
    ids=["base deleted", "deleted", "cancelled", "base changed"],
)
@pytest.mark.parametrize("at", ["store", "replace"])
def test_nobody_who_changes_something_meets_a_second_reading_in_a_deadlock(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, action: Any, at: str
) -> None:
    document = work_on(add(base))
    actions.reindex_document(document)
    begun: list[Future[object]] = []
    real = getattr(chunks, at)

    def meddled_with(*arguments: object, **options: object) -> object:
        result = real(*arguments, **options)
        if not begun:
            row = Document.objects.select_related("knowledge_base").get(pk=document.pk)
            begun.append(elsewhere(lambda: action(row)))
            if at == "store":
                begun[0].result(timeout=10)  # nothing of it waits while chunks are made
            else:
                await_waiting_lock_or(begun[0])
        return result

    monkeypatch.setattr(chunks, at, meddled_with)
    ingest.prepare(document.pk)
    begun[0].result(timeout=10)
    for run in StageRun.objects.all():
        assert run.error_code in ("", "restarted", "cancelled")


def test_a_change_of_model_meets_a_deletion_in_no_deadlock(
    alice: User, embedder: Llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    Llm.objects.update(is_enabled=False)
    base = actions.create_base(alice.pk, {"name": "Any"})
    failed, other = work_on(add(base)), work_on(add(base, topic="owl"))
    assert failed.error_code == other.error_code == "no_embedder"
    Llm.objects.update(is_enabled=True)
    begun: list[Future[object]] = []
    delete = chunks.delete_of_document

    def meanwhile(*arguments: str) -> None:
        row = KnowledgeBase.objects.get(pk=base.pk)
        begun.append(elsewhere(lambda: actions.update_base(row, {"embedder_id": embedder.pk})))
        await_waiting_lock_or(begun[0])
        delete(*arguments)

    monkeypatch.setattr(chunks, "delete_of_document", meanwhile)
    actions.delete_document(failed)
    begun[0].result(timeout=10)
    other.refresh_from_db()
    assert other.status == DocumentStatus.EMBEDDING
    assert list(Document.objects.all()) == [other]


def test_a_second_reading_that_was_cancelled_while_it_was_embedded_goes_on_there(
    base: KnowledgeBase,
) -> None:
    document = work_on(add(base))
    actions.reindex_document(document)
    ingest.prepare(document.pk)
    document = actions.cancel_document(document)
    assert document.error_message.startswith("Cancelled before all of it was embedded")
    document = actions.retry_document(document)
    assert (document.status, document.error_message) == (DocumentStatus.EMBEDDING, "")
    assert work_on(document).status == DocumentStatus.READY
    assert ChunkVector.objects.count() == 5


def test_deleting_many_chunks_takes_a_handful_of_statements(
    base: KnowledgeBase, django_assert_max_num_queries: object
) -> None:
    document = work_on(add(base, 300))
    with django_assert_max_num_queries(20):  # type: ignore[operator]
        actions.delete_document(document)
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from knowledge_chunk")
        assert cursor.fetchone() == (0,)
