"""What clients call their files is shown, but neither hides anything nor names a path."""

from __future__ import annotations

import unicodedata

import pytest

from knowledge.names import MAX_NAME, NAMELESS, shown_name, stem_of


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("季度报告（终稿）.docx", "季度报告（终稿）.docx"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\win.ini", "win.ini"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("/a/b/c.md/", "c.md"),
        ("a/..", NAMELESS),
        ("..", NAMELESS),
        ("", NAMELESS),
        ("  \t ", NAMELESS),
        ("a\r\nSet-Cookie: x=1.txt", "a Set-Cookie: x=1.txt"),
        ("nul\0byte.txt", "nulbyte.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("\ufeffhidden\u200b.txt", "hidden.txt"),
        (".\u202e./\u202e./x.txt", "x.txt"),
        ("family \U0001f468\u200d\U0001f469\u200d\U0001f467.png",) * 2,
        ("half \ud800.txt", "half .txt"),
        ("many   spaces\u3000here.txt", "many spaces here.txt"),
    ],
)
def test_it_shows_what_is_harmless_of_a_name(given: str, shown: str) -> None:
    assert shown_name(given) == shown
    assert shown_name(shown) == shown


def test_it_composes_what_some_systems_take_apart() -> None:
    apart = unicodedata.normalize("NFD", "Müller.txt")
    assert shown_name(apart) == "Müller.txt" != apart


@pytest.mark.parametrize("ending", [".pdf", ".markdown", ""])
def test_it_keeps_the_ending_of_a_long_name(ending: str) -> None:
    shown = shown_name("长" * 300 + ending)
    assert len(shown) == MAX_NAME
    assert shown.endswith(ending)
    assert shown_name("a." + "b" * 300) == ("a." + "b" * 300)[:MAX_NAME]


def test_it_tells_the_stem() -> None:
    assert [stem_of(name) for name in ("a.b.pdf", "a", ".env")] == ["a.b", "a", ".env"]
