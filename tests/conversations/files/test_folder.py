"""A user's folder below its API: attacks from beside, races, failures, and what is left behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from accounts.actions import delete_user
from accounts.models import User
from conversations.files import folder as folders
from conversations.files import tree
from conversations.files.folder import UserFolder
from core.errors import InvalidRequest, NotFound, PayloadTooLarge, Unavailable
from tests.conversations.files.conftest import all_files

SECRET = "secret of somebody else"


def content_of(folder: UserFolder, path: str) -> bytes:
    with folder.open_read(path).file as file:
        return file.read()


@pytest.fixture
def outside(base: Path) -> Path:
    """A folder of somebody else, with a file."""
    (base / "70").mkdir(parents=True)
    (base / "70" / "secret.txt").write_text(SECRET)
    return base / "70"


# --- Nothing leads out -------------------------------------------------------------------------


def everything_of(folder: UserFolder, path: str) -> list[Any]:
    """Every way to look at a path, as calls that are not made yet."""
    return [
        lambda: folder.entry(path),
        lambda: folder.list(path),
        lambda: folder.open_read(path),
        lambda: folder.search("secret", path),
        lambda: list(folder.zip_stream(path)),
        lambda: folder.delete(path),
    ]


@pytest.mark.parametrize("path", ["../70", "../70/secret.txt", "/70", "..%2f70", "70/secret.txt"])
def test_it_knows_nothing_beside_itself(folder: UserFolder, outside: Path, path: str) -> None:
    folder.save("secret.txt", [b"mine"])
    for call in everything_of(folder, path):
        with pytest.raises((InvalidRequest, NotFound)):
            call()
    assert folder.entry("secret.txt").size == 4
    assert (outside / "secret.txt").read_text() == SECRET


@pytest.mark.parametrize("path", ["link", "link/secret.txt", "docs/link", "file"])
def test_it_follows_no_link(folder: UserFolder, root: Path, outside: Path, path: str) -> None:
    folder.save("docs/a.txt", [b"secret of mine"])
    (root / "link").symlink_to(outside)
    (root / "docs" / "link").symlink_to("../../70")
    (root / "file").symlink_to(outside / "secret.txt")
    for call in everything_of(folder, path):
        with pytest.raises(NotFound):
            call()
    assert [match.path for match in folder.search("secret").matches] == ["docs/a.txt"]
    assert [entry.path for entry in folder.list()] == ["docs"]
    assert (outside / "secret.txt").read_text() == SECRET
    assert content_of(folder, "docs/a.txt") == b"secret of mine"


def test_it_writes_through_no_link(folder: UserFolder, root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret.txt")
    (root / "dangling").symlink_to(outside / "made.txt")
    with pytest.raises(InvalidRequest):
        folder.save("link/new.txt", [b"x"])
    with pytest.raises(InvalidRequest):
        folder.append("link/new.txt", b"x")
    folder.save("file", [b"mine"])
    folder.save("dangling", [b"mine"])
    assert sorted(os.listdir(outside)) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET
    assert content_of(folder, "file") == content_of(folder, "dangling") == b"mine"


def test_it_does_not_append_to_what_a_link_leads_to(
    folder: UserFolder, root: Path, outside: Path
) -> None:
    (root / "file").symlink_to(outside / "secret.txt")
    with pytest.raises(InvalidRequest):
        folder.append("file", b"more")
    assert (outside / "secret.txt").read_text() == SECRET
    os.unlink(root / "file")
    assert folder.append("file", b"more").size == 4


def test_it_replaces_a_file_and_never_changes_one_in_place(
    folder: UserFolder, root: Path, outside: Path
) -> None:
    os.link(outside / "secret.txt", root / "hard.txt")
    os.link(outside / "secret.txt", root / "other.txt")
    folder.append("hard.txt", b"!")
    folder.save("other.txt", [b"mine"])
    assert (outside / "secret.txt").read_text() == SECRET
    assert content_of(folder, "hard.txt") == SECRET.encode() + b"!"


def test_it_is_no_link_itself(base: Path, outside: Path) -> None:
    (base / "8").symlink_to(outside)
    with pytest.raises(NotFound):
        UserFolder.of(8).list()
    assert UserFolder.of(70).list()[0].name == "secret.txt"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_it_waits_for_no_pipe(folder: UserFolder, root: Path, kind: str) -> None:
    folder.save("a.txt", [b"A"])
    mode = 0o010600 if kind == "pipe" else 0o140600
    os.mknod(root / "odd.txt", mode)
    with pytest.raises(NotFound):
        folder.open_read("odd.txt")
    assert [entry.name for entry in folder.list()] == ["a.txt"]
    assert b"odd" not in b"".join(folder.zip_stream(""))
    assert folder.search("a").files == 1


def test_it_passes_over_names_that_are_no_text(folder: UserFolder, root: Path) -> None:
    folder.save("a.txt", [b"A"])
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe.txt")).write_text("x")
    (root / "new\nline").write_text("x")
    assert [entry.name for entry in folder.list()] == ["a.txt"]
    assert folder.search("txt").files == 1


def test_a_folder_that_becomes_a_link_leads_nowhere(
    folder: UserFolder, root: Path, outside: Path
) -> None:
    """The race that checks of whole paths lose: the name changes between the check and its use."""
    folder.save("docs/secret.txt", [b"mine"])
    (root / "trap").symlink_to(outside)
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            for old, new in (
                ("docs", "kept"),
                ("trap", "docs"),
                ("docs", "trap"),
                ("kept", "docs"),
            ):
                os.rename(root / old, root / new)

    seen: set[bytes] = set()
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        deadline = time.monotonic() + 30
        while len(seen) < 2 and time.monotonic() < deadline:
            for _round in range(200):
                try:
                    seen.add(content_of(folder, "docs/secret.txt"))
                except NotFound:
                    seen.add(b"")
                for match in folder.search("secret", "").matches:
                    assert match.text in ("", "mine")
    finally:
        is_over.set()
        swapper.join()
    assert seen == {b"mine", b""}


# --- Writing -----------------------------------------------------------------------------------


def test_it_leaves_nothing_of_an_upload_that_breaks_off(folder: UserFolder, base: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half of it"
        raise ConnectionResetError("gone")

    folder.save("a.txt", [b"before"])
    with pytest.raises(Unavailable):
        folder.save("a.txt", broken())
    with pytest.raises(Unavailable):
        folder.save("new/b.txt", broken())
    assert all_files(base) == {"7/a.txt"}
    assert content_of(folder, "a.txt") == b"before"
    assert [entry.name for entry in folder.list()] == ["a.txt"]


def test_it_removes_what_a_dead_process_left(folder: UserFolder, base: Path) -> None:
    folder.save("a.txt", [b"A"])
    left, fresh = base / ".partial" / "left", base / ".partial" / "fresh"
    left.write_text("half")
    fresh.write_text("half")
    os.utime(left, (0, 0))
    (base / ".partial" / "folder" / "inner").mkdir(parents=True)
    os.utime(base / ".partial" / "folder", (0, 0))
    folder.save("a.txt", [b"B"])
    assert os.listdir(base / ".partial") == ["fresh"]


def test_readers_see_all_of_a_file_or_nothing_of_it(folder: UserFolder) -> None:
    contents = [bytes([letter]) * 200_000 for letter in b"AB"]
    folder.save("a.bin", [contents[0]])
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            for content in contents:
                folder.save("a.bin", [content])

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            seen = {content_of(folder, "a.bin") for _round in range(300)}
        finally:
            is_over.set()
        writer.result()
    assert seen <= set(contents)


def test_it_loses_no_append_of_many_at_once(folder: UserFolder) -> None:
    with ThreadPoolExecutor(4) as pool:
        lines = [f"{number:04}\n".encode() for number in range(60)]
        list(pool.map(lambda line: folder.append("log.txt", line), lines))
    assert sorted(content_of(folder, "log.txt").splitlines(keepends=True)) == lines


def test_it_keeps_to_the_quota_when_many_write_at_once(folder: UserFolder, settings: Any) -> None:
    settings.USER_FILES_QUOTA_MB = 1

    def save(number: int) -> bool:
        try:
            folder.save(f"{number}.bin", [b"x" * 300_000])
        except PayloadTooLarge:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(save, range(12))) == 3
    assert folder.usage().size == 900_000
    kept = folder.list()[0].name
    with pytest.raises(PayloadTooLarge):
        folder.append(kept, b"x" * 200_000)
    assert folder.append(kept, b"x" * 100_000).size == 400_000
    # What takes less than before is fine, however full it is.
    settings.USER_FILES_QUOTA_MB = 0
    assert folder.save(kept, [b"x"]).size == 1


def test_it_holds_so_many_files_only(folder: UserFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_ENTRIES", 3)
    folder.save("a/b.txt", [b""])
    folder.save("c.txt", [b""])
    with pytest.raises(PayloadTooLarge):
        folder.save("d.txt", [b""])
    folder.save("c.txt", [b"again"])
    folder.delete("c.txt")
    folder.save("d.txt", [b""])


def test_it_says_what_is_in_the_way(folder: UserFolder) -> None:
    folder.save("docs/a.txt", [b"A"])
    for path in ("docs", "docs/a.txt/b.txt"):
        with pytest.raises(InvalidRequest) as caught:
            folder.save(path, [b"x"])
        assert caught.value.error_code == "PATH_TAKEN"
    assert content_of(folder, "docs/a.txt") == b"A"


def test_it_keeps_files_from_other_accounts_of_the_machine(folder: UserFolder, root: Path) -> None:
    folder.save("docs/a.txt", [b"A"])
    for path in (root, root / "docs", root / "docs" / "a.txt"):
        assert path.stat().st_mode & 0o077 == 0


# --- Looking -----------------------------------------------------------------------------------


def test_an_archive_leaves_out_what_goes_away(folder: UserFolder, root: Path) -> None:
    for name in ("a.txt", "b.txt"):
        folder.save(f"docs/{name}", [name.encode()])
    pieces = folder.zip_stream("docs")
    first = next(pieces)
    os.unlink(root / "docs" / "b.txt")
    whole = first + b"".join(pieces)
    assert b"docs/a.txt" in whole
    assert b"PK\x05\x06" in whole


def test_an_archive_that_nobody_wants_any_more_closes_its_files(folder: UserFolder) -> None:
    folder.save("docs/a.bin", [os.urandom(2_000_000)])
    before = set(os.listdir("/proc/self/fd"))
    pieces = folder.zip_stream("docs")
    next(pieces)
    pieces.close()
    folder.zip_stream("docs").close()
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_it_finds_a_text_in_names_and_lines(folder: UserFolder) -> None:
    folder.save("docs/notes.txt", ["First\nThe RED button 红色按钮\nlast".encode()])
    folder.save("docs/gb.txt", ["第一行\n红色按钮很大".encode("gb18030")])
    folder.save("red.bin", [bytes(range(256)) * 8])
    found = folder.search("red")
    assert [(match.path, match.line) for match in found.matches] == [
        ("docs/notes.txt", 2),
        ("red.bin", 0),
    ]
    assert found.is_complete
    chinese = [(match.path, match.line) for match in folder.search("红色按钮").matches]
    assert chinese == [("docs/gb.txt", 2), ("docs/notes.txt", 2)]
    assert folder.search("red", "docs").files == 2
    assert folder.search("RED", "docs/notes.txt").matches[0].line == 2
    assert folder.search("(r|R)+ed").matches == ()


def test_no_text_makes_a_search_run_on(folder: UserFolder) -> None:
    # What a pattern would take years for.
    folder.save("a.txt", [b"a" * 5_000_000 + b"!\n"])
    started = time.monotonic()
    assert folder.search("(a+)+$").matches == ()
    assert folder.search("a" * 199 + "b").matches == ()
    assert time.monotonic() - started < 5


def test_a_search_ends_when_it_has_enough(folder: UserFolder) -> None:
    for number in range(8):
        folder.save(f"{number}.txt", [b"red\n" * 50])
    found = folder.search("red")
    assert len(found.matches) == 100
    assert not found.is_complete
    many = folder.search("red", "0.txt")
    assert (len(many.matches), many.is_complete) == (20, False)


def test_walking_ends_where_paths_do(folder: UserFolder, root: Path) -> None:
    deep = root.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "a.txt").write_text("red")
    with os.scandir(root):
        assert max(len(node.parts) for node in _walked(root)) == 16
    assert folder.search("red").matches == ()


def _walked(root: Path) -> list[tree.Node]:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        return list(tree.walk(descriptor))
    finally:
        os.close(descriptor)


# --- The end -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_account_that_is_deleted_takes_its_folder_along(
    alice: User, bob: User, base: Path
) -> None:
    for user in (alice, bob):
        UserFolder.of(user.pk).save("docs/a.txt", [b"A"])
    bobs = str(bob.pk)
    delete_user(alice)
    assert all_files(base) == {f"{bobs}/docs/a.txt"}
    assert sorted(os.listdir(base)) == sorted([".partial", bobs])


def test_removing_no_folder_is_nothing(folder: UserFolder, base: Path) -> None:
    folder.remove()
    assert not base.exists()
    folder.save("a.txt", [b"A"])
    folder.remove()
    folder.remove()
    assert all_files(base) == set()
