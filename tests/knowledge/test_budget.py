"""What of a hit is kept where it alone is longer than all may be."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from knowledge import fusion
from knowledge.types import Hit
from tests.bounded import in_time

ENGLISH = "The shop opens at nine. It closes at six. Coffee costs 3.50 euros. " * 20
CHINESE = "商店九点开门。下午六点关门！咖啡三欧元。" * 20


def hit(content: str, *, chunk_id: int = 1, heading: str = "") -> Hit:
    return Hit(
        *(chunk_id, "base", "Base", "document", "doc.txt", 0, content, heading, None),
        *(100, 100 + len(content), 0.5, 1, None, 0.0, 0.0, 0.1),
    )


def fitting(*hits: Hit, tokens: int) -> list[Hit]:
    plain = {each.chunk_id: each for each in hits}
    return list(fusion.within_budget(hits, plain, tokens=tokens))


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
@pytest.mark.parametrize("tokens", [25, 60, 150])
def test_the_first_hit_is_cut_at_a_sentence(text: str, tokens: int) -> None:
    whole = hit(text)
    assert fitting(whole, tokens=fusion.cost(whole)) == [whole]
    [cut] = fitting(whole, tokens=tokens)
    assert tokens // 2 <= fusion.cost(cut) <= tokens
    assert text.startswith(cut.content)
    assert cut.content.endswith((".", "。", "！"))
    assert not cut.content.endswith("3.")
    assert cut.char_end - cut.char_start == len(cut.content)


@pytest.mark.parametrize(
    ("text", "end"), [("word " * 200, "word"), ("字" * 200, "字"), ("x" * 2_000, "x")]
)
def test_what_has_no_sentences_is_cut_between_words_or_anywhere(text: str, end: str) -> None:
    [cut] = fitting(hit(text), tokens=50)
    assert 40 <= fusion.cost(cut) <= 50
    assert cut.content.endswith(end)


def test_a_long_heading_gives_way_to_the_text() -> None:
    [short] = fitting(hit(CHINESE, heading="时间"), tokens=60)
    [long] = fitting(hit(CHINESE, heading="很长的标题" * 10), tokens=60)
    assert (short.heading, long.heading) == ("时间", "")
    assert max(fusion.cost(short), fusion.cost(long)) <= 60


def test_only_the_first_is_cut() -> None:
    small, large = hit("Short.", chunk_id=1), hit(ENGLISH, chunk_id=2)
    assert fitting(small, large, tokens=100) == [small]
    assert len(fitting(large, small, tokens=100)) <= 2
    assert fitting(large, small, tokens=100)[0].chunk_id == 2


def test_too_little_room_holds_nothing() -> None:
    assert fitting(hit(CHINESE), tokens=19) == []
    assert len(fitting(hit(CHINESE), tokens=20)) == 1


def test_a_table_keeps_where_it_stands() -> None:
    # Its header is repeated: the content is longer than the place it is from.
    table = dataclasses.replace(hit(ENGLISH), char_end=150)
    [cut] = fitting(table, tokens=50)
    assert (cut.char_start, cut.char_end) == (100, 150)


def test_it_never_exceeds_the_budget() -> None:
    mixed = "".join(map("".join, zip(itertools.cycle("字a. \n。"), CHINESE, strict=False)))
    for tokens in range(1, 300):
        assert sum(map(fusion.cost, fitting(hit(mixed, heading="标题"), tokens=tokens))) <= tokens


HOSTILE = """
from tests.knowledge.test_budget import hit, fitting
for text in ("." * 500_000, " " * 500_000, "a " * 250_000, "。" * 500_000, "\\n" * 500_000):
    fitting(hit(text), tokens=100_000)
print("done")
"""


def test_hostile_texts_cost_a_bounded_amount_of_work() -> None:
    assert in_time(HOSTILE).split() == ["done"]
