"""What workers wrote, in the language of whoever reads it."""

from __future__ import annotations

import pytest
from django.utils.translation import override

from core.http import NOT_PUBLIC
from knowledge.parse.failures import FAILURES, ParseFailed
from knowledge.spaces import NoEmbedder
from knowledge.wording import (
    CHUNKS_SHORTENED,
    PAGES_NOT_READ,
    PAGES_WITHOUT_TEXT,
    WORKER_DIED,
    in_readers_language,
)

PAGES = {"missing": 3, "total": 9}
COUNTING = [
    PAGES_NOT_READ % PAGES,
    PAGES_WITHOUT_TEXT % PAGES,
    CHUNKS_SHORTENED % {"count": 12},
    WORKER_DIED % {"count": 5},
    NOT_PUBLIC % {"address": "127.0.0.1:11434"},
    f"{PAGES_WITHOUT_TEXT % PAGES} {CHUNKS_SHORTENED % {'count': 12}}",
]


@pytest.mark.parametrize("reason", sorted(FAILURES))
def test_it_says_why_a_file_was_not_read_in_the_readers_language(reason: str) -> None:
    stored = ParseFailed(reason).message
    with override("zh-hans"):
        assert in_readers_language(stored) == ParseFailed(reason).message
        assert ParseFailed(reason).message != stored
    assert in_readers_language(stored) == stored


@pytest.mark.parametrize("stored", [*COUNTING, str(NoEmbedder()), "The database did not answer."])
def test_it_keeps_the_numbers_of_what_it_translates(stored: str) -> None:
    assert in_readers_language(stored) == stored
    with override("zh-hans"):
        shown = in_readers_language(stored)
    assert not any(word in shown.split() for word in ("The", "pages", "Chunks", "is"))
    for number in ("3", "9", "12", "127.0.0.1:11434"):
        assert (number in shown) is (number in stored)


@pytest.mark.parametrize("stored", ["", "bge-m3: no such model, 100% sure", "It is <odd>."])
def test_it_leaves_what_a_vendor_said_as_it_came(stored: str) -> None:
    with override("zh-hans"):
        assert in_readers_language(stored) == stored
