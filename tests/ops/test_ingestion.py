"""Workers that are killed in the middle of a document: it is finished once, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from django.db import connection

from accounts.models import User
from knowledge import actions, ingest, tasks
from knowledge.models import Chunk, ChunkVector, Document, DocumentStatus, KnowledgeBase, StageRun
from providers.fakes import FakeUpstream, Step
from tests.knowledge.conftest import embedder, vendor_base, vendor_embedder
from tests.knowledge.documents import add, contents, make_due
from tests.ops.product import ROOT, Product, eventually

__all__ = ["embedder", "vendor_base", "vendor_embedder"]

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

STARTS_WITHIN_S = 60


def environment() -> dict[str, str]:
    """That of the tests, with the database that pytest-django made."""
    address, _slash, _name = os.environ["DATABASE_URL"].rpartition("/")
    database = connection.settings_dict["NAME"]
    return {
        **os.environ,
        "DATABASE_URL": f"{address}/{database}",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "LOG_LEVEL": "INFO",
    }


@contextlib.contextmanager
def running_worker(queue: str, pool: str, log: Path) -> Iterator[psutil.Process]:
    """A Celery worker for one queue, in a session of its own."""
    command = ["-m", "celery", "--quiet", "-A", "config.celery", "worker", "-n", f"{queue}@tests"]
    options = ["-Q", queue, "-P", pool, "-c", "1", "--without-gossip", "--without-mingle"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command, *options],
            cwd=ROOT,
            env=environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def kill(worker: psutil.Process) -> None:
    """As the kernel does when memory runs out: no word to anybody, and what it started ends too."""
    helpers = worker.children(recursive=True)
    worker.kill()
    _, left = psutil.wait_procs([worker, *helpers], timeout=20)
    assert not left


def sweep_until(document: Document, status: DocumentStatus) -> bool:
    """Whether the document comes to the status while the sweeper runs, whose beat is not here."""

    def is_there() -> bool:
        tasks.sweep()
        document.refresh_from_db()
        return document.status == status

    return eventually(is_there, within_s=STARTS_WITHIN_S)


def runs_of(document: Document) -> list[tuple[str, int, str]]:
    runs = StageRun.objects.filter(document=document).order_by("pk")
    return [(run.stage, run.attempt, run.error_code) for run in runs]


def test_embedding_goes_on_where_a_killed_worker_stopped(
    vendor_base: KnowledgeBase, upstream: FakeUpstream, tmp_path: Path
) -> None:
    document = add(vendor_base, 300)
    ingest.prepare(document.pk)
    upstream.script("embeddings", Step(), Step(), Step(wait_ms=600_000))
    log = tmp_path / "worker.log"
    with running_worker("ingest", "threads", log) as worker:
        tasks.sweep()
        assert upstream.stats.wait_until(
            lambda stats: stats.of("embeddings").requests == 3, timeout_s=STARTS_WITHIN_S
        ), log.read_text()
        kill(worker)
    document.refresh_from_db()
    assert (document.status, document.chunks_embedded) == (DocumentStatus.EMBEDDING, 128)
    assert document.lease_until is not None
    make_due(document)
    with running_worker("ingest", "threads", log):
        assert sweep_until(document, DocumentStatus.READY), log.read_text()
    assert document.chunks_embedded == document.chunks_total == 300
    assert ChunkVector.objects.count() == Chunk.objects.count() == 300
    assert runs_of(document)[2:] == [("embedding", 1, "worker_lost"), ("embedding", 2, "")]
    asked = [request["body"]["input"] for request in upstream.stats.last("embeddings")]
    assert [len(texts) for texts in asked] == [64, 64, 64, 64, 64, 44]
    assert asked[2] == asked[3]  # only what was under way


@pytest.fixture
def long_document(vendor_base: KnowledgeBase, alice: User) -> Document:
    """A document that takes seconds to read and to cut."""
    content = "".join(f"Line {n} of a text that takes a while to be read.\n" for n in range(15_000))
    return actions.add_text(vendor_base, name="long.txt", content=content)


@pytest.mark.parametrize("status", [DocumentStatus.PARSING, DocumentStatus.CHUNKING])
@pytest.mark.parametrize("victim", ["worker", "pool process"])
def test_reading_begins_anew_after_a_killed_worker(
    long_document: Document, tmp_path: Path, status: DocumentStatus, victim: str
) -> None:
    document, log = long_document, tmp_path / "worker.log"
    log.touch()

    def is_there() -> bool:
        document.refresh_from_db()
        return document.status == status

    with running_worker("parse", "prefork", log) as worker:
        assert eventually(is_there, within_s=STARTS_WITHIN_S), log.read_text()
        if victim == "worker":
            kill(worker)
        else:
            kill(worker.children()[0])
        document.refresh_from_db()
        assert document.status == status
        assert not Chunk.objects.exists()
        make_due(document)
        if victim == "pool process":
            assert sweep_until(document, DocumentStatus.EMBEDDING), log.read_text()
    if victim == "worker":
        with running_worker("parse", "prefork", log):
            assert sweep_until(document, DocumentStatus.EMBEDDING), log.read_text()
    assert document.chunks_total == Chunk.objects.count() > 5_000
    assert contents(document)[-1].endswith("Line 14999 of a text that takes a while to be read.")
    first, *others = runs_of(document)
    if status == DocumentStatus.PARSING:
        assert first == ("parsing", 1, "worker_lost")
    else:
        assert others[0] == ("chunking", 1, "worker_lost")
    assert runs_of(document)[-2:] == [("parsing", 2, ""), ("chunking", 2, "")]


# --- The whole product -------------------------------------------------------------------------


def test_a_document_is_finished_once_though_worker_and_database_are_killed(
    product: Product,
) -> None:
    headers = {"X-Api-Key": product.login()["API key"]}
    with httpx.Client(
        base_url=f"{product.url()}/api/v1/knowledge-bases", headers=headers, timeout=60
    ) as client:
        base = client.post("", json={"name": "Large", "chunkSize": 200}).json()["data"]
        text = "".join(
            f"Line {n} of a long text about foxes, {n * 7} of them.\n\n" for n in range(9000)
        )
        made = client.post(f"/{base['id']}/documents", files={"file": ("long.txt", text.encode())})
        document_id = made.json()["data"]["id"]

        def progress() -> tuple[str, int]:
            with psycopg.connect(product.runtime()["DATABASE_URL"]) as database:
                row = database.execute(
                    "select status, chunks_embedded from knowledge_document where id = %s",
                    [document_id],
                ).fetchone()
            assert row is not None
            return str(row[0]), int(row[1])

        assert eventually(lambda: progress()[1] >= 64, within_s=120), product.said()
        product.part("bin/postgres").kill()
        assert eventually(product.is_well, within_s=120), product.said()
        status, embedded = progress()
        assert (status, embedded > 0) == ("embedding", True)
        product.part("worker", "io@").kill()
        assert eventually(product.is_well, within_s=120), product.said()
        assert eventually(lambda: progress()[0] == "ready", within_s=240), product.said()
        found = client.get(f"/{base['id']}/documents/{document_id}").json()["data"]
        assert (found["status"], found["errorMessage"]) == ("completed", "")
    with psycopg.connect(product.runtime()["DATABASE_URL"]) as database:
        counts = database.execute(
            "select count(*), count(distinct ordinal), max(ordinal) + 1,"
            " (select count(*) from knowledge_chunkvector),"
            " (select chunks_total from knowledge_document) from knowledge_chunk"
        ).fetchone()
    assert counts is not None
    assert len(set(counts)) == 1, counts
    assert counts[0] > 1500
