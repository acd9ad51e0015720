"""`/files` through the door: upload, list, download, delete, and who may see what."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import Scope, User
from conversations.files import archive
from conversations.files import folder as folders
from conversations.files.folder import UserFolder
from tests.conftest import client_with, make_key
from tests.conversations.files.conftest import all_files, body_of
from tests.conversations.files.test_paths import HOSTILE

FILES = "/api/v1/files"
# What reaches a view at all: others are stopped at the door, also with 400.
SENDABLE = [path for path in HOSTILE if "\0" not in path and "\udcff" not in path]


def upload(api: APIClient, name: str, content: bytes = b"Some notes.", **fields: str) -> Any:
    file = SimpleUploadedFile(name, content)
    return api.post(f"{FILES}/upload", {"file": file, **fields}, format="multipart")


def ok(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    assert body.pop("success") is True
    return body


def refused(response: Any, status: int) -> str:
    assert response.status_code == status, response.content
    body = response.json()
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    return str(body["error"])


def names(api: APIClient, path: str = "") -> list[str]:
    return [item["name"] for item in ok(api.get(FILES, {"path": path}))["items"]]


# --- Upload ------------------------------------------------------------------------------------


def test_it_stores_a_file(alice_api: APIClient, alices: UserFolder) -> None:
    content = "会议记录".encode()
    assert ok(upload(alice_api, "会议 notes.txt", content)) == {
        "path": "会议 notes.txt",
        "filename": "会议 notes.txt",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    with alices.open_read("会议 notes.txt").file as file:
        assert file.read() == content


def test_it_puts_it_where_it_is_told(alice_api: APIClient) -> None:
    stored = ok(upload(alice_api, "a.txt", filename="../报告.txt", dir="work/2026/"))
    assert (stored["path"], stored["filename"]) == ("work/2026/报告.txt", "报告.txt")
    assert names(alice_api, "work/2026") == ["报告.txt"]


def test_it_replaces_a_file_of_the_same_name(alice_api: APIClient) -> None:
    ok(upload(alice_api, "a.txt", b"first"))
    ok(upload(alice_api, "a.txt", b"second"))
    response = alice_api.get(f"{FILES}/download", {"path": "a.txt"})
    assert body_of(response) == b"second"
    assert names(alice_api) == ["a.txt"]


def test_it_takes_an_empty_file(alice_api: APIClient) -> None:
    assert ok(upload(alice_api, "empty.txt", b""))["size"] == 0


def test_it_needs_a_file(alice_api: APIClient) -> None:
    empty = alice_api.post(f"{FILES}/upload", {"filename": "a"}, format="multipart")
    text = alice_api.post(f"{FILES}/upload", {"file": "text"}, format="multipart")
    json = alice_api.post(f"{FILES}/upload", {"file": "text"})
    assert {refused(each, 400) for each in (empty, text, json)} == {"No file was sent."}


@pytest.mark.parametrize("path", SENDABLE)
def test_it_puts_nothing_elsewhere(alice_api: APIClient, base: Path, path: str) -> None:
    assert refused(upload(alice_api, "a.txt", dir=path), 400) == "Invalid path."
    assert all_files(base) == set()
    ok(upload(alice_api, "a.txt", dir="docs"))


@pytest.mark.parametrize("name", HOSTILE)
def test_it_keeps_a_hostile_name_inside(alice_api: APIClient, base: Path, name: str) -> None:
    stored = ok(upload(alice_api, "a.txt", filename=name.replace("\udcff", "?")))
    assert "/" not in stored["path"]
    assert len(all_files(base)) == 1
    assert body_of(alice_api.get(f"{FILES}/download", {"path": stored["path"]})) == b"Some notes."


def test_it_refuses_what_is_too_large(
    alice_api: APIClient, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MAX_FILE_BYTES", 1000)
    ok(upload(alice_api, "a.txt", b"x" * 1000))
    refused(upload(alice_api, "b.txt", b"x" * 1001), 413)
    assert len(all_files(base)) == 1


def test_it_keeps_to_the_quota_of_each_user(
    alice_api: APIClient, bob_api: APIClient, base: Path, settings: Any
) -> None:
    settings.USER_FILES_QUOTA_MB = 1
    ok(upload(alice_api, "a.bin", b"x" * 700_000))
    error = refused(upload(alice_api, "b.bin", b"x" * 700_000, dir="new"), 413)
    assert "683.6" in error
    assert "1.0" in error
    assert names(alice_api) == ["a.bin"]
    assert len(all_files(base)) == 1
    # Others have their own, and what replaces a file needs only the difference.
    ok(upload(bob_api, "b.bin", b"x" * 700_000))
    ok(upload(alice_api, "a.bin", b"x" * 900_000))


def test_it_says_when_the_disk_fails(
    alice_api: APIClient, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refused(upload(alice_api, "a.txt"), 503)
    assert all_files(base) == set()
    ok(upload(alice_api, "a.txt"))


# --- Lists -------------------------------------------------------------------------------------


def test_it_lists_folders_first(alice_api: APIClient) -> None:
    for path in ("b.txt", "A.txt", "z/c.txt"):
        ok(upload(alice_api, path.split("/")[-1], dir="/".join(path.split("/")[:-1])))
    listed = ok(alice_api.get(FILES))
    assert listed["base"] == ""
    assert [item["name"] for item in listed["items"]] == ["z", "A.txt", "b.txt"]
    folder, file = listed["items"][:2]
    assert (folder["is_dir"], folder["size"], folder["path"]) == (True, 0, "z")
    assert (file["is_dir"], file["size"], file["path"]) == (False, 11, "A.txt")
    assert isinstance(file["modified_at"], float)
    inner = ok(alice_api.get(FILES, {"path": "./z/"}))
    assert inner["base"] == "z"
    assert [item["path"] for item in inner["items"]] == ["z/c.txt"]


def test_it_lists_nothing_of_a_user_without_files(alice_api: APIClient) -> None:
    assert ok(alice_api.get(FILES)) == {"items": [], "base": ""}


def test_it_tells_files_from_folders_and_from_nothing(alice_api: APIClient) -> None:
    ok(upload(alice_api, "a.txt"))
    assert refused(alice_api.get(FILES, {"path": "a.txt"}), 400) == "This is not a folder."
    assert refused(alice_api.get(FILES, {"path": "b"}), 404) == "There is no such path."
    assert refused(alice_api.get(FILES, {"path": "a.txt/b"}), 404) == "There is no such path."


@pytest.mark.parametrize("path", SENDABLE)
@pytest.mark.parametrize("place", [FILES, f"{FILES}/download"])
def test_it_shows_nothing_elsewhere(
    alice_api: APIClient, bob_api: APIClient, place: str, path: str
) -> None:
    ok(upload(bob_api, "b.txt"))
    ok(upload(alice_api, "a.txt", dir="docs"))
    if "%00" in path:
        refused(alice_api.get(place, {"path": path}), 400)
    else:
        assert refused(alice_api.get(place, {"path": path}), 400) == "Invalid path."
    assert alice_api.get(place, {"path": "docs"}).status_code == 200


def test_it_shows_nothing_of_a_user_whose_number_begins_alike(
    alice_api: APIClient, alice: User, base: Path
) -> None:
    ok(upload(alice_api, "a.txt"))
    other = UserFolder(base, f"{alice.pk}0")
    other.save("secret.txt", [b"secret"])
    for path in (f"../{alice.pk}0", f"../{alice.pk}0/secret.txt", f"{alice.pk}0/secret.txt"):
        assert alice_api.get(FILES, {"path": path}).status_code in (400, 404)
        assert alice_api.get(f"{FILES}/download", {"path": path}).status_code in (400, 404)
    assert names(alice_api) == ["a.txt"]


def test_it_follows_no_links(alice_api: APIClient, alice: User, base: Path) -> None:
    ok(upload(alice_api, "a.txt", dir="docs"))
    outside = base.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    mine = base / str(alice.pk)
    (mine / "file").symlink_to(outside / "secret.txt")
    (mine / "folder").symlink_to(outside)
    (mine / "docs" / "up").symlink_to(base)
    assert names(alice_api) == ["docs"]
    assert names(alice_api, "docs") == ["a.txt"]
    for path in ("file", "folder", "folder/secret.txt", "docs/up", f"docs/up/{alice.pk}"):
        refused(alice_api.get(FILES, {"path": path}), 404)
        refused(alice_api.get(f"{FILES}/download", {"path": path}), 404)
        refused(alice_api.delete(f"{FILES}?path={path}"), 404)
    refused(upload(alice_api, "new.txt", dir="folder"), 400)
    # A link is replaced, never written through.
    ok(upload(alice_api, "file", b"mine"))
    assert sorted(os.listdir(outside)) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == "secret"
    archived = zipfile.ZipFile(
        io.BytesIO(body_of(alice_api.get(f"{FILES}/download", {"path": "docs"})))
    )
    assert archived.namelist() == ["docs/a.txt"]


def test_it_shows_each_user_their_own(alice_api: APIClient, bob_api: APIClient) -> None:
    ok(upload(alice_api, "a.txt"))
    assert names(bob_api) == []
    foreign = bob_api.get(f"{FILES}/download", {"path": "a.txt"})
    unknown = bob_api.get(f"{FILES}/download", {"path": "b.txt"})
    assert refused(foreign, 404) == refused(unknown, 404) == "There is no such file."
    refused(bob_api.delete(f"{FILES}?path=a.txt"), 404)
    assert names(alice_api) == ["a.txt"]


# --- Downloads ---------------------------------------------------------------------------------


def test_it_sends_a_file_to_be_saved(alice_api: APIClient) -> None:
    content = os.urandom(700_000)
    ok(upload(alice_api, "报告 1.html", content))
    response = alice_api.get(f"{FILES}/download", {"path": "报告 1.html"})
    assert response.status_code == 200
    assert body_of(response) == content
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Length"] == "700000"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"] == (
        "attachment; filename*=utf-8''%E6%8A%A5%E5%91%8A%201.html"
    )


def test_it_tells_the_size_before_it_is_asked_for(alice_api: APIClient) -> None:
    ok(upload(alice_api, "a.txt"))
    response = alice_api.head(f"{FILES}/download", {"path": "a.txt"})
    assert (response.status_code, response.content) == (200, b"")
    assert response["Content-Length"] == "11"


def test_it_sends_a_folder_as_an_archive(alice_api: APIClient) -> None:
    content = os.urandom(600_000) + b"x" * 600_000
    ok(upload(alice_api, "a.txt", b"A", dir="top/docs"))
    ok(upload(alice_api, "图.bin", content, dir="top/docs/deep"))
    ok(upload(alice_api, "beside.txt", b"B", dir="top"))
    response = alice_api.get(f"{FILES}/download", {"path": "top/docs"})
    assert response["Content-Type"] == "application/zip"
    assert response["Content-Disposition"] == 'attachment; filename="docs.zip"'
    with zipfile.ZipFile(io.BytesIO(body_of(response))) as archived:
        assert archived.testzip() is None
        assert archived.namelist() == ["docs/deep/", "docs/deep/图.bin", "docs/a.txt"]
        assert archived.read("docs/deep/图.bin") == content
        assert archived.read("docs/a.txt") == b"A"


def test_it_makes_no_archive_of_too_much(
    alice_api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        ok(upload(alice_api, f"{number}.txt", dir="docs"))
    with monkeypatch.context() as patch:
        patch.setattr(archive, "MAX_ENTRIES", 2)
        refused(alice_api.get(f"{FILES}/download", {"path": "docs"}), 413)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "MAX_BYTES", 32)
        refused(alice_api.get(f"{FILES}/download", {"path": "docs"}), 413)
    assert alice_api.get(f"{FILES}/download", {"path": "docs"}).status_code == 200


def test_it_needs_a_path(alice_api: APIClient) -> None:
    for query in ({}, {"path": ""}, {"path": "."}):
        error = refused(alice_api.get(f"{FILES}/download", query), 400)
        assert error == "The parameter “path” is missing."


# --- Deletion ----------------------------------------------------------------------------------


def test_it_deletes_files_and_folders(alice_api: APIClient, base: Path) -> None:
    for path in ("a.txt", "docs/b.txt", "docs/deep/c.txt"):
        ok(upload(alice_api, path.split("/")[-1], dir="/".join(path.split("/")[:-1])))
    assert ok(alice_api.delete(f"{FILES}?path=a.txt")) == {"path": "a.txt"}
    refused(alice_api.delete(f"{FILES}?path=a.txt"), 404)
    assert ok(alice_api.delete(f"{FILES}?path=docs/")) == {"path": "docs"}
    assert names(alice_api) == []
    assert all_files(base) == set()


def test_it_deletes_nothing_unnamed(alice_api: APIClient) -> None:
    ok(upload(alice_api, "a.txt"))
    for query in ("", "?path=", "?path=.", "?path=..", "?path=/"):
        refused(alice_api.delete(f"{FILES}{query}"), 400)
    assert names(alice_api) == ["a.txt"]


# --- Credentials -------------------------------------------------------------------------------


def test_it_asks_for_the_scope_of_tasks(alice: User) -> None:
    others = client_with(make_key(alice, scopes=[each for each in Scope if each != Scope.TASKS]))
    mine = client_with(make_key(alice, scopes=[Scope.TASKS]))
    refused(others.get(FILES), 403)
    refused(upload(others, "a.txt"), 403)
    refused(others.get(f"{FILES}/download", {"path": "a.txt"}), 403)
    ok(upload(mine, "a.txt"))
    assert names(mine) == ["a.txt"]
