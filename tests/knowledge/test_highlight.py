"""Words of a query, marked in a text."""

from __future__ import annotations

import pytest

from knowledge.admin.highlight import condensed, highlighted
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


def test_it_leaves_out_blank_lines() -> None:
    assert condensed("\nOne\n\n \nTwo\nThree\n") == "One\nTwo\nThree"
