"""What is a path, and what a file may be called."""

from __future__ import annotations

import pytest

from conversations.files.paths import clean_name, new_parts, parts_of
from core.errors import InvalidRequest

# Each would lead out of the folder, or look as if it did, for somebody on the way.
HOSTILE = [
    "..",
    "../bob",
    "docs/../../bob",
    "docs/..",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "..\\bob",
    "docs\\..\\..\\bob",
    "C:\\Windows",
    "\\\\server\\share",
    "..%2fbob",
    "%2e%2e/bob",
    "%2e%2e%2fbob",
    "..%5cbob",
    "%252e%252e%252fbob",
    "%25252e%25252e/bob",
    "%2fetc%2fpasswd",
    "docs%2fnotes.txt",
    "a\0b",
    "a%00b",
    "a%2500b",
    "a\nb",
    "a\x7fb",
    "\udcff",
    "x" * 256,
    "案" * 86,
    "a/" * 17 + "b",
    "a" * 2000,
]


@pytest.mark.parametrize("path", HOSTILE)
def test_it_refuses_a_path_that_leads_elsewhere(path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parts_of(path)
    assert caught.value.error_code == "INVALID_PATH"


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", ()),
        (".", ()),
        ("notes.txt", ("notes.txt",)),
        ("./docs/notes.txt", ("docs", "notes.txt")),
        ("docs//notes.txt", ("docs", "notes.txt")),
        ("docs/", ("docs",)),
        ("报告/第一章.md", ("报告", "第一章.md")),
        ("100%.txt", ("100%.txt",)),
        ("a%20b.txt", ("a%20b.txt",)),
        ("...", ("...",)),
        ("..notes", ("..notes",)),
        (".env", (".env",)),
        ("cafe\u0301.txt", ("café.txt",)),
        ("案" * 85, ("案" * 85,)),
    ],
)
def test_it_reads_a_path(path: str, parts: tuple[str, ...]) -> None:
    assert parts_of(path) == parts


@pytest.mark.parametrize(
    "path",
    ["", ".", "a:b.txt", "docs/a|b", "what?", "CON", "con.txt", "docs/NUL", "lpt1.md", "a ", "a."],
)
def test_it_makes_nothing_that_other_systems_cannot_hold(path: str) -> None:
    with pytest.raises(InvalidRequest):
        new_parts(path)


def test_it_makes_what_they_can_hold() -> None:
    assert new_parts("docs/console.txt") == ("docs", "console.txt")


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("报告 第1版.pdf", "报告 第1版.pdf"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..%2f..%2fetc%2fpasswd", "passwd"),
        ("%252e%252e%252fbob.txt", "bob.txt"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\a\\photo.png", "photo.png"),
        ('a<b>:"c|d?*.txt', "a_b___c_d__.txt"),
        ("nul", "_nul"),
        ("COM1.txt", "_COM1.txt"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("\0", "unnamed"),
        ("a\0b\n.txt", "ab .txt"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("name. ", "name"),
        ("100%25.txt", "100%25.txt"),
    ],
)
def test_it_cleans_a_name(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned
    assert new_parts(clean_name(name)) == (cleaned,)


def test_it_shortens_a_name_and_keeps_its_ending() -> None:
    cleaned = clean_name("案" * 300 + ".docx")
    assert cleaned.endswith("案.docx")
    assert 250 <= len(cleaned.encode()) <= 255
    assert new_parts(cleaned) == (cleaned,)
    assert len(clean_name("%25" * 2000 + "a").encode()) <= 255
