"""`/knowledge`, `/knowledge_file` and `/upload` of the agentchat family."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from knowledge import storage
from knowledge.links import signed_url
from knowledge.models import Document, KnowledgeBase, SearchRecord, Upload
from tests.conftest import client_with, make_key
from tests.knowledge.api.conftest import make_base, make_chunks, make_document, make_upload

pytestmark = pytest.mark.django_db

ROOT = "/api/v1"
KNOWLEDGE = f"{ROOT}/knowledge"
FILES = f"{ROOT}/knowledge_file"


def data_of(response: Any) -> Any:
    """What an answer of this family holds, after a look at its status and envelope."""
    assert response.status_code == 200, response.content
    body = response.json()
    assert (body["status_code"], body["status_message"]) == (200, "SUCCESS"), body
    assert set(body) == {"status_code", "status_message", "data"}
    return body["data"]


def refusal_of(response: Any, code: int) -> str:
    """The message of an error in the envelope; business errors are HTTP 200."""
    assert response.status_code == (code if code in (401, 413, 415, 422, 429) else 200)
    body = response.json()
    assert (body["status_code"], body["data"]) == (code, None), body
    message: str = body["status_message"]
    return message


def upload(client: APIClient, name: str = "notes.txt", content: bytes = b"Some notes.") -> Any:
    file = SimpleUploadedFile(name, content)
    return client.post(f"{ROOT}/upload", {"file": file}, format="multipart")


class TestBases:
    def test_it_makes_one_and_says_its_id(self, alice_api: APIClient, alice: User) -> None:
        body = {"knowledge_name": "手册", "knowledge_desc": "所有机器"}
        made = data_of(alice_api.post(f"{KNOWLEDGE}/create", body))
        row = KnowledgeBase.objects.get()
        assert datetime.fromisoformat(made.pop("create_time"))
        assert datetime.fromisoformat(made.pop("update_time"))
        assert made == {
            "id": row.pk,
            "name": "手册",
            "description": "所有机器",
            "user_id": str(alice.pk),
            "count": 0,
            "file_size": "0B",
        }
        assert [each["id"] for each in data_of(alice_api.get(f"{KNOWLEDGE}/select"))] == [row.pk]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"knowledge_name": None}, "knowledge_name"),
            ({"knowledge_name": "x"}, "knowledge_name"),
            ({"knowledge_name": " x "}, "knowledge_name"),
            ({"knowledge_name": "x" * 51}, "knowledge_name"),
            ({"knowledge_desc": "x" * 501}, "knowledge_desc"),
            ({"knowledge_desc": []}, "knowledge_desc"),
        ],
    )
    def test_it_refuses_wrong_values(
        self, alice_api: APIClient, base: KnowledgeBase, body: dict[str, Any], field: str
    ) -> None:
        good = {"knowledge_name": "xy", "knowledge_desc": ""}
        made = alice_api.post(f"{KNOWLEDGE}/create", {**good, **body})
        changed = alice_api.put(f"{KNOWLEDGE}/update", {"knowledge_id": base.pk, **body})
        for refused in (made, changed):
            assert field in refusal_of(refused, 422)
            assert refused.json()["detail"][0]["loc"] == ["body", field]
        data_of(alice_api.post(f"{KNOWLEDGE}/create", good))

    @pytest.mark.parametrize("length", [2, 10, 50])
    def test_it_takes_names_of_two_to_fifty_characters(
        self, alice_api: APIClient, length: int
    ) -> None:
        data_of(alice_api.post(f"{KNOWLEDGE}/create", {"knowledgeName": "知" * length}))

    def test_names_are_unique_for_each_user(self, alice_api: APIClient, bob_api: APIClient) -> None:
        for name in ("Manuals", "Recipes"):
            data_of(alice_api.post(f"{KNOWLEDGE}/create", {"knowledge_name": name}))
        row = KnowledgeBase.objects.get(name="Recipes")
        refusal_of(alice_api.post(f"{KNOWLEDGE}/create", {"knowledge_name": "Manuals"}), 500)
        rename = {"knowledge_id": row.pk, "knowledge_name": "Manuals"}
        refusal_of(alice_api.put(f"{KNOWLEDGE}/update", rename), 500)
        data_of(alice_api.put(f"{KNOWLEDGE}/update", {**rename, "knowledge_name": "Recipes"}))
        data_of(bob_api.post(f"{KNOWLEDGE}/create", {"knowledge_name": "Manuals"}))

    @pytest.mark.django_db(transaction=True)
    def test_a_name_is_given_once_to_requests_at_the_same_time(self, alice: User) -> None:
        client = client_with(make_key(alice))

        def create(_number: int) -> int:
            try:
                answer = client.post(f"{KNOWLEDGE}/create", {"knowledge_name": "Manuals"})
                return int(answer.json()["status_code"])
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            codes = sorted(pool.map(create, range(4)))
        assert codes == [200, 500, 500, 500]

    def test_it_lists_own_ones_and_the_systems(
        self, alice_api: APIClient, bob_api: APIClient, carol_api: APIClient, base: KnowledgeBase
    ) -> None:
        make_document(base, content=b"x" * 1000)
        make_document(base, content=b"x" * 229)
        system = make_base(None, "Ours")
        mine, ours = sorted(data_of(alice_api.get(f"{KNOWLEDGE}/select")), key=lambda r: r["name"])
        assert (mine["id"], mine["count"], mine["file_size"]) == (base.pk, 2, "1.2KB")
        assert (ours["id"], ours["user_id"]) == (system.pk, "0")
        assert [row["id"] for row in data_of(bob_api.get(f"{KNOWLEDGE}/select"))] == [system.pk]
        assert len(data_of(carol_api.get(f"{KNOWLEDGE}/select"))) == 2
        assert len(data_of(alice_api.get(f"{KNOWLEDGE}/select?limit=1"))) == 1

    def test_it_lists_with_the_same_queries_however_many_there_are(
        self,
        alice_api: APIClient,
        base: KnowledgeBase,
        count_queries: Callable[[Callable[[], object]], int],
    ) -> None:
        calls = [
            lambda: alice_api.get(f"{KNOWLEDGE}/select"),
            lambda: alice_api.get(f"{FILES}/select?knowledge_id={base.pk}"),
        ]
        make_document(base)
        alice_api.get(f"{KNOWLEDGE}/select")  # the key's first use is noted
        few = [count_queries(call) for call in calls]
        for number in range(4):
            make_document(make_base(base.owner, f"m{number}"))
            make_document(base)
        assert [count_queries(call) for call in calls] == few

    def test_it_changes_what_is_given(self, alice_api: APIClient, base: KnowledgeBase) -> None:
        body = {"knowledge_id": base.pk, "knowledge_desc": "New."}
        assert data_of(alice_api.put(f"{KNOWLEDGE}/update", body)) is None
        base.refresh_from_db()
        assert (base.name, base.description) == ("Manuals", "New.")

    def test_it_describes_a_base_whose_name_another_one_has(
        self, alice_api: APIClient, alice: User, base: KnowledgeBase
    ) -> None:
        make_base(alice, base.name)
        body = {"knowledge_id": base.pk, "knowledge_desc": "New."}
        for name in ({}, {"knowledge_name": base.name}):
            assert data_of(alice_api.put(f"{KNOWLEDGE}/update", {**body, **name})) is None
        base.refresh_from_db()
        assert base.description == "New."
        make_base(alice, "Taken")
        taken = {**body, "knowledge_name": "Taken"}
        assert "already" in refusal_of(alice_api.put(f"{KNOWLEDGE}/update", taken), 500)

    @pytest.mark.parametrize("place", ["body", "query"])
    def test_it_deletes_by_body_or_by_query(
        self, alice_api: APIClient, alice: User, base: KnowledgeBase, document: Document, place: str
    ) -> None:
        Assistant.objects.create(owner=alice, name="Anna").set_knowledge_bases([base.pk])
        if place == "body":
            answer = alice_api.delete(f"{KNOWLEDGE}/delete", {"knowledge_id": base.pk})
        else:
            answer = alice_api.delete(f"{KNOWLEDGE}/delete?knowledge_id={base.pk}")
        assert data_of(answer) is None
        assert not KnowledgeBase.objects.exists()
        assert not Document.objects.exists()

    def test_it_needs_an_id(self, alice_api: APIClient) -> None:
        wrong: list[Any] = ["", None, {}]
        for body in ({}, [], *({"knowledge_id": value} for value in wrong)):
            refusal_of(alice_api.delete(f"{KNOWLEDGE}/delete", body), 422)


class TestUpload:
    def test_it_gives_a_link_that_downloads_the_file(
        self, alice_api: APIClient, alice: User, media: Path
    ) -> None:
        url = data_of(upload(alice_api, "季度 report.PDF", b"%PDF-"))
        row = Upload.objects.get()
        assert url.startswith(f"http://testserver/files/{row.created_at:%Y%m%d}/pdf/")
        assert (row.owner, row.name, row.file_type, row.size) == (
            alice,
            "季度 report.PDF",
            "pdf",
            5,
        )
        stored = [path.name for path in media.rglob("*") if path.is_file()]
        assert stored == [f"{row.pk}.pdf"]

    def test_it_needs_a_file(self, alice_api: APIClient) -> None:
        for body in ({}, {"file": "text"}, {"other": SimpleUploadedFile("a.txt", b"x")}):
            answer = alice_api.post(f"{ROOT}/upload", body, format="multipart")
            assert "file" in refusal_of(answer, 422)
        refusal_of(alice_api.post(f"{ROOT}/upload", {"file": "x"}), 422)
        data_of(upload(alice_api))

    def test_it_names_the_types_that_it_takes(self, alice_api: APIClient) -> None:
        for name in ("tool.exe", "page.svg", "noending"):
            assert "pdf" in refusal_of(upload(alice_api, name), 415)
        assert not Upload.objects.exists()

    def test_it_refuses_what_is_too_large(
        self, alice_api: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(storage, "MAX_FILE_BYTES", 10)
        data_of(upload(alice_api, content=b"x" * 10))
        refusal_of(upload(alice_api, content=b"x" * 11), 413)
        announced = alice_api.post(
            f"{ROOT}/upload",
            b"--x",
            content_type="multipart/form-data; boundary=x",
            CONTENT_LENGTH=str(51 * 2**20),
        )
        refusal_of(announced, 413)


class TestFiles:
    def test_it_puts_an_upload_into_a_base(self, alice_api: APIClient, base: KnowledgeBase) -> None:
        url = data_of(upload(alice_api, "会议.md", b"# Notes"))
        body = {"knowledge_id": base.pk, "file_url": url}
        made = data_of(alice_api.post(f"{FILES}/create", body))
        row = Document.objects.get()
        assert made == {"id": row.pk, "status": "process"}
        (listed,) = data_of(alice_api.get(f"{FILES}/select?knowledge_id={base.pk}"))
        assert datetime.fromisoformat(listed.pop("create_time"))
        assert datetime.fromisoformat(listed.pop("update_time"))
        assert listed.pop("oss_url").startswith("http://testserver/files/")
        assert listed == {
            "id": row.pk,
            "file_name": "会议.md",
            "knowledge_id": base.pk,
            "status": "process",
            "user_id": str(base.owner_id),
            "file_size": 7,
        }
        with row.file.open() as stored:
            assert stored.read() == b"# Notes"

    def test_it_recognises_a_file_that_the_base_has(
        self, alice_api: APIClient, base: KnowledgeBase
    ) -> None:
        body = {"knowledge_id": base.pk, "file_url": data_of(upload(alice_api))}
        data_of(alice_api.post(f"{FILES}/create", body))
        refusal_of(alice_api.post(f"{FILES}/create", body), 409)

    def test_it_takes_only_links_of_ours_to_uploads_of_the_caller(
        self,
        alice_api: APIClient,
        alice: User,
        bob: User,
        base: KnowledgeBase,
        document: Document,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        own = signed_url("http://testserver", make_upload(alice))
        with monkeypatch.context() as earlier:
            earlier.setattr("knowledge.links.time", SimpleNamespace(time=lambda: 0.0))
            expired = signed_url("http://testserver", make_upload(alice))
        refused = [
            signed_url("http://testserver", make_upload(bob)),
            signed_url("http://testserver", document),
            expired,
            f"{own}x",
            own.replace("_", "-", 1),
            own.split("?")[0],
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "http://[::1",
            "\u202e",
            "x" * 5000,
        ]
        messages = set()
        for url in refused[:-1]:
            body = {"knowledge_id": base.pk, "file_url": url}
            messages.add(refusal_of(alice_api.post(f"{FILES}/create", body), 404))
        assert len(messages) == 1
        assert messages.pop().startswith("file_url: ")
        too_long = {"knowledge_id": base.pk, "file_url": refused[-1]}
        refusal_of(alice_api.post(f"{FILES}/create", too_long), 422)
        # Every port of the server signs alike, and proxies change what it is called.
        elsewhere = urlsplit(own)._replace(netloc="files.example:8091").geturl()
        data_of(alice_api.post(f"{FILES}/create", {"knowledge_id": base.pk, "file_url": elsewhere}))

    @pytest.mark.parametrize(
        ("stage", "word"),
        [
            ("uploaded", "process"),
            ("parsing", "process"),
            ("embedding", "process"),
            ("ready", "success"),
            ("failed", "fail"),
            ("cancelled", "fail"),
        ],
    )
    @pytest.mark.parametrize("place", ["query", "body"])
    def test_it_tells_how_far_it_is(
        self, alice_api: APIClient, base: KnowledgeBase, stage: str, word: str, place: str
    ) -> None:
        row = make_document(base, status=stage, error_message="Why.", chunks_total=3)
        fields = {"knowledge_file_id": row.pk}
        if place == "query":
            answer = alice_api.get(f"{FILES}/status", fields)
        else:
            answer = alice_api.generic(
                "GET",
                f"{FILES}/status",
                f'{{"knowledge_file_id": "{row.pk}"}}',
                content_type="application/json",
            )
        shown = data_of(answer)
        assert (shown["status"], shown["stage"]) == (word, stage)
        assert (shown["error_message"], shown["chunk_count"]) == ("Why.", 3)

    @pytest.mark.parametrize("place", ["body", "query"])
    def test_it_deletes_by_body_or_by_query(
        self, alice_api: APIClient, document: Document, place: str
    ) -> None:
        if place == "body":
            answer = alice_api.delete(f"{FILES}/delete", {"knowledge_file_id": document.pk})
        else:
            answer = alice_api.delete(f"{FILES}/delete?knowledge_file_id={document.pk}")
        assert data_of(answer) is None
        assert not Document.objects.exists()


# Each door with what it is given, and which of that names something of another user.
DOORS: list[tuple[str, str, dict[str, str], str]] = [
    ("put", "knowledge/update", {"knowledge_id": "base", "knowledge_desc": "x"}, "knowledge_id"),
    ("delete", "knowledge/delete", {"knowledge_id": "base"}, "knowledge_id"),
    ("post", "knowledge_file/create", {"knowledge_id": "base", "file_url": "url"}, "knowledge_id"),
    ("get", "knowledge_file/select", {"knowledge_id": "base"}, "knowledge_id"),
    ("get", "knowledge_file/status", {"knowledge_file_id": "file"}, "knowledge_file_id"),
    ("delete", "knowledge_file/delete", {"knowledge_file_id": "file"}, "knowledge_file_id"),
]


@pytest.mark.parametrize(("verb", "path", "fields", "named"), DOORS)
class TestIsolation:
    @pytest.fixture
    def call(self, verb: str, path: str, fields: dict[str, str]) -> Callable[..., Any]:
        def call(client: APIClient, owner: User, row: Document, **other: str) -> Any:
            values = {
                "base": row.knowledge_base_id,
                "file": row.pk,
                "url": signed_url("http://testserver", make_upload(owner)),
            }
            body = {name: values.get(word, word) for name, word in fields.items()}
            return getattr(client, verb)(f"{ROOT}/{path}", {**body, **other})

        return call

    def test_it_answers_what_is_foreign_like_what_is_unknown(
        self,
        alice_api: APIClient,
        bob_api: APIClient,
        alice: User,
        bob: User,
        document: Document,
        named: str,
        call: Callable[..., Any],
    ) -> None:
        foreign = call(bob_api, bob, document)
        assert refusal_of(foreign, 404).startswith(f"{named}: ")
        for unknown in ("000000000000", "'", "../x", "a" * 64):
            answer = call(bob_api, bob, document, **{named: unknown})
            assert answer.json() == foreign.json()
        data_of(call(alice_api, alice, document))

    def test_operators_may_do_everything(
        self,
        carol_api: APIClient,
        carol: User,
        document: Document,
        named: str,
        call: Callable[..., Any],
    ) -> None:
        data_of(call(carol_api, carol, document))

    def test_users_only_read_what_is_the_systems(
        self,
        alice_api: APIClient,
        carol_api: APIClient,
        alice: User,
        carol: User,
        verb: str,
        named: str,
        call: Callable[..., Any],
    ) -> None:
        row = make_document(make_base(None))
        if verb == "get":
            data_of(call(alice_api, alice, row))
        else:
            refusal_of(call(alice_api, alice, row), 403)
        data_of(call(carol_api, carol, row))

    def test_it_needs_a_credential(
        self,
        anonymous_api: APIClient,
        alice: User,
        document: Document,
        named: str,
        call: Callable[..., Any],
    ) -> None:
        refusal_of(call(anonymous_api, alice, document), 401)


@pytest.mark.django_db(transaction=True)
class TestRetrieval:
    @pytest.fixture
    def filled(self, base: KnowledgeBase) -> KnowledgeBase:
        """A base of alice that words find something in."""
        make_chunks(
            make_document(base, "pumps.txt"),
            "The red button stops the pump.",
            "The pump of type PX-4711 needs oil.",
        )
        return base

    def ask(self, client: APIClient, base_id: Any, **more: Any) -> Any:
        body = {"query": "pump", "knowledge_id": base_id, **more}
        return client.post(f"{KNOWLEDGE}/retrieval", body)

    def test_it_gives_one_text(self, alice_api: APIClient, filled: KnowledgeBase) -> None:
        content = data_of(self.ask(alice_api, filled.pk))
        assert set(content.split("\n")) == {
            "The red button stops the pump.",
            "The pump of type PX-4711 needs oil.",
        }
        assert len(data_of(self.ask(alice_api, [filled.pk], top_k=1)).split("\n")) == 1
        assert SearchRecord.objects.count() == 2

    def test_it_says_so_when_there_is_nothing(
        self, alice_api: APIClient, filled: KnowledgeBase, alice: User
    ) -> None:
        nothing = "No relevant documents found."
        for base_id, query in ((make_base(alice, "Empty").pk, "pump"), (filled.pk, "zebra")):
            assert data_of(self.ask(alice_api, base_id, query=query)) == nothing
            sourced = data_of(self.ask(alice_api, base_id, query=query, with_sources=True))
            assert sourced == {"content": nothing, "chunks": []}

    def test_it_gives_the_sources_where_they_are_asked_for(
        self, alice_api: APIClient, filled: KnowledgeBase, alice: User
    ) -> None:
        other = make_base(alice, "Other")
        make_chunks(make_document(other, "oil.txt"), "Oil the pump.")
        answer = data_of(self.ask(alice_api, [filled.pk, other.pk, other.pk], with_sources=True))
        assert answer["content"] == "\n".join(chunk["content"] for chunk in answer["chunks"])
        assert {chunk["knowledge_id"] for chunk in answer["chunks"]} == {filled.pk, other.pk}
        assert {chunk["file_name"] for chunk in answer["chunks"]} == {"pumps.txt", "oil.txt"}
        assert all(
            set(chunk) == {"chunk_id", "content", "score", "file_id", "file_name", "knowledge_id"}
            for chunk in answer["chunks"]
        )

    @pytest.mark.parametrize("place", ["form", "query"])
    def test_it_searches_each_base_of_a_form_that_repeats_the_field(
        self, alice_api: APIClient, filled: KnowledgeBase, alice: User, place: str
    ) -> None:
        other = make_base(alice, "Other")
        make_chunks(make_document(other, "oil.txt"), "Oil the pump.")
        fields = f"query=pump&knowledge_id={filled.pk}&knowledge_id={other.pk}"
        if place == "form":
            kind = "application/x-www-form-urlencoded"
            response = alice_api.post(f"{KNOWLEDGE}/retrieval", fields, content_type=kind)
        else:
            response = alice_api.post(f"{KNOWLEDGE}/retrieval?{fields}")
        assert len(data_of(response).split("\n")) == 3

    def test_it_checks_each_of_the_ids(
        self, alice_api: APIClient, bob_api: APIClient, bob: User, filled: KnowledgeBase
    ) -> None:
        own = make_base(bob, "Bob's")
        foreign = self.ask(bob_api, [own.pk, filled.pk])
        assert refusal_of(foreign, 404).startswith("knowledge_id: ")
        for ids in (filled.pk, [own.pk, "000000000000"], ["'"], [filled.pk]):
            assert self.ask(bob_api, ids).json() == foreign.json()
        data_of(self.ask(bob_api, [own.pk]))
        data_of(self.ask(alice_api, [filled.pk]))
        assert set(SearchRecord.objects.values_list("knowledge_base", flat=True)) == {
            own.pk,
            filled.pk,
        }

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"query": ""}, "query"),
            ({"query": None}, "query"),
            ({"knowledge_id": []}, "knowledge_id"),
            ({"knowledge_id": {}}, "knowledge_id"),
            ({"knowledge_id": None}, "knowledge_id"),
            ({"knowledge_id": ["x"] * 51}, "knowledge_id"),
            ({"knowledge_id": [["x"]]}, "knowledge_id"),
            ({"top_k": 0}, "top_k"),
            ({"top_k": 10**9}, "top_k"),
            ({"min_score": 2}, "min_score"),
            ({"with_sources": "perhaps"}, "with_sources"),
        ],
    )
    def test_it_refuses_wrong_values(
        self, alice_api: APIClient, filled: KnowledgeBase, body: dict[str, Any], field: str
    ) -> None:
        refused = alice_api.post(
            f"{KNOWLEDGE}/retrieval", {"query": "pump", "knowledge_id": filled.pk, **body}
        )
        refusal_of(refused, 422)
        assert refused.json()["detail"][0]["loc"][:2] == ["body", field]
        data_of(self.ask(alice_api, filled.pk))


def test_it_takes_the_token_of_a_login_and_its_cookie_only_from_own_pages(alice: User) -> None:
    client = APIClient()
    login = {"user_name": "alice", "user_password": "alice-password"}
    token = data_of(client.post(f"{ROOT}/user/login", login))["access_token"]
    body = {"knowledge_name": "Manuals"}
    # The client carries the login's cookie from here on, as a browser would.
    refusal_of(client.post(f"{KNOWLEDGE}/create", body), 401)
    data_of(client.get(f"{KNOWLEDGE}/select"))
    data_of(client.post(f"{KNOWLEDGE}/create", body, HTTP_ORIGIN="http://testserver"))
    bearer = client_with(token)
    assert len(data_of(bearer.get(f"{KNOWLEDGE}/select"))) == 1


def test_it_counts_requests_like_everything_else(alice: User) -> None:
    hurried = client_with(make_key(alice, requests_per_minute=1))
    data_of(hurried.get(f"{KNOWLEDGE}/select"))
    refusal_of(hurried.get(f"{KNOWLEDGE}/select"), 429)
