"""The words of a text: what is found by what, and that Postgres takes the literals as they are."""

from __future__ import annotations

import time

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.lexemes import (
    MAX_QUERY_CHARS,
    MAX_QUERY_WORDS,
    query_literal,
    query_words,
    vector_literal,
)


def matches(content: str, query: str, heading: str = "") -> bool:
    """Whether Postgres finds the text by any word of the query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select %s::tsvector @@ %s::tsquery",
            [vector_literal(content, heading), query_literal(query_words(query))],
        )
        return bool(cursor.fetchone()[0])


def stored(literal: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("select (%s::tsvector)::text", [literal])
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("部署方案", ("部署", "署方", "方案")),
        ("查部署", ("查部", "部署")),
        ("糖 5", ("糖", "5")),
        ("Refund the ORDER", ("refund", "the", "order")),
        ("ERR-1234", ("err1234", "err", "1234")),
        ("err1234", ("err1234", "err", "1234")),
        ("ann@shop.example", ("ann@shop.example", "ann", "shop", "example")),
        ("v1.2.3", ("1.2.3", "1.2")),
        ("snake_case", ("snakecase", "snake", "case")),
        ("parseHTTPHeader", ("parsehttpheader", "parse", "http", "header")),
        ("13800138000", ("13800138000",)),
        ("138 0013 8000", ("138", "0013", "8000", "13800138000")),
        ("138-0013-8000", ("13800138000", "138", "0013", "8000")),
        ("1,299.00", ("1299",)),
        ("1，299", ("1299",)),
        ("12.50", ("12.5",)),
        ("3.5kg", ("3.5", "3.5kg", "kg")),
        ("15 天", ("15", "天")),
        ("１５天", ("15", "天")),
        ("Ｅ０１", ("e01", "e", "01")),
        ("Café", ("cafe",)),
        ("refunds policies", ("refund", "policy")),
        ("gas address status analysis", ("gas", "address", "status", "analysis")),
        ("parse_errors", ("parseerror", "parse", "error")),
        ("Cafe\u0301", ("cafe",)),
        ("co\u00adoperate", ("cooperate",)),
        ("Ann's don’t", ("ann", "dont")),
        ("C++ and C#", ("c++", "c", "and", "c#")),
        ("ﾃｽﾄ", ("テス", "スト")),
        ("", ()),
        ("，。！ ?! \x00 \ud800", ()),
    ],
)
def test_it_cuts_words_of_both_scripts(text: str, words: tuple[str, ...]) -> None:
    assert query_words(text) == words


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "query"),
    [
        ("错误代码 ERR-1234 表示电源故障", "err1234是什么"),
        ("call 138-0013-8000", "13800138000"),
        ("call 138 0013 8000", "138-0013-8000"),
        ("价格 1,299.00 元", "1299"),
        ("Version 2.4.1 fixes it", "what is new in v2.4.1?"),
        ("set MAX_UPLOAD_SIZE", "max_upload_size"),
        ("请在部署之前备份", "请问一下关于部署的详细情况是什么呢"),
        ("Ｗｉ－Ｆｉ 设置", "wifi"),
        (r"C:\Temp\it's 'quoted'", "temp"),
    ],
)
def test_postgres_finds_a_text_by_its_words(content: str, query: str) -> None:
    assert matches(content, query)
    assert not matches("无关 unrelated 7", query)


@pytest.mark.django_db
def test_words_of_the_heading_have_weight_a() -> None:
    assert matches("五年", "保修", heading="保修")
    assert stored(vector_literal("five years", "Warranty")) == "'five':2 'warranty':1A 'year':3"


@pytest.mark.django_db
def test_a_word_of_heading_and_content_keeps_both_places() -> None:
    assert stored(vector_literal("warranty", "Warranty")) == "'warranty':1A,2"


@pytest.mark.django_db
@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.text(max_size=40))
def test_postgres_takes_every_literal(content: str, heading: str) -> None:
    words = query_words(content)
    literal = stored(vector_literal(content, heading))
    assert all(f"'{word}':" in literal for word in words)
    if words:
        assert matches(content, content, heading)


@pytest.mark.django_db
def test_literals_stay_within_the_limits_of_postgres() -> None:
    distinct = " ".join(f"{number}word{number}" for number in range(60_000))
    repeated = "word " * 60_000
    assert stored(vector_literal(distinct))
    assert stored(vector_literal(repeated)).startswith("'word':1,2,")
    assert stored(vector_literal("x" * 100_000))
    assert matches("x" * 100_000, "x" * 3_000)


@pytest.mark.django_db
def test_any_word_may_be_asked_for() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "select $$'it''s':1 'a\\\\b':2$$::tsvector @@ %s::tsquery",
            [query_literal(["it's", "a\\b"])],
        )
        assert cursor.fetchone()[0]
        cursor.execute("select 'a:1'::tsvector @@ %s::tsquery", [query_literal([])])
        assert not cursor.fetchone()[0]


def test_a_long_query_has_a_bounded_number_of_words() -> None:
    assert len(query_words(" ".join(map(str, range(1000))))) == MAX_QUERY_WORDS
    assert "late" not in query_words("x" * MAX_QUERY_CHARS + " late")


@pytest.mark.parametrize("unit", ["部署方案ERR-1234，", "a-", "1 ", "1,", "A", "é", "部"])
def test_it_takes_time_in_proportion_to_the_text(unit: str) -> None:
    """Far below this limit, and far above it were any step quadratic."""
    text = unit * (300_000 // len(unit))
    started = time.process_time()
    vector_literal(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "written", ["KX-9920-B", "KX\u20109920\u2010B", "KX/9920/B", "kx.9920.b", "KX_9920B"]
)
@pytest.mark.parametrize("asked", ["kx9920b", "KX-9920-B", "Kx9920-b"])
@pytest.mark.django_db
def test_an_identifier_is_one_word_however_it_is_joined(written: str, asked: str) -> None:
    assert query_words(asked)[0] == "kx9920b"
    assert matches(f"The {written} is out of stock.", asked)
    assert "'kx9920b'" in vector_literal(f"型号{written}已停产")
