"""Words of a query, marked in a text."""

from __future__ import annotations

import pytest

from knowledge.admin.highlight import condensed, highlighted, telling_words
from knowledge.lexemes import query_words


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("青铜神树", "三星堆的青铜神树很高", "三星堆的<mark>青铜神树</mark>很高"),
        ("PUMP", "The pump, not pumps.", "The <mark>pump</mark>, not pumps."),
        ("E-4012", "Error E-4012!", "Error <mark>E-4012</mark>!"),
        ("b", "<b>& b</b>", "&lt;<mark>b</mark>&gt;&amp; <mark>b</mark>&lt;/<mark>b</mark>&gt;"),
        ("(a|b", "nothing", "nothing"),
        ("", "<script>", "&lt;script&gt;"),
    ],
)
def test_it_marks_whole_words_and_escapes_the_rest(query: str, text: str, marked: str) -> None:
    assert highlighted(text, query_words(query)) == marked


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("What is the pump?", "What the pump is.", "What the <mark>pump</mark> is."),
        ("the ERR-1234 code", "the ERR-1234", "the <mark>ERR-1234</mark>"),
        ("青铜神树有多高", "有多少青铜神树", "有多少<mark>青铜神树</mark>"),
        ("the", "the pump", "<mark>the</mark> pump"),
    ],
)
def test_it_marks_no_words_that_every_question_has(query: str, text: str, marked: str) -> None:
    assert highlighted(text, telling_words(query)) == marked


def test_it_leaves_out_blank_lines() -> None:
    assert condensed("\nOne\n\n \nTwo\nThree\n") == "One\nTwo\nThree"
