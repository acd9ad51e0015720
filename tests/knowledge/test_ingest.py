"""From a file to something that is found: what happens on the way, and what goes wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.utils import timezone

from knowledge import actions, attempts, embedding, ingest, leases, spaces, upkeep
from knowledge.attempts import MAX_ATTEMPTS
from knowledge.models import (
    Chunk,
    ChunkVector,
    Document,
    DocumentStatus,
    KnowledgeBase,
    Stage,
    StageRun,
)
from knowledge.parse import ParseFailed
from knowledge.types import Block, Parsed
from providers.builtin.hashing import DEFAULT_DIMENSIONS
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.knowledge.documents import add, contents, make_due, text_of, work_on

# The leases are renewed by a thread with a connection of its own.
pytestmark = pytest.mark.django_db(transaction=True)


def runs_of(document: Document) -> list[tuple[str, int, int, str]]:
    runs = StageRun.objects.filter(document=document).order_by("pk")
    assert all(run.ended_at and run.ended_at >= run.started_at for run in runs)
    return [(run.stage, run.attempt, run.items, run.error_code) for run in runs]


def lexeme_count(document: Document) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "select min(length(lexemes)) from knowledge_chunk where document_id = %s",
            [document.pk],
        )
        return int(cursor.fetchone()[0])


# --- Reading, cutting, embedding ---------------------------------------------------------------


def test_a_document_becomes_ready_with_a_vector_for_each_chunk(base: KnowledgeBase) -> None:
    document = work_on(add(base, 5))
    assert (document.status, document.error_message) == (DocumentStatus.READY, "")
    assert (document.chunks_total, document.chunks_embedded) == (5, 5)
    assert document.char_count == len(text_of(5))
    assert document.processed_at is not None
    assert document.progress == 1
    assert contents(document)[0].startswith("00000 about the fox")
    assert lexeme_count(document) > 3
    assert ChunkVector.objects.count() == 5
    space = spaces.active_space(base)
    assert space is not None
    assert (space.embedder_id, space.dimensions) == (base.embedder_id, DEFAULT_DIMENSIONS)


def test_each_stage_keeps_its_times_counts_and_attempt(base: KnowledgeBase) -> None:
    document = work_on(add(base, 5))
    assert runs_of(document) == [
        (Stage.PARSING, 1, len(text_of(5)), ""),
        (Stage.CHUNKING, 1, 5, ""),
        (Stage.EMBEDDING, 1, 5, ""),
    ]


def test_chunks_are_found_by_words_before_they_have_vectors(base: KnowledgeBase) -> None:
    document = add(base, 3)
    ingest.prepare(document.pk)
    document.refresh_from_db()
    assert document.status == DocumentStatus.EMBEDDING
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from knowledge_chunk where lexemes @@ 'quick'::tsquery")
        assert cursor.fetchone() == (3,)


def test_the_name_and_the_headings_are_embedded_with_the_text(
    vendor_base: KnowledgeBase, upstream: FakeUpstream
) -> None:
    content = f"# Animals\n\n## Foxes\n\n{text_of(3)}\n"
    document = work_on(
        actions.add_text(vendor_base, name="wild_life-4.md", content=content, file_type="md")
    )
    assert document.status == DocumentStatus.READY
    (request,) = upstream.stats.last("embeddings")
    assert request["body"]["input"][-1].startswith(
        "wild life 4 > Animals > Foxes\n00002 about the fox"
    )


def test_a_chunk_is_found_by_the_name_of_its_document(base: KnowledgeBase) -> None:
    work_on(actions.add_text(base, name="wild_life-4.txt", content=text_of(3)))
    with connection.cursor() as cursor:
        cursor.execute("select bool_and(lexemes @@ 'life:A'::tsquery) from knowledge_chunk")
        assert cursor.fetchone() == (True,)


def test_progress_is_visible_after_each_batch(
    vendor_base: KnowledgeBase, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "BATCH", 2)
    document = add(vendor_base, 5)
    ingest.prepare(document.pk)
    upstream.script("embeddings", Step(), Step(), Step(status=500))
    ingest.embed(document.pk)
    document.refresh_from_db()
    assert (document.status, document.chunks_embedded) == (DocumentStatus.EMBEDDING, 4)
    assert 0.2 < document.progress < 1


def test_a_document_is_worked_on_by_one_worker_at_a_time(base: KnowledgeBase) -> None:
    document = add(base)
    Document.objects.filter(pk=document.pk).update(
        lease_until=timezone.now() + timedelta(minutes=1)
    )
    ingest.prepare(document.pk)
    document.refresh_from_db()
    assert (document.status, document.attempt) == (DocumentStatus.UPLOADED, 0)
    make_due(document)
    ingest.prepare(document.pk)
    document.refresh_from_db()
    assert document.status == DocumentStatus.EMBEDDING


def test_a_second_message_for_a_finished_step_does_nothing(base: KnowledgeBase) -> None:
    document = work_on(add(base))
    before = runs_of(document)
    ingest.prepare(document.pk)
    ingest.embed(document.pk)
    ingest.embed("unknown")
    assert runs_of(document) == before


# --- What cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("blank.txt", b" \n\n \t ", "no_text"),
        ("broken.pdf", b"%PDF-1.7 and nothing more", "broken"),
        ("binary.txt", bytes(range(256)) * 40, "unsupported_content"),
    ],
)
def test_what_cannot_be_read_fails_at_once_with_words_on_the_row(
    base: KnowledgeBase, name: str, content: bytes, code: str
) -> None:
    document = work_on(actions.add_document(base, ContentFile(content, name=name), name=name))
    assert (document.status, document.error_code) == (DocumentStatus.FAILED, code)
    assert document.error_message
    assert document.next_attempt_at is None
    assert runs_of(document)[-1][3] == code
    readable = work_on(add(base))
    assert readable.status == DocumentStatus.READY


def test_a_missing_file_fails_at_once(base: KnowledgeBase) -> None:
    document = add(base)
    Path(document.file.path).unlink()
    work_on(document)
    assert (document.status, document.error_code) == (DocumentStatus.FAILED, "missing")


def parser_that(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
    """Stands in for a reader that behaves so: what it meets is beyond a test's reach."""

    def parse_file(path: Path, file_type: str, **options: Any) -> Parsed:
        if isinstance(outcome, Exception):
            raise outcome
        found: Parsed = outcome
        return found

    monkeypatch.setattr(ingest, "parse_file", parse_file)


