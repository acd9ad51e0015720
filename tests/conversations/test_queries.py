"""What is looked for, given what the user says."""

from __future__ import annotations

import pytest

from conversations.queries import MAX_QUERY_CHARS, queries_for
from tests.bounded import in_time

OPEN = "When does the museum open?"
OFFEN = "博物馆几点开门？"


@pytest.mark.parametrize(
    "said",
    [
        *("", " ", "?!", "hello", "Hello there!", "thank you very much", "ok, great", "yes please"),
        *("How are you today?", "who are you", "what time is it now?", "Goodbye!", "why?"),
        *(
            "你好",
            "您好！",
            "谢谢你",
            "好的",
            "嗯嗯",
            "再见",
            "你是谁？",
            "现在几点了？",
            "为什么？",
        ),
        *("what is 12 times 7", "2+2", "(3.5 + 2) * 4 = ?", "12 - 7", "十二加五等于多少？"),
        "How much is seventeen plus three?",
    ],
)
def test_it_looks_for_nothing_where_nothing_is_asked(said: str) -> None:
    assert queries_for(said, ()) == ()


@pytest.mark.parametrize(
    "said",
    [
        *(OPEN, "What does coffee cost?", "ERR-4711", "4711-08", "Where is parking?", "refunds"),
        *(OFFEN, "咖啡多少钱？", "停车在哪里", "请问可以带狗吗？", "What time does it open?"),
        "Hello, what does coffee cost?",
        "Does the 2 + 1 offer cover batteries?",
    ],
)
def test_a_question_is_looked_for_as_it_stands(said: str) -> None:
    assert queries_for(said, ()) == (said,)


@pytest.mark.parametrize("said", ["What does coffee cost?", "Where is parking?", "thanks!"])
def test_a_question_that_stands_on_its_own_needs_nothing_before_it(said: str) -> None:
    assert queries_for(said, (OPEN,)) == queries_for(said, ())


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (OPEN, "and on Sundays?"),
        (OPEN, "What about Sundays?"),
        (OPEN, "Is it open on holidays?"),
        (OPEN, "Sundays?"),
        (OFFEN, "那周日呢？"),
        (OFFEN, "周日呢？"),
        (OFFEN, "它节假日开门吗？"),
    ],
)
def test_one_that_leans_on_another_is_looked_for_with_it_and_alone(before: str, said: str) -> None:
    assert queries_for(said, ("Hi!", before, "Thank you")) == (f"{before} {said}", said)


def test_one_that_says_nothing_itself_is_looked_for_with_the_other_only() -> None:
    assert queries_for("why?", (OPEN,)) == (f"{OPEN} why?",)
    assert queries_for("为什么？", (OFFEN,)) == (f"{OFFEN} 为什么？",)


def test_a_chain_is_followed_to_what_it_began_with() -> None:
    earlier = ("What does coffee cost?", OPEN, "and on Sundays?", "ok")
    assert queries_for("and on Mondays?", earlier)[0] == f"{OPEN} and on Sundays? and on Mondays?"


def test_a_long_speech_is_looked_for_by_its_end() -> None:
    (query,) = queries_for("so much to tell. " * 500 + OPEN, ())[-1:]
    assert query.endswith(OPEN)
    assert len(query) == MAX_QUERY_CHARS


def test_hostile_text_is_bounded_work() -> None:
    code = """
from conversations.queries import queries_for
for text in ("(" * 65536, "1 - " * 16384, "你" * 65536, "thank " * 9000, "h" * 65536, " " * 65536):
    queries_for(text, [text] * 50)
print("done")
"""
    assert in_time(code).split() == ["done"]
