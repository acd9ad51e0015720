"""Where documents are cut: by example, and what holds for every document."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.split import split
from knowledge.types import Block, BlockKind, Parsed, Piece

GAPS: dict[BlockKind, str] = {"table_row": "\n", "list": "\n"}


Part = tuple[BlockKind, str] | tuple[BlockKind, str, int]


def document(*parts: Part, pages: Sequence[int] = ()) -> Parsed:
    """A document of blocks, as readers write it; the third member is a heading's level.

    `pages` are those of the blocks; all are of the first where there are none.
    """
    text, blocks = "", []
    for number, (kind, content, *level) in enumerate(parts):
        text += GAPS.get(kind, "\n\n") if text else ""
        start = len(text)
        text += content
        page = pages[number] if pages else 1
        blocks.append(Block(kind, start, len(text), page, level[0] if level else 0))
    return Parsed(text, tuple(blocks))


def pieces_of(parsed: Parsed, *, size: int = 100, overlap: int = 0) -> list[Piece]:
    return list(split(parsed, size=size, overlap=overlap))


def contents(parsed: Parsed, *, size: int = 100, overlap: int = 0) -> list[str]:
    return [piece.content for piece in pieces_of(parsed, size=size, overlap=overlap)]


def text_of(*sentences: str) -> Parsed:
    return document(("paragraph", "".join(sentences)))


# --- Where it cuts -----------------------------------------------------------------------------


def test_a_document_that_fits_is_one_piece() -> None:
    parsed = document(("paragraph", "One."), ("paragraph", "二。"))
    assert contents(parsed) == ["One.\n\n二。"]


def test_an_empty_block_repeats_nothing() -> None:
    parsed = document(("paragraph", "9" * 8), ("paragraph", "999"), ("paragraph", ""))
    assert contents(parsed, size=7, overlap=3) == ["9999", "9999", "999"]


def test_a_document_without_text_has_no_pieces() -> None:
    assert pieces_of(Parsed("", ())) == []
    assert pieces_of(Parsed("  \n", (Block("paragraph", 0, 3),))) == []


@pytest.mark.parametrize("body", ["word " * 60, "字" * 300, "word " * 19 + "end."])
def test_a_heading_never_stands_alone_above_a_long_sentence(body: str) -> None:
    parsed = document(
        ("heading", "Section 1", 1),
        ("paragraph", body),
        ("heading", "Section 2", 1),
        ("paragraph", body),
    )
    begun = [content for content in contents(parsed) if content.startswith("Section")]
    assert len(begun) == 2
    assert all(len(content) > 50 for content in begun)


def test_a_heading_begins_a_piece_and_stays_with_what_it_is_above_of() -> None:
    parsed = document(
        ("heading", "Manual", 1),
        ("heading", "Power", 2),
        ("paragraph", "a" * 60),
        ("heading", "Sound", 2),
        ("paragraph", "b" * 60),
    )
    first, second = pieces_of(parsed)
    assert first.content == f"Manual\n\nPower\n\n{'a' * 60}"
    assert first.heading == ""
    assert second.content == f"Sound\n\n{'b' * 60}"
    assert second.heading == "Manual"


def test_later_pieces_of_a_section_carry_its_whole_path() -> None:
    parsed = document(
        ("heading", "Manual", 1), ("heading", "Power", 2), ("paragraph", "Some words. " * 20)
    )
    assert [piece.heading for piece in pieces_of(parsed)] == ["", *["Manual > Power"] * 2]


def test_a_tiny_section_goes_on_below_the_next_heading() -> None:
    parsed = document(
        ("heading", "A", 2), ("paragraph", "tiny"), ("heading", "B", 2), ("paragraph", "b" * 50)
    )
    assert len(pieces_of(parsed)) == 1


def test_a_tiny_section_does_not_leave_its_chapter() -> None:
    parsed = document(
        ("heading", "A", 2), ("paragraph", "tiny"), ("heading", "B", 1), ("paragraph", "b" * 50)
    )
    assert contents(parsed) == ["A\n\ntiny", f"B\n\n{'b' * 50}"]


def test_a_heading_never_ends_a_piece_with_text() -> None:
    parsed = document(
        ("heading", "A", 1), ("paragraph", "tiny"), ("heading", "B", 1), ("paragraph", "b" * 90)
    )
    assert contents(parsed) == ["A\n\ntiny", f"B\n\n{'b' * 90}"]


def test_paragraphs_stay_whole_where_they_fit() -> None:
    parsed = document(("paragraph", "First one. " * 6), ("paragraph", "Second one. " * 6))
    assert contents(parsed) == [("First one. " * 6).strip(), ("Second one. " * 6).strip()]


@pytest.mark.parametrize(
    ("sentences", "size"),
    [
        (["今天很好。", "明天呢？", "“走！”", "他说……", "第一步；", "第二。"], 6),
        (
            [
                "It costs 3.5 euros. ",
                "Dr. Smith, e.g., knows. ",
                "Really? Is that so?! ",
                "Yes, it is.",
            ],
            24,
        ),
        (["See www.a.example/b?c=d!e for v1.2. ", "Then stop."], 36),
        (["1. Open it. ", "2. Close it."], 12),
        (["中文 mixed. ", "用 English.", "好"], 10),
    ],
)
def test_it_cuts_between_sentences_of_both_scripts(sentences: list[str], size: int) -> None:
    assert contents(text_of(*sentences), size=size) == [part.strip() for part in sentences]


def test_a_long_sentence_is_cut_between_clauses_then_words_then_characters() -> None:
    assert contents(text_of("春天来了，花也开了，我们出去走走吧"), size=12) == [
        "春天来了，花也开了，",
        "我们出去走走吧",
    ]
    assert contents(text_of("alpha beta gamma delta epsilon"), size=12) == [
        "alpha beta",
        "gamma delta",
        "epsilon",
    ]
    assert contents(text_of("x" * 25), size=10) == ["x" * 9, "x" * 8, "x" * 8]


def test_it_does_not_cut_latin_words_in_chinese() -> None:
    assert contents(text_of("请打开设置里的Bluetooth然后重启"), size=14) == [
        "请打开设置里的",
        "Bluetooth然后重启",
    ]


@pytest.mark.parametrize("unit", ["e\u0301", "か\u3099", "👍🏽", "👩\u200d💻"])
def test_it_does_not_cut_what_is_seen_as_one_character(unit: str) -> None:
    parts = contents(text_of(unit * 20), size=len(unit) * 2 + 1)
    assert all(part == unit * (len(part) // len(unit)) for part in parts)


def test_code_stays_whole_where_it_fits_and_is_cut_at_lines_where_not() -> None:
    code = "if a:\n    b = 1\n    c = 2\nelse:\n    d = 3"
    around = document(("paragraph", "p" * 20), ("code", code))
    assert contents(around, size=50) == ["p" * 20, code]
    assert contents(document(("code", code)), size=30) == [
        "if a:\n    b = 1\n    c = 2",
        "else:\n    d = 3",
    ]


# --- Tables ------------------------------------------------------------------------------------

HEADER = "| item | price |\n| --- | --- |"
ROWS = tuple(f"| thing {number} | {number}.00 |" for number in range(10))


def table(*rows: str) -> Sequence[tuple[BlockKind, str]]:
    return [("table_header", HEADER), *(("table_row", row) for row in rows)]


def test_a_table_that_fits_is_whole() -> None:
    parsed = document(("paragraph", "p" * 60), *table(*ROWS[:2]))
    assert contents(parsed) == ["p" * 60, "\n".join([HEADER, *ROWS[:2]])]


def test_a_long_table_repeats_its_header() -> None:
    parsed = document(*table(*ROWS))
    found = pieces_of(parsed)
    assert len(found) > 2
    assert all(piece.content.startswith(HEADER + "\n| thing") for piece in found)
    assert [
        line for piece in found for line in piece.content.splitlines() if "thing" in line
    ] == list(ROWS)
    for piece in found[1:]:
        rows = piece.content.removeprefix(HEADER + "\n")
        assert parsed.text[piece.char_start : piece.char_end] == rows


def test_a_row_that_is_too_long_is_cut_below_the_header() -> None:
    found = contents(document(*table("word " * 50)))
    assert len(found) > 3
    assert all(part.startswith(HEADER) and len(part) <= 100 for part in found)


def test_a_header_too_long_to_repeat_stands_once() -> None:
    long_header = "| " + "head " * 15 + "|"
    parsed = document(("table_header", long_header), *[("table_row", row) for row in ROWS])
    assert sum("head" in part for part in contents(parsed)) == 1


# --- Overlap -----------------------------------------------------------------------------------


def test_a_piece_repeats_the_last_sentences_of_the_one_before() -> None:
    parsed = text_of(*(f"这是第{number}句话啊。" for number in range(1, 10)))
    first, second, *_ = contents(parsed, size=30, overlap=10)
    assert first.endswith("这是第3句话啊。")
    assert second.startswith("这是第3句话啊。这是第4句话啊。")


def test_nothing_is_repeated_of_a_sentence_longer_than_the_overlap() -> None:
    parsed = text_of("A fairly long sentence here. ", "Another quite long sentence. ")
    assert contents(parsed, size=40, overlap=20) == [
        "A fairly long sentence here.",
        "Another quite long sentence.",
    ]


def test_nothing_is_repeated_across_a_heading() -> None:
    parsed = document(
        ("paragraph", "Short one. " * 8), ("heading", "Next", 1), ("paragraph", "More. " * 10)
    )
    assert contents(parsed, overlap=40)[1].startswith("Next")


def test_an_overlap_as_long_as_the_piece_is_refused() -> None:
    assert contents(text_of("a"), size=10, overlap=9) == ["a"]
    with pytest.raises(ValueError, match="overlap"):
        contents(text_of("a"), size=10, overlap=10)


def test_a_part_of_a_sentence_repeats_the_last_words_of_the_part_before() -> None:
    words = [f"word{number:02}" for number in range(30)]
    found = contents(text_of(" ".join(words)), size=100, overlap=15)
    assert len(found) == 3
    for one, next_one in itertools.pairwise(found):
        assert next_one.startswith(" ".join(one.split()[-2:]))
    han = "".join(chr(0x4E00 + number) for number in range(150))
    first, second, *_ = contents(text_of(han), size=100, overlap=10)
    assert second.startswith(first[-10:])


# --- Tails -------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [101, 130, 190, 201, 260, 402, 999])
@pytest.mark.parametrize("overlap", [0, 20])
@pytest.mark.parametrize("body", ["word ", "字", "词语，", "some words, "])
def test_a_sentence_that_is_too_long_leaves_no_tiny_tail(
    length: int, overlap: int, body: str
) -> None:
    text = (body * length)[:length].strip()
    found = contents(text_of(text), overlap=overlap)
    assert min(map(len, found)) >= 33


def test_the_last_sentence_of_a_section_takes_others_to_its_piece() -> None:
    sentences = [f"This is the sentence {number}. " for number in range(4)]
    parsed = document(
        ("heading", "A", 1),
        ("paragraph", "".join(sentences)),
        ("paragraph", "The end."),
        ("heading", "B", 1),
        ("paragraph", "b" * 90),
    )
    first, second, _ = contents(parsed)
    assert first.endswith("sentence 1.")
    assert second.startswith("This is the sentence 2.")
    assert second.endswith("The end.")


def test_a_tiny_end_stays_where_nothing_before_it_can_be_cut() -> None:
    parsed = document(("paragraph", "a" * 95 + "."), ("paragraph", "The end."))
    assert contents(parsed) == ["a" * 95 + ".", "The end."]


# --- Pages -------------------------------------------------------------------------------------


def test_a_piece_is_of_one_page() -> None:
    parsed = document(
        ("paragraph", "a" * 30 + "."),
        ("paragraph", "The fact."),
        ("paragraph", "c" * 20),
        ("paragraph", "d" * 20),
        pages=[1, 2, 3, 3],
    )
    found = pieces_of(parsed, overlap=40)
    assert [(piece.page, piece.content[:9]) for piece in found] == [
        (1, "a" * 9),
        (2, "The fact."),
        (3, "c" * 9),
    ]


def test_a_heading_at_the_foot_of_a_page_goes_to_the_next() -> None:
    parsed = document(
        ("paragraph", "Before."),
        ("heading", "Prices", 1),
        ("paragraph", "Ten euros."),
        pages=[1, 1, 2],
    )
    first, second = pieces_of(parsed)
    assert (first.page, first.content) == (1, "Before.")
    assert (second.page, second.content) == (2, "Prices\n\nTen euros.")


def test_a_table_over_two_pages_repeats_its_header_on_the_second() -> None:
    parsed = document(*table(*ROWS[:4]), pages=[1, 1, 1, 2, 2])
    assert [(piece.page, piece.content) for piece in pieces_of(parsed, size=200)] == [
        (1, "\n".join([HEADER, *ROWS[:2]])),
        (2, "\n".join([HEADER, *ROWS[2:4]])),
    ]


def test_pieces_without_pages_go_on() -> None:
    blocks = (Block("paragraph", 0, 4), Block("paragraph", 5, 9))
    assert len(pieces_of(Parsed("One.\nTwo.", blocks))) == 1


# --- What holds for every document -------------------------------------------------------------

ALPHABET = "ab A.9,;!?-\n\t  。，；？“”（）汉字测试か\u3099e\u0301👍🏽\u200d|"
BODIES: tuple[BlockKind, ...] = ("paragraph", "list", "code", "table_header", "table_row")
BODY = st.text(ALPHABET, max_size=200)
HEADING: BlockKind = "heading"
PARTS = st.one_of(
    st.tuples(st.sampled_from(BODIES), BODY),
    st.tuples(st.just(HEADING), st.text(ALPHABET, max_size=40), st.integers(0, 4)),
)


@st.composite
def documents(draw: st.DrawFn) -> Parsed:
    parts = draw(st.lists(PARTS, max_size=12))
    turns = draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    return document(*parts, pages=list(itertools.accumulate(turns, initial=1))[1:])


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(st.integers(1, 120))
    return size, draw(st.integers(0, size - 1))


@given(documents(), sizes())
def test_every_document_is_covered_in_order_and_within_bounds(
    parsed: Parsed, bounds: tuple[int, int]
) -> None:
    size, overlap = bounds
    found = pieces_of(parsed, size=size, overlap=overlap)
    covered = set[int]()
    end = 0
    for number, piece in enumerate(found):
        assert piece.ordinal == number
        assert piece.content.strip()
        assert len(piece.content) <= size
        assert piece.content.endswith(parsed.text[piece.char_start : piece.char_end])
        assert end - overlap <= piece.char_start < piece.char_end
        assert piece.char_end > end
        body = [
            block
            for block in parsed.blocks
            if block.end > piece.char_start
            and block.start < piece.char_end
            and block.kind != "heading"
            and parsed.text[block.start : block.end].strip()
        ]
        assert {block.page for block in body} <= {piece.page}
        end = piece.char_end
        covered.update(range(piece.char_start, piece.char_end))
    assert all(at in covered for at, char in enumerate(parsed.text) if not char.isspace())


@given(documents(), sizes())
def test_only_rows_of_a_table_have_something_in_front(
    parsed: Parsed, bounds: tuple[int, int]
) -> None:
    headers = {
        parsed.text[block.start : block.end]
        for block in parsed.blocks
        if block.kind == "table_header"
    }
    for piece in pieces_of(parsed, size=bounds[0], overlap=bounds[1]):
        own = parsed.text[piece.char_start : piece.char_end]
        in_front = piece.content.removesuffix(own)
        assert in_front == "" or in_front.removesuffix("\n") in headers


@pytest.mark.parametrize(
    "unit",
    [
        *("这是一句话。", "A sentence. ", "x", "汉", ".", "." * 999 + "x", "\n x", "\u0301"),
        *("a" + " " * 9999, "👩\u200d", "。" + "）" * 700, ",)", '"', "a " + "b" * 499),
    ],
)
def test_it_takes_time_in_proportion_to_the_text(unit: str) -> None:
    """A million characters; far below this limit, and far above it were any step quadratic."""
    text = (unit * (1_000_000 // len(unit))).strip()
    started = time.process_time()
    for _ in split(Parsed(text, (Block("paragraph", 0, len(text)),)), size=500, overlap=50):
        pass
    assert time.process_time() - started < 5