def test_a_reader_that_was_too_slow_gets_one_more_chance(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser_that(monkeypatch, ParseFailed("stalled"))
    document = work_on(add(base))
    assert (document.status, document.error_code) == (DocumentStatus.UPLOADED, "timed_out")
    assert document.next_attempt_at is not None
    make_due(document)
    work_on(document)
    assert (document.status, document.attempt) == (DocumentStatus.FAILED, 2)


def test_a_failure_of_the_machine_is_tried_five_times(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser_that(monkeypatch, ParseFailed("unavailable"))
    document = add(base)
    for _attempt in range(MAX_ATTEMPTS):
        assert document.status == DocumentStatus.UPLOADED
        make_due(document)
        work_on(document)
    assert (document.status, document.attempt) == (DocumentStatus.FAILED, MAX_ATTEMPTS)
    assert [run[1] for run in runs_of(document)] == [1, 2, 3, 4, 5]


def test_a_worker_that_was_stopped_does_not_bring_back_failures_of_before(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = add(base)
    parser_that(monkeypatch, ParseFailed("killed"))
    for _attempt in range(MAX_ATTEMPTS):
        make_due(document)
        ingest.prepare(document.pk)
    document = actions.retry_document(document)
    lease = attempts.begin(document.pk, Stage.PARSING, leases.due())
    assert lease is not None
    attempts.stop(lease)
    for attempt in range(2, MAX_ATTEMPTS + 2):
        document.refresh_from_db()
        assert document.status != DocumentStatus.FAILED
        make_due(document)
        ingest.prepare(document.pk)
        document.refresh_from_db()
        assert document.attempt == attempt
    assert document.status == DocumentStatus.FAILED


def test_an_error_nobody_foresaw_is_logged_and_not_shown(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parser_that(monkeypatch, RuntimeError("secret detail"))
    document = work_on(add(base))
    assert (document.status, document.error_code) == (DocumentStatus.UPLOADED, "internal_error")
    assert "secret" not in document.error_message
    assert "secret detail" in caplog.text


def test_a_document_that_kills_its_worker_each_time_fails(base: KnowledgeBase) -> None:
    document = add(base)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        StageRun.objects.create(document=document, stage=Stage.PARSING, attempt=attempt)
        Document.objects.filter(pk=document.pk).update(
            status=DocumentStatus.PARSING, attempt=attempt, lease_until=timezone.now()
        )
        document.refresh_from_db()
        if attempt < MAX_ATTEMPTS:
            StageRun.objects.filter(document=document).update(
                ended_at=timezone.now(), error_code="worker_lost"
            )
    make_due(document)
    work_on(document)
    assert (document.status, document.error_code) == (DocumentStatus.FAILED, "worker_lost")
    assert str(MAX_ATTEMPTS) in document.error_message


# --- Images ------------------------------------------------------------------------------------

TEXT = "Only seven pages have text."
SCANNED = Parsed(TEXT, (Block("paragraph", 0, len(TEXT), 1),), page_count=10, image_pages=(2, 5, 9))


def test_pages_that_are_images_are_named_where_there_is_no_ocr(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser_that(monkeypatch, SCANNED)
    monkeypatch.setattr(ingest, "ocr_is_installed", lambda: False)
    document = work_on(add(base))
    assert document.status == DocumentStatus.READY
    assert document.warning.startswith("3 of 10 pages are images")


def test_pages_that_are_images_go_to_the_ocr_queue(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser_that(monkeypatch, SCANNED)
    monkeypatch.setattr(ingest, "ocr_is_installed", lambda: True)
    monkeypatch.setattr(upkeep, "ocr_is_installed", lambda: True)
    document = work_on(add(base))
    assert (document.status, document.needs_ocr) == (DocumentStatus.UPLOADED, True)
    assert ingest.next_step(document) == "prepare_with_ocr"
    assert upkeep.waiting_documents("prepare", limit=9) == []
    assert upkeep.waiting_documents("prepare_with_ocr", limit=9) == [document]
    ingest.prepare(document.pk, with_ocr=True)
    document.refresh_from_db()
    assert document.status == DocumentStatus.EMBEDDING
    # OCR was uninstalled: nobody would take it from that queue.
    actions.reindex_document(document)
    monkeypatch.setattr(ingest, "ocr_is_installed", lambda: False)
    monkeypatch.setattr(upkeep, "ocr_is_installed", lambda: False)
    assert upkeep.waiting_documents("prepare", limit=9) == [document]


# --- The vendor --------------------------------------------------------------------------------


@pytest.fixture
def prepared(vendor_base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> Document:
    """A document of eight chunks that waits for its vectors, four at once."""
    monkeypatch.setattr(embedding, "BATCH", 4)
    document = add(vendor_base, 8)
    ingest.prepare(document.pk)
    document.refresh_from_db()
    return document


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again_where_it_stopped(
    prepared: Document, upstream: FakeUpstream, status: int
) -> None:
    upstream.script("embeddings", Step(), Step(status=status))
    work_on(prepared)
    assert (prepared.status, prepared.chunks_embedded) == (DocumentStatus.EMBEDDING, 4)
    assert prepared.error_code == "embedding_failed"
    assert prepared.next_attempt_at is not None
    ingest.embed(prepared.pk)
    assert upstream.stats.of("embeddings").requests == 2  # its time has not come
    make_due(prepared)
    work_on(prepared)
    assert (prepared.status, prepared.error_code) == (DocumentStatus.READY, "")
    assert upstream.stats.of("embeddings").requests == 3
    assert [run[2] for run in runs_of(prepared)[2:]] == [4, 4]


def test_a_vendor_is_waited_for_as_long_as_it_asks(
    prepared: Document, upstream: FakeUpstream
) -> None:
    upstream.script("embeddings", Step(status=429, headers={"Retry-After": "300"}))
    work_on(prepared)
    assert prepared.next_attempt_at is not None
    assert 290 < (prepared.next_attempt_at - timezone.now()).total_seconds() < 310


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_needs_a_person_fails_at_once(
    prepared: Document, upstream: FakeUpstream, status: int
) -> None:
    upstream.script("embeddings", Step(status=status))
    work_on(prepared)
    assert (prepared.status, prepared.error_code) == (DocumentStatus.FAILED, "embedding_failed")
    assert prepared.error_message
    assert upstream.stats.of("embeddings").requests == 1
    assert len(contents(prepared)) == 8  # still found by words
    work_on(actions.retry_document(prepared))
    prepared.refresh_from_db()
    assert (prepared.status, prepared.chunks_embedded) == (DocumentStatus.READY, 8)
    assert [run[0] for run in runs_of(prepared)].count(Stage.PARSING) == 1


def test_attempts_that_bring_nothing_end_the_document(
    prepared: Document, upstream: FakeUpstream
) -> None:
    upstream.script("embeddings", *[Step(status=500)] * MAX_ATTEMPTS)
    for _attempt in range(MAX_ATTEMPTS):
        assert prepared.status == DocumentStatus.EMBEDDING
        make_due(prepared)
        work_on(prepared)
    assert (prepared.status, prepared.attempt) == (DocumentStatus.FAILED, MAX_ATTEMPTS)
    assert upstream.stats.of("embeddings").requests == MAX_ATTEMPTS


def test_attempts_that_bring_something_do_not(
    vendor_base: KnowledgeBase, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "BATCH", 1)
    document = add(vendor_base, 8)
    for _attempt in range(7):
        upstream.script("embeddings", Step(), Step(status=429))
        make_due(document)
        work_on(document)
        assert document.status == DocumentStatus.EMBEDDING
    make_due(document)
    work_on(document)
    assert (document.status, document.attempt) == (DocumentStatus.READY, 8)


def test_one_refused_text_does_not_keep_the_others_back(
    prepared: Document, upstream: FakeUpstream
) -> None:
    no, yes = Step(status=400), Step()
    # All four; the first two; the others; the third; the fourth, and its beginning.
    upstream.script("embeddings", no, yes, no, yes, no, yes)
    work_on(prepared)
    assert (prepared.status, prepared.chunks_embedded) == (DocumentStatus.READY, 8)
    assert prepared.warning.startswith("Chunks that were too long")


def test_a_model_that_refuses_everything_is_not_asked_for_each_text(
    prepared: Document, upstream: FakeUpstream
) -> None:
    upstream.script("embeddings", *[Step(status=400)] * 50)
    work_on(prepared)
    assert (prepared.status, prepared.error_code) == (DocumentStatus.FAILED, "embedding_failed")
    assert upstream.stats.of("embeddings").requests < 10


def test_vectors_of_another_size_are_refused(prepared: Document, upstream: FakeUpstream) -> None:
    upstream.script("embeddings", Step(), Step(status=500))
    work_on(prepared)
    upstream.behaviour.dimensions = 9
    make_due(prepared)
    work_on(prepared)
    assert (prepared.status, prepared.chunks_embedded) == (DocumentStatus.FAILED, 4)
    assert "9 dimensions" in prepared.error_message


def test_numbers_that_are_none_are_not_stored(prepared: Document, upstream: FakeUpstream) -> None:
    rows = ",".join(f'{{"index":{n},"embedding":[NaN,1,1,1,1,1,1,1]}}' for n in range(4))
    upstream.script("embeddings", Step(raw=f'{{"data":[{rows}]}}', content_type="application/json"))
    work_on(prepared)
    assert (prepared.status, prepared.chunks_embedded) == (DocumentStatus.EMBEDDING, 0)
    assert prepared.error_code == "embedding_failed"
    assert not ChunkVector.objects.exists()


def test_huge_tiny_and_empty_vectors_fit_half_precision(
    prepared: Document, upstream: FakeUpstream
) -> None:
    scales = ("1e30", "1e-30", "0", "1")
    rows = ",".join(
        f'{{"index":{n},"embedding":[{",".join([scale] * 8)}]}}' for n, scale in enumerate(scales)
    )
    upstream.script("embeddings", Step(raw=f'{{"data":[{rows}]}}', content_type="application/json"))
    work_on(prepared)
    assert prepared.status == DocumentStatus.READY
    with connection.cursor() as cursor:
        cursor.execute("select max(abs(l2_norm(embedding) - 1)) from knowledge_chunkvector")
        assert cursor.fetchone()[0] < 0.01


# --- No model ----------------------------------------------------------------------------------


def test_a_base_without_a_model_says_so_and_is_embedded_when_it_has_one(
    vendor_base: KnowledgeBase, vendor_embedder: Llm, embedder: Llm
) -> None:
    Llm.objects.filter(pk=vendor_embedder.pk).update(is_enabled=False)
    document = work_on(add(vendor_base))
    assert (document.status, document.error_code) == (DocumentStatus.FAILED, "no_embedder")
    assert Chunk.objects.filter(document=document).count() == 5
    actions.update_base(vendor_base, {"embedder_id": embedder.pk})
    document.refresh_from_db()
    assert document.status == DocumentStatus.EMBEDDING
    assert work_on(document).status == DocumentStatus.READY
