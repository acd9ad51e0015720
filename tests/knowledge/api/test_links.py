"""Signed links: who has one may download the file until it expires; nobody can make one."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application
from django.core.files import File

from accounts.models import User
from core.db import in_db
from knowledge.links import signed_url
from knowledge.models import Document, KnowledgeBase, Upload
from tests.knowledge.api.conftest import make_document, make_upload

# The view reads its row in a thread of its own.
pytestmark = pytest.mark.django_db(transaction=True)

BASE = "https://files.example"
CONTENT = b"Some notes."


@pytest.fixture
def upload(alice: User) -> Upload:
    return make_upload(alice, "会议 notes.txt", CONTENT)


@dataclasses.dataclass
class Answer:
    """What a server would send."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


async def get(url: str, method: str = "GET") -> Answer:
    """Asks as a server of ours does; Django's own client takes paths apart in its own way."""
    parts = urlsplit(url)
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(parts.path),
        "query_string": parts.query.encode(),
        "headers": [(b"host", b"localhost")],
    }
    client: Any = ApplicationCommunicator(  # type: ignore[no-untyped-call]  # asgiref's
        get_asgi_application(), scope
    )
    await client.send_input({"type": "http.request", "body": b""})
    start = await client.receive_output(timeout=10)
    headers = {name.decode().title(): value.decode("latin-1") for name, value in start["headers"]}
    pieces, more = [], True
    while more:
        event = await client.receive_output(timeout=10)
        pieces.append(event.get("body", b""))
        more = event.get("more_body", False)
    await client.wait()
    return Answer(start["status"], headers, pieces)


def test_it_has_the_shape_that_clients_know(upload: Upload, document: Document) -> None:
    for row, stem in ((upload, "会议_notes"), (document, "manual")):
        parts = urlsplit(signed_url(BASE, row))
        assert (parts.scheme, parts.netloc) == ("https", "files.example")
        day = f"{row.created_at:%Y%m%d}"
        assert unquote(parts.path) == f"/files/{day}/txt/{stem}_{row.pk[:10]}.txt"
        assert parts.path.isascii()
        assert set(parse_qs(parts.query)) == {"exp", "sig"}


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.txt", "a/b\\c.txt", "?x=1#y&z.txt", "\u202e.txt", ".txt", "%2e.txt"]
)
async def test_it_keeps_tricks_out_of_the_address(alice: User, name: str) -> None:
    row = await in_db(make_upload, alice, "notes.txt", CONTENT)
    row.name = name
    path = unquote(urlsplit(signed_url(BASE, row)).path)
    assert path.count("/") == 4
    assert not set("\\?#&%") & set(path)
    assert "/." not in path
    await in_db(row.save)
    assert (await get(signed_url(BASE, row))).body == CONTENT


async def test_it_gives_the_file_as_something_to_be_saved(upload: Upload) -> None:
    response = await get(signed_url(BASE, upload))
    assert response.status == 200
    assert response.body == CONTENT
    assert response.headers["Content-Type"] == "text/plain"
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("sandbox")
    name = quote("会议 notes.txt")
    assert response.headers["Content-Disposition"] == f"attachment; filename*=utf-8''{name}"


async def test_it_gives_documents_too(document: Document) -> None:
    response = await get(signed_url(BASE, document))
    assert response.body == b"Press the red button."


async def test_it_never_calls_a_file_a_page(base: KnowledgeBase) -> None:
    row = await in_db(make_document, base, "page.html", b"<script>", file_type="html")
    response = await get(signed_url(BASE, row))
    assert response.body == b"<script>"
    assert response.headers["Content-Type"] == "application/octet-stream"


async def test_it_answers_head_with_the_headers_alone(upload: Upload) -> None:
    response = await get(signed_url(BASE, upload), "HEAD")
    assert response.status == 200
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.body == b""
    assert (await get(signed_url(BASE, upload), "POST")).status == 405


async def test_it_asks_the_storage_for_nothing_but_the_bytes(
    upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size(file: object) -> int:
        raise AssertionError("the row knows the size")

    monkeypatch.setattr(File, "size", property(size))
    response = await get(signed_url(BASE, upload))
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.body == CONTENT


async def test_it_streams_large_files_in_pieces(alice: User) -> None:
    content = bytes(range(256)) * 4096
    row = await in_db(make_upload, alice, "large.txt", content)
    response = await get(signed_url(BASE, row))
    assert response.body == content
    assert max(map(len, response.pieces)) <= 256 * 1024


class TestForgery:
    @pytest.fixture
    def parts(self, upload: Upload) -> Any:
        """A good link, taken apart."""
        split = urlsplit(signed_url(BASE, upload))
        query = parse_qs(split.query)
        return SimpleNamespace(path=split.path, exp=query["exp"][0], sig=query["sig"][0])

    async def test_it_takes_no_part_that_was_changed(
        self, parts: Any, alice: User, document: Document
    ) -> None:
        other = await in_db(make_upload, alice, "other.txt")
        target, _dot, proof = parts.sig.partition(".")
        changed = [
            {"exp": str(int(parts.exp) + 1)},
            {"exp": ""},
            {"exp": "9" * 30},
            {"exp": "x"},
            {"exp": f" {parts.exp}"},
            {"sig": ""},
            {"sig": "x"},
            {"sig": f"u{other.pk}.{proof}"},
            {"sig": f"d{document.pk}.{proof}"},
            {"sig": f"d{target[1:]}.{proof}"},
            {"sig": f"x{target[1:]}.{proof}"},
            {"sig": f"{target}.{proof[:-1]}"},
            {"sig": f"{target}."},
            {"sig": "u\0.x"},
            {"path": parts.path.replace(".txt", ".html")},
            {"path": parts.path.replace("/files/", "/files/../")},
            {"path": "/files/etc/passwd"},
            {"path": "/files/..%2f..%2fetc%2fpasswd"},
        ]
        for change in changed:
            asked = {**vars(parts), **change}
            url = f"{asked['path']}?exp={quote(asked['exp'])}&sig={quote(asked['sig'])}"
            response = await get(url)
            assert response.status == 404, change
            assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert len(response.body) < 100
        good = f"{parts.path}?exp={parts.exp}&sig={parts.sig}"
        assert (await get(good)).status == 200

    async def test_it_holds_for_one_secret_only(self, upload: Upload, settings: Any) -> None:
        url = signed_url(BASE, upload)
        secret = settings.SECRET_KEY
        settings.SECRET_KEY = "another"
        assert (await get(url)).status == 404
        settings.SECRET_KEY_FALLBACKS = [secret]
        assert (await get(url)).status == 200

    async def test_it_expires(
        self, upload: Upload, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.FILE_LINK_HOURS = 2
        url = signed_url(BASE, upload)
        now = time.time()
        for hours, status in ((1.9, 200), (2.1, 403)):
            later = SimpleNamespace(time=lambda hours=hours: now + hours * 3600)
            monkeypatch.setattr("knowledge.links.time", later)
            response = await get(url)
            assert response.status == status
        assert response.body == b"This link has expired.\n"

    async def test_it_ends_with_the_row_or_the_file(
        self, upload: Upload, document: Document, media: Path
    ) -> None:
        urls = [signed_url(BASE, row) for row in (upload, document)]
        assert [(await get(url)).status for url in urls] == [200, 200]
        Path(upload.file.path).unlink()
        await in_db(document.delete)
        assert [(await get(url)).status for url in urls] == [404, 404]
