"""Where answers are cut for the voice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.segmenter import Segmenter, speakable
from tests.realtime.marks import MARKS

# Texts that are rich in what cutting depends on.
PIECES = [
    *(". ", ".", "! ", "? ", "。", "！", "，", ", ", ": ", "\n", " ", "…", "”", '"', ")", "**"),
    *("Dr. ", "e.g. ", "U.S. ", "etc. ", "p.m. ", "No. ", "3.5", "1,000", "10:30", "v1.2"),
    *("https://a.b/c?d=e.f", "a.b@c.de", "Word", "word", "你好", "今天天气", "I", "5", "😀", "- "),
]
texts = st.one_of(
    st.text(max_size=500), st.lists(st.sampled_from(PIECES), max_size=120).map("".join)
)


def cut(*chunks: str, max_chars: int = 200) -> list[str]:
    segmenter = Segmenter(max_chars=max_chars)
    pieces = [piece for chunk in chunks for piece in segmenter.push(chunk)]
    return pieces + segmenter.flush()


@pytest.mark.parametrize(
    "pieces",
    [
        ["Hello. ", "World! ", "How are you? ", "Fine."],
        ["你好！", "今天天气不错，我们去公园吧。", "好吗？", "“好。”", "他说。"],
        ["He said “Hi.” ", "Then he left. ", "(Really.) ", "Yes... ", "maybe."],
        ["中文。", "English. ", "中文！", "Mixed 句子.", "好"],
        ["- Apples\n", "- Pears\n", "1. Plums\n", "2. Cherries\n", "\n---\nDone."],
        ["A line\n", "Another line\n", "The end"],
    ],
)
def test_it_cuts_at_the_sentences_and_lines_of_both_scripts(pieces: list[str]) -> None:
    assert cut("".join(pieces)) == pieces


@pytest.mark.parametrize(
    "sentence",
    [
        "It is 3.5 or 1.25 of v1.2 and 1.2.3.",
        "Ask Dr. Smith and Mrs. Jones, i.e. e.g. both vs. none.",
        "The U.S. Army and J. R. R. Tolkien met.",
        "Read https://a.example/b.c?d=e.f!g now.",
        "Write to first.last@mail.example today.",
        "See No. 5 on Jan. 3 at vol. 2, p. 7.",
        "It starts at 5 p.m. today.",
        "Inc. and Ltd. and etc. are fine.",
        "价格是3.5元，版本v1.2，网址是a.example。",
        "1.苹果 2.梨 3.李子",
    ],
)
def test_it_never_cuts_inside_numbers_addresses_and_abbreviations(sentence: str) -> None:
    assert cut("Yes. " + sentence)[1:] == [sentence]


@pytest.mark.parametrize(
    ("pieces"),
    [
        ["No. ", "I do not."],
        ["We met at 5 p.m. ", "Then we left."],
        ["It costs 3. ", "That is all."],
        ["I don't. ", "You do."],
        ["Mail a@b.example. ", "Or call."],
    ],
)
def test_it_cuts_after_what_only_looks_like_an_abbreviation(pieces: list[str]) -> None:
    assert cut("".join(pieces)) == pieces


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Sure, I can help you with that, my friend.", "Sure, I can help you with that, "),
        ("Well, yes, no.", "Well, yes, no."),
        ("Here is the plan: we go.", "Here is the plan: "),
        ("It is 1,000,000 at 10:30 or so, friend.", "It is 1,000,000 at 10:30 or so, "),
        ("你好，我是你的助手，很高兴见到你。", "你好，我是你的助手，"),
        ("好的，没问题，再见。", "好的，没问题，"),
        ("好的。没问题，再见。", "好的。"),
    ],
)
def test_the_first_piece_may_be_a_clause(text: str, first: str) -> None:
    assert cut(text)[0] == first


def test_later_pieces_are_whole_sentences() -> None:
    assert cut("Yes. Here is the plan: we go, and we come back.")[1:] == [
        "Here is the plan: we go, and we come back."
    ]


@pytest.mark.parametrize(
    ("text", "confirming"),
    [("Hello.", " "), ("Hello there, my friend,", " "), ("你好。", "今"), ("Line", "\n")],
)
def test_it_gives_a_piece_out_with_the_character_that_confirms_it(
    text: str, confirming: str
) -> None:
    segmenter = Segmenter()
    assert segmenter.push(text) == []
    (piece,) = segmenter.push(confirming)
    assert piece in (text, text + confirming)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("word " * 30, [50, 50, 50]),
        ("long clause here, " * 6, [36, 36, 36]),
        ("字" * 120, [50, 50, 20]),
        ("x" * 120, [50, 50, 20]),
    ],
)
def test_it_cuts_a_long_text_at_the_best_place(text: str, sizes: list[int]) -> None:
    pieces = cut("Hi. " + text, max_chars=50)[1:]
    assert [len(piece) for piece in pieces] == sizes


def test_flush_makes_it_ready_for_the_next_answer() -> None:
    segmenter = Segmenter()
    answer = "Here is the plan: we go."
    first = segmenter.push(answer) + segmenter.flush()
    assert segmenter.flush() == []
    assert segmenter.push(answer) + segmenter.flush() == first


@given(texts, st.integers(8, 60))
def test_the_pieces_joined_are_the_text(text: str, max_chars: int) -> None:
    pieces = cut(text, max_chars=max_chars)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= max_chars + 1 for piece in pieces)


@given(texts, st.lists(st.integers(1, 30), min_size=1))
def test_where_it_cuts_does_not_depend_on_how_the_text_arrived(text: str, sizes: list[int]) -> None:
    chunks: list[str] = []
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(text):
            break
        chunks.append(text[start : start + size])
        start += size
    assert cut(*chunks) == cut(text)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("## A **bold** title", "A bold title"),
        ("- an item with `code`", "an item with code"),
        ("- [x] done", "done"),
        ("> quoted _words_ here", "quoted words here"),
        ("See [the page](https://a.example/b) and ![a cat](c.png).", "See the page and a cat."),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b 1 2"),
        ("```python\nx = 1\n```", "x = 1"),
        ("Good 😀👍🏽 1️⃣ ☀️!", "Good 1 !"),
        ("2 * 3 * 4 is snake_case", "2 * 3 * 4 is snake_case"),
        ("**Begins here", "Begins here"),
        ("line<br>break", "line break"),
        ("你好，**世界**！🎉", "你好，世界！"),
        ("It costs $3.50 (5%).", "It costs $3.50 (5%)."),
        ("---\n", ""),
        ("🎉 …", ""),
    ],
)
def test_marks_and_emoji_are_not_spoken(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


@given(texts)
def test_whatever_is_written_can_be_made_speakable_once(text: str) -> None:
    spoken = speakable(text)
    assert spoken == spoken.strip()
    assert len(spoken) <= len(text)


@pytest.mark.parametrize(
    ("pieces", "spoken"),
    [
        (
            ["It opens at nine [1]. ", "It closes at six.[1][2] ", "[3] Fine."],
            ["It opens at nine.", "It closes at six.", "Fine."],
        ),
        (
            ["九点开门。", "[1]六点关门[2]。", "周日休息【3】。"],
            ["九点开门。", "六点关门。", "周日休息。"],
        ),
        (
            ["According to the handbook [1, 2], ", "it opens at nine [1-3]! ", "[2]"],
            ["According to the handbook,", "it opens at nine!", ""],
        ),
    ],
)
def test_sources_stay_with_their_sentence_and_are_not_spoken(
    pieces: list[str], spoken: list[str]
) -> None:
    assert cut("".join(pieces)) == pieces
    assert [speakable(piece, has_sources=True) for piece in pieces] == spoken


@pytest.mark.parametrize(("text", "spoken"), [case[:2] for case in MARKS])
def test_what_cites_a_source_is_not_spoken(text: str, spoken: str) -> None:
    assert speakable(text, has_sources=True) == spoken


def test_numbers_in_brackets_are_spoken_where_there_are_no_sources() -> None:
    assert speakable("Take item [1].") == "Take item [1]."
    assert speakable("Take item [x], made in [2024].", has_sources=True) == (
        "Take item [x], made in [2024]."
    )


def test_a_mark_is_not_cut_in_two() -> None:
    pieces = cut("word " * 39 + "end [1, 2, 3] and so on")
    assert not any("[" in piece and "]" not in piece for piece in pieces)
