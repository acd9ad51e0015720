"""`/knowledge-bases/{id}/documents` of the platform family."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from knowledge import actions, storage
from knowledge.models import Document, KnowledgeBase
from knowledge.names import MAX_NAME
from tests.conftest import client_with, make_key
from tests.knowledge.api.conftest import make_base, make_document
from tests.rest import data_of, error_of

pytestmark = pytest.mark.django_db

PATH = "/api/v1/knowledge-bases"


def documents(base: KnowledgeBase) -> str:
    return f"{PATH}/{base.pk}/documents"


def file_named(name: str, content: bytes = b"Press the red button.") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def send(client: APIClient, base: KnowledgeBase, **fields: Any) -> Any:
    return client.post(documents(base), fields, format="multipart")


class TestSendingAFile:
    def test_it_stores_it_and_shows_how_far_it_is(
        self, alice_api: APIClient, base: KnowledgeBase, media: Path
    ) -> None:
        made = data_of(send(alice_api, base, file=file_named("Manual.TXT")), 201)
        row = Document.objects.get()
        assert made.pop("createdAt")
        assert made.pop("updatedAt")
        assert made.pop("storageUrl").startswith("http://testserver/files/")
        assert made == {
            "id": row.pk,
            "kb_id": base.pk,
            "name": "Manual.TXT",
            "size": 21,
            "fileType": "txt",
            "status": "pending",
            "stage": "uploaded",
            "progress": 0.0,
            "attempt": 0,
            "nextAttemptAt": None,
            "chunkCount": 0,
            "chunksEmbedded": 0,
            "pageCount": None,
            "charCount": None,
            "warning": "",
            "errorCode": "",
            "errorMessage": "",
            "stages": [],
            "processedAt": None,
        }
        stored = [path for path in media.rglob("*") if path.is_file()]
        assert [path.name for path in stored] == [f"{row.pk}.txt"]
        assert stored[0].read_bytes() == b"Press the red button."

    def test_it_shows_the_name_that_was_asked_for(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        made = data_of(send(alice_api, base, file=file_named("scan0001.pdf"), name="Lease"), 201)
        assert (made["name"], made["fileType"]) == ("Lease", "pdf")

    def test_it_takes_the_type_from_the_name_of_a_nameless_file(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        made = data_of(send(alice_api, base, file=file_named("blob"), name="lease.md"), 201)
        assert (made["name"], made["fileType"]) == ("lease.md", "md")

    def test_it_takes_an_empty_file_for_the_worker_to_judge(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        made = data_of(send(alice_api, base, file=file_named("empty.txt", b"")), 201)
        assert (made["size"], made["status"]) == (0, "pending")

    @pytest.mark.parametrize("name", ["tool.exe", "archive.zip", "noending", "x.pdf.sh", "a.PDF "])
    def test_it_names_the_types_that_it_takes(
        self, alice_api: APIClient, base: KnowledgeBase, name: str
    ) -> None:
        response = send(alice_api, base, file=file_named(name))
        if name.strip().lower().endswith(".pdf"):
            data_of(response, 201)
            return
        error = error_of(response, 415)
        assert error["code"] == "UNSUPPORTED_FILE_TYPE"
        assert {"pdf", "docx", "md"} <= set(error["message"].replace(",", " ").rstrip(".").split())
        assert Document.objects.count() == 0

    def test_it_needs_a_file(self, alice_api: APIClient, base: KnowledgeBase) -> None:
        for fields in ({}, {"name": "x"}, {"file": "a text"}, {"other": file_named("a.txt")}):
            error = error_of(send(alice_api, base, **fields), 400)
            assert list(error["details"]) == ["file"]
        data_of(send(alice_api, base, file=file_named("a.txt")), 201)

    def test_it_refuses_a_body_that_is_no_form(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        for content_type in ("multipart/form-data; boundary=x", "multipart/form-data"):
            response = alice_api.post(documents(base), b"nonsense", content_type=content_type)
            error_of(response, 400)

    def test_it_refuses_a_file_beyond_the_limit(
        self, alice_api: APIClient, base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(storage, "MAX_FILE_BYTES", 100)
        data_of(send(alice_api, base, file=file_named("a.txt", b"x" * 100)), 201)
        error_of(send(alice_api, base, file=file_named("b.txt", b"x" * 101)), 413)
        assert Document.objects.count() == 1

    def test_it_refuses_a_huge_body_before_it_is_read(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        response = alice_api.post(
            documents(base),
            b"--x",
            content_type="multipart/form-data; boundary=x",
            CONTENT_LENGTH=str(51 * 2**20),
        )
        assert error_of(response, 413)["code"] == "PAYLOAD_TOO_LARGE"

    def test_it_keeps_large_files_out_of_memory(
        self, alice_api: APIClient, base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[Any] = []
        add = actions.add_document

        def watched(base: KnowledgeBase, upload: Any, **fields: Any) -> Document:
            sent.append(upload)
            return add(base, upload, **fields)

        monkeypatch.setattr(actions, "add_document", watched)
        large = io.BytesIO(b"All work and no play. " * 200_000)
        large.name = "large.txt"
        data_of(send(alice_api, base, file=large), 201)
        assert isinstance(sent[0], TemporaryUploadedFile)

    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("../../../etc/passwd.txt", "passwd.txt"),
            ("..\\..\\boot.txt", "boot.txt"),
            ("invoice\u202etxt.pdf", "invoicetxt.pdf"),
            ("长" * 300 + ".txt", "长" * (MAX_NAME - 4) + ".txt"),
            ("报告 (1).md", "报告 (1).md"),
            ('"><img src=x onerror=alert(1)>.txt', '"><img src=x onerror=alert(1)>.txt'),
        ],
    )
    def test_it_shows_hostile_names_without_their_tricks(
        self, alice_api: APIClient, base: KnowledgeBase, media: Path, given: str, shown: str
    ) -> None:
        made = data_of(send(alice_api, base, file=file_named("a.txt"), name=given), 201)
        assert made["name"] == shown
        stored = [path for path in media.rglob("*") if path.is_file()]
        assert [path.stem for path in stored] == [made["id"]]

    def test_it_recognises_a_file_that_the_base_has(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        first = data_of(send(alice_api, base, file=file_named("a.txt")), 201)
        error = error_of(send(alice_api, base, file=file_named("b.txt")), 409)
        assert error["code"] == "DUPLICATE_DOCUMENT"
        assert error["details"] == {"document_id": [first["id"]]}
        other = make_base(base.owner)
        data_of(send(alice_api, other, file=file_named("b.txt")), 201)


class TestSendingAText:
    def test_it_becomes_a_document(self, alice_api: APIClient, base: KnowledgeBase) -> None:
        body = {"name": "Opening hours", "content": "  Nine to five.\n"}
        made = data_of(alice_api.post(documents(base), body), 201)
        assert (made["name"], made["fileType"], made["status"]) == (
            "Opening hours",
            "txt",
            "pending",
        )
        with Document.objects.get().file.open() as stored:
            assert stored.read() == b"  Nine to five.\n"

    @pytest.mark.parametrize(
        ("body", "file_type"),
        [
            ({"name": "a", "fileType": "md"}, "md"),
            ({"name": "a", "file_type": "csv"}, "csv"),
            ({"name": "a.html"}, "html"),
            ({"name": "a.pdf"}, "txt"),
            ({"name": "a.md", "fileType": "txt"}, "txt"),
        ],
    )
    def test_it_takes_the_type_that_is_meant(
        self, alice_api: APIClient, base: KnowledgeBase, body: dict[str, Any], file_type: str
    ) -> None:
        made = data_of(alice_api.post(documents(base), {"content": "x", **body}), 201)
        assert made["fileType"] == file_type

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"name": {"x": 1}}, "name"),
            ({"content": ""}, "content"),
            ({"content": None}, "content"),
            ({"content": ["x"]}, "content"),
            ({"fileType": "pdf"}, "fileType"),
            ({"fileType": "exe"}, "fileType"),
            ({"fileType": "../x"}, "fileType"),
        ],
    )
    def test_it_refuses_wrong_values(
        self, alice_api: APIClient, base: KnowledgeBase, body: dict[str, Any], field: str
    ) -> None:
        good = {"name": "a", "content": "x"}
        error = error_of(alice_api.post(documents(base), {**good, **body}), 400)
        assert list(error["details"]) == [field]
        data_of(alice_api.post(documents(base), good), 201)

    def test_it_may_be_as_large_as_any_body_and_larger_as_a_file(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        content = "x" * (10 * 2**20 - 100)
        made = data_of(alice_api.post(documents(base), {"name": "a", "content": content}), 201)
        assert made["size"] == len(content)
        content = "y" * 10 * 2**20
        error = error_of(alice_api.post(documents(base), {"name": "b", "content": content}), 413)
        assert "send more than 10 MB as a file" in error["message"]
        data_of(send(alice_api, base, file=file_named("b.txt", content.encode())), 201)
        error = error_of(alice_api.post(PATH, {"name": "a", "description": content}), 413)
        assert "as a file" not in error["message"]

    def test_it_refuses_bodies_that_are_no_object(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        for body in ("[]", '"x"', "{", "null", '{"name": "a", "content": "\\u0000"}'):
            response = alice_api.post(documents(base), body, content_type="application/json")
            error_of(response, 400)


class TestReading:
    def test_it_shows_stages_with_times_counts_and_errors(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        row = make_document(
            base,
            status="failed",
            attempt=2,
            error_code="encrypted",
            error_message="The file is encrypted.",
            warning="Page 3 could not be read.",
        )
        started = timezone.now()
        row.stage_runs.create(
            stage="parsing",
            attempt=2,
            started_at=started,
            ended_at=started + timedelta(milliseconds=1500),
            items=7,
            error_code="encrypted",
            error_message="The file is encrypted.",
        )
        shown = data_of(alice_api.get(f"{documents(base)}/{row.pk}"))
        (stage,) = shown["stages"]
        assert stage.pop("startedAt")
        assert stage.pop("endedAt")
        assert stage == {
            "stage": "parsing",
            "attempt": 2,
            "durationMs": 1500,
            "items": 7,
            "errorCode": "encrypted",
            "errorMessage": "The file is encrypted.",
        }
        assert {name: shown[name] for name in ("status", "attempt", "errorCode", "warning")} == {
            "status": "failed",
            "attempt": 2,
            "errorCode": "encrypted",
            "warning": "Page 3 could not be read.",
        }
        assert shown["errorMessage"] == "The file is encrypted."

    def test_it_shows_the_latest_stages_of_many_without_loading_the_rest(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        row, other = make_document(base), make_document(base)
        for attempt in range(1, 30):
            row.stage_runs.create(stage="embedding", attempt=attempt)
        other.stage_runs.create(stage="parsing", attempt=1)
        with CaptureQueriesContext(connection) as queries:
            shown = data_of(alice_api.get(f"{documents(base)}/{row.pk}"))
        assert [stage["attempt"] for stage in shown["stages"]] == list(range(10, 30))
        (statement,) = (each["sql"] for each in queries if "knowledge_stagerun" in each["sql"])
        assert "ROW_NUMBER" in statement
        listed = data_of(alice_api.get(documents(base)))["items"]
        assert [len(each["stages"]) for each in listed] == [1, 20]

    @pytest.mark.parametrize(
        ("stage", "word", "progress"),
        [
            ("uploaded", "pending", 0.0),
            ("parsing", "processing", 0.05),
            ("chunking", "processing", 0.15),
            ("embedding", "processing", 0.6),
            ("ready", "completed", 1.0),
            ("failed", "failed", 0.0),
            ("cancelled", "cancelled", 0.0),
        ],
    )
    def test_it_calls_stages_in_the_words_of_the_family(
        self, alice_api: APIClient, base: KnowledgeBase, stage: str, word: str, progress: float
    ) -> None:
        row = make_document(base, status=stage, chunks_total=10, chunks_embedded=5)
        other = "pending" if stage != "uploaded" else "completed"
        shown = data_of(alice_api.get(f"{documents(base)}/{row.pk}"))
        assert (shown["stage"], shown["status"]) == (stage, word)
        assert shown["progress"] == pytest.approx(progress)
        for asked, found in ((word, [row.pk]), (other, [])):
            items = data_of(alice_api.get(f"{documents(base)}?status={asked}"))["items"]
            assert [item["id"] for item in items] == found

    def test_it_lists_newest_first_in_pages(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        rows = [make_document(base, f"{number}.txt") for number in range(3)]
        make_document(make_base(base.owner))
        page = data_of(alice_api.get(f"{documents(base)}?page_size=2"))
        assert [item["id"] for item in page["items"]] == [rows[2].pk, rows[1].pk]
        assert (page["total"], page["page"], page["page_size"]) == (3, 1, 2)
        assert list(error_of(alice_api.get(f"{documents(base)}?page=x"), 400)["details"]) == [
            "page"
        ]

    def test_it_lists_with_the_same_queries_however_many_there_are(
        self,
        alice_api: APIClient,
        base: KnowledgeBase,
        count_queries: Callable[[Callable[[], object]], int],
    ) -> None:
        def add() -> None:
            make_document(base).stage_runs.create(stage="parsing", attempt=1)

        add()
        alice_api.get(documents(base))  # the key's first use is noted
        few = count_queries(lambda: alice_api.get(documents(base)))
        for _number in range(4):
            add()
        assert count_queries(lambda: alice_api.get(documents(base))) == few

    @pytest.mark.parametrize("hostile", ["'", "%00", "..%2f..%2fetc", "a" * 10_000, "%ff"])
    def test_it_survives_hostile_ids(
        self, alice_api: APIClient, base: KnowledgeBase, document: Document, hostile: str
    ) -> None:
        data_of(alice_api.get(f"{documents(base)}/{document.pk}"))
        for url in (f"{documents(base)}/{hostile}", f"{PATH}/{hostile}/documents/{document.pk}"):
            for verb in ("get", "delete"):
                assert getattr(alice_api, verb)(url).status_code == 404


class TestWorking:
    def test_it_deletes_a_document(
        self, alice_api: APIClient, base: KnowledgeBase, document: Document
    ) -> None:
        url = f"{documents(base)}/{document.pk}"
        assert data_of(alice_api.delete(url)) == {"id": document.pk, "deleted": True}
        assert error_of(alice_api.get(url), 404)["code"] == "DOCUMENT_NOT_FOUND"

    def test_it_reads_a_document_again(
        self, alice_api: APIClient, base: KnowledgeBase, document: Document
    ) -> None:
        shown = data_of(alice_api.post(f"{documents(base)}/{document.pk}/reindex"))
        assert (shown["id"], shown["status"]) == (document.pk, "pending")

    def test_it_cancels_what_is_under_way(self, alice_api: APIClient, base: KnowledgeBase) -> None:
        row = make_document(base, status="uploaded")
        shown = data_of(alice_api.post(f"{documents(base)}/{row.pk}/cancel"))
        assert (shown["id"], shown["status"]) == (row.pk, "cancelled")

    def test_it_says_so_where_somebody_deletes_it_at_the_same_time(
        self, alice_api: APIClient, base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document = make_document(base)
        url = f"{documents(base)}/{document.pk}/reindex"
        assert data_of(alice_api.post(url))["id"] == document.pk
        restart = actions.reindex_document

        def restart_what_is_deleted_then(row: Document) -> Document:
            restarted = restart(row)
            actions.delete_document(document)
            return restarted

        monkeypatch.setattr(actions, "reindex_document", restart_what_is_deleted_then)
        assert error_of(alice_api.post(url), 404)["code"] == "DOCUMENT_NOT_FOUND"


ROUTES = [
    ("get", ""),
    ("post", ""),
    ("get", "/{document}"),
    ("delete", "/{document}"),
    ("post", "/{document}/reindex"),
    ("post", "/{document}/cancel"),
]


@pytest.mark.parametrize(("verb", "route"), ROUTES)
class TestIsolation:
    @pytest.fixture
    def call(self, verb: str, route: str) -> Callable[..., Any]:
        def call(client: APIClient, base_id: str, document_id: str) -> Any:
            path = f"{PATH}/{base_id}/documents{route.format(document=document_id)}"
            body = {"name": "a", "content": "x"} if (verb, route) == ("post", "") else None
            return getattr(client, verb)(path, body)

        return call

    @pytest.fixture
    def open_document(self, base: KnowledgeBase) -> Document:
        """A document that can be cancelled, read again and deleted alike."""
        return make_document(base, status="uploaded")

    def test_it_answers_a_foreign_base_like_an_unknown_one(
        self,
        alice_api: APIClient,
        bob_api: APIClient,
        call: Callable[..., Any],
        open_document: Document,
    ) -> None:
        base_id = open_document.knowledge_base_id
        foreign = call(bob_api, base_id, open_document.pk)
        unknown = call(bob_api, "000000000000", open_document.pk)
        assert error_of(foreign, 404)["code"] == "KNOWLEDGE_BASE_NOT_FOUND"
        assert foreign.json() == unknown.json()
        assert call(alice_api, base_id, open_document.pk).status_code in (200, 201)

    def test_it_finds_no_document_through_another_base(
        self,
        alice_api: APIClient,
        bob_api: APIClient,
        bob: User,
        alice: User,
        call: Callable[..., Any],
        route: str,
        open_document: Document,
    ) -> None:
        if not route:
            return
        for client, owner in ((bob_api, bob), (alice_api, alice)):
            mixed = call(client, make_base(owner).pk, open_document.pk)
            unknown = call(client, make_base(owner).pk, "000000000000")
            assert error_of(mixed, 404)["code"] == "DOCUMENT_NOT_FOUND"
            assert mixed.json() == unknown.json()
        assert call(alice_api, open_document.knowledge_base_id, open_document.pk).status_code == 200

    def test_operators_may_do_everything(
        self, carol_api: APIClient, call: Callable[..., Any], open_document: Document
    ) -> None:
        answer = call(carol_api, open_document.knowledge_base_id, open_document.pk)
        assert answer.status_code in (200, 201)

    def test_users_only_read_what_is_the_systems(
        self, alice_api: APIClient, carol_api: APIClient, call: Callable[..., Any], verb: str
    ) -> None:
        row = make_document(make_base(None), status="uploaded")
        answer = call(alice_api, row.knowledge_base_id, row.pk)
        if verb == "get":
            data_of(answer)
            return
        assert error_of(answer, 403)["code"] == "FORBIDDEN"
        assert call(carol_api, row.knowledge_base_id, row.pk).status_code in (200, 201)

    def test_it_needs_the_scope_to_manage(
        self, alice: User, call: Callable[..., Any], open_document: Document
    ) -> None:
        base_id, document_id = open_document.knowledge_base_id, open_document.pk
        talking = client_with(make_key(alice, scopes=["chat", "voice"]))
        assert error_of(call(talking, base_id, document_id), 403)["code"] == "FORBIDDEN"
        managing = client_with(make_key(alice, scopes=["manage"]))
        assert call(managing, base_id, document_id).status_code in (200, 201)


@pytest.fixture
def hurried(alice: User) -> APIClient:
    """A client of alice that may ask twice a minute."""
    return client_with(make_key(alice, requests_per_minute=2))


def test_it_counts_requests_like_everything_else(hurried: APIClient, base: KnowledgeBase) -> None:
    for _number in range(2):
        data_of(hurried.get(documents(base)))
    response = hurried.get(documents(base))
    assert error_of(response, 429)["code"] == "RATE_LIMITED"
    assert int(response["Retry-After"]) > 0
